FROM base:1
COPY a.txt /existing/
COPY a.txt /existing
COPY a.txt b.txt /made/
