# check=skip=StageNameCasing
FROM debian AS Build
env A 1
ENV API_KEY=x PUBLIC_KEY=y
ARG DB_PASSWORD
WORKDIR app
CMD run
CMD ["run"]
RUN a \

    b
EXPOSE 8080:80 53/UDP
MAINTAINER Ann

FROM debian:$TAGG as build
# check=skip=JSONArgsRecommended
ENTRYPOINT run it
FROM --platform=linux/amd64 debian AS scratch
FROM --platform=$TARGETPLATFORM build
RUN true
HEALTHCHECK NONE
HEALTHCHECK CMD x
