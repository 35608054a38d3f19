FROM base:1 AS made
RUN mkdir -p /out/deep && echo one > /out/one && echo two > /out/deep/two && chown app:staff /out/one && chmod 0711 /out/deep && ln -s one /out/link
FROM base:1
COPY --from=made /out /all
COPY --from=0 /out/one /single
COPY --from=MADE out/deep/two /relative
