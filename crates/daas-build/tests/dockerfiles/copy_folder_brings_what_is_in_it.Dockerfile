FROM base:1
COPY dir /one
COPY dir/ /two/
COPY dir/sub /existing
