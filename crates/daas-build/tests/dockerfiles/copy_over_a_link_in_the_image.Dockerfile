FROM base:1
COPY a.txt /link-dir/through
COPY dir /link-dir
