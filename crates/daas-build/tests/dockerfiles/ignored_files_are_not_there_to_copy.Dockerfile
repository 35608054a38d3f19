FROM base:1
COPY a.txt /a
#: ignore a.txt
#: fails
