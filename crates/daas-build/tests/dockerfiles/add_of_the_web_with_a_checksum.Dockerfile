FROM base:1
ARG WEB
ADD --checksum=sha256:1c903ccdde94ddd5c5933463fa9c2cb23bed3468f0132633901e469e01c8706f $WEB/plain /into/
#: web
#: tree 0755 0:0 /into dir
#: tree 0600 0:0 /into/plain "of the web\n"
