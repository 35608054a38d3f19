FROM base:1
ARG GIVEN=default
ARG DEFAULT=default
ENV SET=set
RUN echo "$GIVEN $DEFAULT $SET $BASE" > /seen
#: arg GIVEN=given
