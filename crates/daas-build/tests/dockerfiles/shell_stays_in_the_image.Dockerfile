FROM base:1
SHELL ["/bin/sh", "-ec"]
ENTRYPOINT true
