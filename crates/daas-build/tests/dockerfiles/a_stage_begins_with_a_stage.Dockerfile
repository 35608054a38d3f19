FROM base:1 AS one
ENV ONE=1
WORKDIR /one
ARG HIDDEN=x
FROM one
RUN echo "$ONE $HIDDEN" > here
#: old /one/here the classic builder forgets arguments of the stage below
