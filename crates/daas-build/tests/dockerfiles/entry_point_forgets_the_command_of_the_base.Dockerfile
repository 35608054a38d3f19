FROM base:1
ENTRYPOINT ["/bin/true"]
