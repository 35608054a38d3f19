FROM base:1
ARG WEB
ADD $WEB/plain /into/
ADD ${WEB}/plain?x=1 /as/name
#: web
