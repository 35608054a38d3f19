FROM base:1
ADD archives/owned.tar /owned/
