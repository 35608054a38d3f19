FROM base:1
RUN --mount=type=secret,id=absent,required=true true
#: judge buildkit
#: fails
