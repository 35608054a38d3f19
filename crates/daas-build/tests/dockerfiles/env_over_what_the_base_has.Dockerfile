FROM base:1
ENV BASE=over PATH=/extra:$PATH
