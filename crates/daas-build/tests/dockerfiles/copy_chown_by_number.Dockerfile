FROM base:1
COPY --chown=1000:50 a.txt dir /owned/
COPY --chown=7 a.txt /seven
