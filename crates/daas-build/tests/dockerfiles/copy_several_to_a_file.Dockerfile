FROM base:1
COPY a.txt b.txt /file
#: fails
