FROM base:1 AS made
RUN mkdir /out && echo x > /out/x && chown 1000:1000 /out/x
FROM base:1
COPY --from=made --chown=app:app /out /kept
COPY --from=made /out /plain
