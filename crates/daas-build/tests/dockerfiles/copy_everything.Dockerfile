FROM base:1
COPY . /ctx/
