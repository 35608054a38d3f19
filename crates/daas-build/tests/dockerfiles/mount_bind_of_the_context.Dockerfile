FROM base:1
RUN --mount=type=bind,target=/ctx cp /ctx/a.txt /copied && ls -A /ctx/dir > /listed
RUN --mount=target=/mnt/dir,source=dir cat /mnt/dir/x > /x
#: judge buildkit
#: old /ctx 20.10 leaves the folder of a mount behind
#: old /mnt 20.10 leaves the folder of a mount behind
