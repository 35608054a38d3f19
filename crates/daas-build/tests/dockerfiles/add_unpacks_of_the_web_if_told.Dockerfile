FROM base:1
ARG WEB
ADD --unpack=true $WEB/archive.tar.gz /into/
#: web
#: tree 0755 0:0 /into dir
#: tree 0755 0:0 /into/in dir
#: tree 0640 0:0 /into/in/file "inside\n"
