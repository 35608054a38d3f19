FROM base:1
COPY missing /x
#: fails
