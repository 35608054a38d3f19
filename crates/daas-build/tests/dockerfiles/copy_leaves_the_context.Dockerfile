FROM base:1
COPY ../../../a.txt /x
COPY /dir/x /y
#: judge buildkit
