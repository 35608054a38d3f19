FROM base:1
ARG WEB
ADD $WEB/app.git#nowhere /src
#: web
#: refused fetch-no-reference
