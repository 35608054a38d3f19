FROM scratch
COPY --from=base:1 /existing /from-image
COPY --from=base:1 /etc/passwd /passwd
