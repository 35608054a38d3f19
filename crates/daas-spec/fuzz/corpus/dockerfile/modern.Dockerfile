# syntax=docker/dockerfile:1
# escape=\
ARG BASE=debian:bookworm
ARG TAG
FROM --platform=$BUILDPLATFORM ${BASE} AS build
ARG VERSION=1.0 TAG=x${VERSION:-y}
ENV PATH="/opt/bin:$PATH" LANG='C.UTF-8'
WORKDIR /src
COPY --link --chown=1000:1000 --chmod=u=rwX,go=rX --exclude=*.md a b "./"
RUN --mount=type=cache,target=/root/.cache,sharing=locked,id=k-$TAG \
    # a comment inside
    --mount=type=secret,id=tok,env=TOKEN \
    make \

    all
RUN <<EOF
set -e
echo $HOME
EOF
RUN <<-'PY' python3 - && cat <<X
	print("a")
	PY
x
X
RUN <<script
#!/usr/bin/env python3
print("b")
script
COPY <<-"A" <<B /etc/
	raw $VERSION
A
v=${VERSION}
B
ADD --checksum=sha256:00 --unpack https://example.invalid/x.tar /x
ONBUILD COPY --from=build . /app
FROM build AS test
RUN --network=none ["make", "test"]
FROM scratch
COPY --from=test /src/out /
COPY --from=0 /x /y
EXPOSE 80 53/udp 8000-8002/tcp
HEALTHCHECK --interval=30s --retries=2 CMD ["/probe", "-q"]
STOPSIGNAL SIGQUIT
USER 1000:1000
VOLUME ["/data", "/log"]
LABEL a.b="c d" e=f
SHELL ["/bin/bash", "-c"]
ENTRYPOINT ["/srv"]
CMD -- --help me
