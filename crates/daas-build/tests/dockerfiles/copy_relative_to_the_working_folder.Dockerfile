FROM base:1
WORKDIR /work/in
COPY a.txt .
COPY a.txt ../up.txt
COPY dir ./sub/
