FROM scratch
COPY a.txt /
COPY dir /dir
ENV A=b
CMD ["/a.txt"]
