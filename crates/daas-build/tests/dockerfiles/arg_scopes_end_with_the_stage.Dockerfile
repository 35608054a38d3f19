FROM base:1 AS one
ARG ONE=1
RUN echo "$ONE" > /one
FROM base:1
COPY --from=one /one /one
RUN echo "${ONE:-gone}" > /two
