FROM base:1
COPY b.txt /existing/file
