FROM base:1
COPY --parents dir/sub/z docs/*.md /all/
COPY --parents ./docs/./deep/n.md /cut/
#: tree 0755 0:0 /all dir
#: tree 0755 0:0 /all/dir dir
#: tree 0755 0:0 /all/dir/sub dir
#: tree 0644 0:0 /all/dir/sub/z "z\n"
#: tree 0755 0:0 /all/docs dir
#: tree 0644 0:0 /all/docs/guide.md "guide\n"
#: tree 0644 0:0 /all/docs/readme.md "readme\n"
#: tree 0755 0:0 /cut dir
#: tree 0755 0:0 /cut/deep dir
#: tree 0644 0:0 /cut/deep/n.md "n\n"
