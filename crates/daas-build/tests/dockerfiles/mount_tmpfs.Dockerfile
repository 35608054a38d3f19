FROM base:1
RUN --mount=type=tmpfs,target=/fast echo x > /fast/x && grep -c ' /fast tmpfs ' /proc/mounts > /seen
RUN ls -A /fast > /after 2>&1 || true
#: judge buildkit
