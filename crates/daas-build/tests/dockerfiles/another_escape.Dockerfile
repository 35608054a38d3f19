# escape=`
FROM base:1
ENV DIR=C:\dir\ EMPTY=
RUN echo one `
    && echo two > /two
LABEL path=a`$b
