FROM base:1
ADD archives/plain.tar /existing/
ADD archives/plain.tar /
