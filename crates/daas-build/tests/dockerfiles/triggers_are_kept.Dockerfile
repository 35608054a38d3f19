FROM base:1
ONBUILD COPY . /app
ONBUILD RUN ["echo", "hi"]
ONBUILD   env  A=b
