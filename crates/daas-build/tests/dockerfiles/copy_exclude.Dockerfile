FROM base:1
COPY --exclude=*.md --exclude=deep docs /docs/
COPY --exclude=**/n.md --exclude=*.txt docs /deep/
#: tree 0755 0:0 /docs dir
#: tree 0644 0:0 /docs/keep.txt "keep\n"
#: tree 0755 0:0 /deep dir
#: tree 0644 0:0 /deep/guide.md "guide\n"
#: tree 0644 0:0 /deep/readme.md "readme\n"
#: tree 0755 0:0 /deep/deep dir
#: tree 0644 0:0 /deep/deep/secret.md "secret\n"
