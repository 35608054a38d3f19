FROM base:1
COPY hard /hard
