FROM base:1
COPY --link a.txt /linked/a
COPY --link --chown=1000:50 dir/x /linked/x
COPY --link --chmod=0600 a.txt /link-dir/b
#: tree 0755 1000:50 /linked dir
#: tree 0644 0:0 /linked/a "a\n"
#: tree 0644 1000:50 /linked/x "x\n"
#: tree 0600 0:0 /existing/b "a\n"
