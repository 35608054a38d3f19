FROM base:1
HEALTHCHECK CMD test -f /ok || exit 1
