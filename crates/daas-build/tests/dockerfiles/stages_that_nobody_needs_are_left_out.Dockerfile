FROM base:1 AS broken
RUN exit 1
FROM base:1 AS good
RUN echo good > /good
FROM good
#: judge buildkit
