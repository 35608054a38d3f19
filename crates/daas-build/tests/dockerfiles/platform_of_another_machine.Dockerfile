FROM --platform=linux/s390x base:1
RUN true
#: refused platform-foreign
