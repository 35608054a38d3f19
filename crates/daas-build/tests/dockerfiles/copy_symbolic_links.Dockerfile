FROM base:1
COPY links /links
