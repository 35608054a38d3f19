FROM base:1
SHELL ["/bin/busybox", "sh", "-x", "-c"]
RUN echo "$0 $-" > /shell
CMD run
