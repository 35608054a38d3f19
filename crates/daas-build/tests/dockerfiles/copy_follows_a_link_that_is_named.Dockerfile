FROM base:1
COPY links/to-file /followed
COPY links/to-dir /followed-dir
