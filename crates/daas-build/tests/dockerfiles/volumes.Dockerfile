FROM base:1
RUN mkdir /data && echo kept > /data/kept
VOLUME /data "/quoted"
VOLUME ["/json", "/two words"]
