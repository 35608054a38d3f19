FROM base:1 AS made
RUN mkdir /out && echo made > /out/file
FROM base:1
RUN --mount=type=bind,from=made,source=/out,target=/in cp /in/file /got
RUN --mount=from=base:1,target=/base cat /base/etc/passwd > /passwd
#: judge buildkit
#: old /base 20.10 leaves the folder of a mount behind
#: old /in 20.10 leaves the folder of a mount behind
