FROM base:1
RUN echo before && exit 7
#: fails
