FROM base:1
RUN rm /existing/file && rm -r /home/app && echo x > /etc/group
RUN mkdir -p /home/app/new && rm -r /existing && mkdir /existing && echo again > /existing/again
