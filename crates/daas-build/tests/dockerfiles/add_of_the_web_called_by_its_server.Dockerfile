FROM base:1
ARG WEB
ADD $WEB/called/ /into/
#: web
