FROM base:1
COPY empty /empty
COPY empty/ /existing/
