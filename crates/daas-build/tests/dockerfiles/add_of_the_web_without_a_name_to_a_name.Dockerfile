FROM base:1
ARG WEB
ADD $WEB/?nameless /into/name
#: web
