FROM base:1
COPY nothing*.here /x/
#: judge buildkit
