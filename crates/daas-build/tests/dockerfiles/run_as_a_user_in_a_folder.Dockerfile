FROM base:1
USER app
WORKDIR /home/app
RUN id > id && pwd > pwd && echo "$HOME" > home
USER 1000:50
RUN id -u > numbers && id -g >> numbers
