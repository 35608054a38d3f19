FROM base:1
ARG WEB
ADD --chown=7:8 $WEB/plain /into/
#: web
