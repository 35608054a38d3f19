FROM base:1
RUN --mount=target=/ctx sh -c 'echo x > /ctx/new || echo refused > /result'
RUN --mount=target=/ctx,rw sh -c 'echo x > /ctx/new && echo written > /result2'
RUN --mount=target=/ctx sh -c 'test -e /ctx/new || echo gone > /result3'
#: judge buildkit
#: old /ctx 20.10 leaves the folder of a mount behind
