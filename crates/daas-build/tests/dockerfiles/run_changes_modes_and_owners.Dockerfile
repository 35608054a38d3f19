FROM base:1
RUN chmod 0700 /existing && chown app:staff /existing/file && chmod 6711 /bin/busybox
RUN mkdir /sgid && chgrp staff /sgid && chmod 2775 /sgid && touch /sgid/inherits
