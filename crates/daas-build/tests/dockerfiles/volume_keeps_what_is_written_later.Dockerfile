FROM base:1
RUN mkdir /data && echo before > /data/before
VOLUME /data
RUN echo later > /elsewhere
