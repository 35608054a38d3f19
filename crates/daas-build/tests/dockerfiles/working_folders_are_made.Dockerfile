FROM base:1
WORKDIR /deep/er/folder
USER app
WORKDIR /of/app
RUN pwd > /tmp/pwd
WORKDIR /link-dir
WORKDIR sub
