FROM base:1
ADD archives/text.gz /text/
ADD archives/empty.tar.gz /e/
