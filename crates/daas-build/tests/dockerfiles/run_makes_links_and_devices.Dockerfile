FROM base:1
RUN ln -s /existing/file /sym && ln /existing/file /hard && mkfifo /pipe
