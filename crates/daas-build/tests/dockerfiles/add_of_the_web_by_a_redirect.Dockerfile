FROM base:1
ARG WEB
ADD $WEB/way /into/
#: web
