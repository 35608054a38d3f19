FROM base:1
ARG WEB
ADD --chown=5:6 --chmod=600 $WEB/app.git#topic:docs /src/
#: web
#: tree 0600 5:6 /src dir
#: tree 0600 5:6 /src/page "second"
