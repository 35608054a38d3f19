FROM base:1
RUN --network=host true
#: refused build-forbidden
