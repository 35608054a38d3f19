FROM base:1
ARG WEB
RUN mkdir /d && echo old > /d/plain
ADD $WEB/plain /d
#: web
