FROM base:1
ARG WEB
ADD $WEB/called/ /into/
#: web
#: old /into/given classic goes by Content-Disposition where the address ends with a slash
#: old /into/called classic goes by Content-Disposition where the address ends with a slash
