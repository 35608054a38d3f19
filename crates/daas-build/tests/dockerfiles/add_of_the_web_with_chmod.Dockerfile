FROM base:1
ARG WEB
ADD --chmod=751 $WEB/plain /into/
#: web
#: judge buildkit
#: old /into Docker 20.10 leaves --chmod out for what it fetches
