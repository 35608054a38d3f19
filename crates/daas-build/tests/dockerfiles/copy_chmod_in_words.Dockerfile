FROM base:1
COPY --chmod=u=rwX,go=rX dir /dir
COPY --chmod=go-r a.txt /a
#: tree 0755 0:0 /dir dir
#: tree 0644 0:0 /dir/x "x\n"
#: tree 0644 0:0 /dir/y "y\n"
#: tree 0644 0:0 /dir/.hidden "hidden\n"
#: tree 0755 0:0 /dir/sub dir
#: tree 0644 0:0 /dir/sub/z "z\n"
#: tree 0600 0:0 /a "a\n"
