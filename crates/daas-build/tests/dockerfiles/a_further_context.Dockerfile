FROM base:1
COPY --from=more x /x
#: context more=dir
#: tree 0644 0:0 /x "x\n"
