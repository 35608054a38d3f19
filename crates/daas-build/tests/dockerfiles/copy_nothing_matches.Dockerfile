FROM base:1
COPY nothing*.here /x/
#: fails
