FROM base:1
COPY a.txt /new.txt
COPY a.txt /renamed/in/new/folders.txt
