FROM base:1
ARG WEB
ADD $WEB/archive.tar.gz /into/
#: web
