FROM base:1
WORKDIR /deep/er/folder
USER app
WORKDIR /of/app
RUN pwd > /tmp/pwd
WORKDIR /link-dir
WORKDIR sub
#: old /existing/sub the classic builder makes working folders as root
#: old /of the classic builder makes working folders as root
