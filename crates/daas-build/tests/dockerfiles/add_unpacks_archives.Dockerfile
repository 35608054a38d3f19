FROM base:1
ADD archives/plain.tar /plain/
ADD archives/gz.tar.gz /gz/
ADD archives/bz2.tar.bz2 /bz2/
ADD archives/xz.tar.xz /xz/
