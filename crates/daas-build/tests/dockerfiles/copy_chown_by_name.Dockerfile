FROM base:1
COPY --chown=app:staff dir /owned
COPY --chown=app a.txt /app
COPY --chown=0:app a.txt /mixed
