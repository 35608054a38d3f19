FROM base:1
RUN --mount=type=tmpfs,target=/fast echo x > /fast/x && grep -c ' /fast tmpfs ' /proc/mounts > /seen
RUN ls -A /fast > /after 2>&1 || true
#: judge buildkit
#: old /fast 20.10 leaves the folder of a mount behind
#: old /after 20.10 leaves the folder of a mount behind
