FROM base:1
COPY *.txt /texts/
COPY d?r /dirs/
COPY [ab].txt /ab/
COPY dir/*/z /z
