FROM base:1
ARG WEB
ADD dir/x $WEB/plain archives/plain.tar /into/
#: web
