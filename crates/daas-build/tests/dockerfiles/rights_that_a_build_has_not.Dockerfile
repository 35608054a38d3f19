FROM base:1
RUN --security=insecure true
RUN --network=host true
#: refused security-insecure
