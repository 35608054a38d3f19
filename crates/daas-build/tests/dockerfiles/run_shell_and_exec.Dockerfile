FROM base:1
RUN echo one > /one && echo "$PATH" > /path
RUN ["/bin/sh", "-c", "echo two > /two"]
RUN ["/bin/busybox", "touch", "/$HOME"]
