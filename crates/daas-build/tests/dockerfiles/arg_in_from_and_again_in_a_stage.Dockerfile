ARG NAME=base
ARG TAG=0
FROM ${NAME}:${TAG} AS one
ARG TAG
RUN echo "$TAG,$NAME" > /seen
#: arg TAG=1
