FROM base:1
ARG V=argument
ENV V=environment
RUN echo "$V" > /v
#: arg V=given
