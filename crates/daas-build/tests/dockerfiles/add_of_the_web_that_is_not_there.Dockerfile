FROM base:1
ARG WEB
ADD $WEB/nothing /into/
#: web
#: fails
