# syntax=example.invalid/other:1
RUN too early
FORM debian
FROM debian as
FROM debian AS 1st
FROM --platfrom=linux/amd64 debian AS Build
COPY --form=build a b
COPY --from=$X a b
COPY --link=maybe --link a b
COPY a
ADD <<EOF /x
never ends?
EOF
RUN
RUN --mount=type=cashe,target=/x true
RUN --mount=type=cache,targt=/x true
RUN --network=host true
RUN --security=insecure true
RUN --device=gpu true
RUN ["a", 1]
CMD ['a', 'b']
CMD ["a" "b"]
ENV A
ENV A=1 B
ENV =x
LABEL
ARG =x
EXPOSE 80/icmp 70000 9-8
HEALTHCHECK MAYBE x
HEALTHCHECK --interval=30 CMD x
HEALTHCHECK --retries=-1 CMD x
HEALTHCHECK NONE x
SHELL /bin/bash
ONBUILD ONBUILD RUN x
ONBUILD FROM x
ONBUILD COPY a
VOLUME [""]
WORKDIR
USER
STOPSIGNAL
mantainer Ann
MAINTAINER Ann
COPY a <<EOF
EOF
RUN <<EOF
not closed
