FROM base:1
ARG WEB
ADD $WEB/app.git#v1 /src
#: web
#: tree 0755 0:0 /src dir
#: tree 0777 0:0 /src/link -> run.sh
#: tree 0755 0:0 /src/run.sh "echo one"
#: tree 0755 0:0 /src/docs dir
#: tree 0644 0:0 /src/docs/page "first"
