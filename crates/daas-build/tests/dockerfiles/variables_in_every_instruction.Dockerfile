FROM base:1
ARG D=/dyn F=a.txt O=1000:1000 S=SIGUSR1 P=77
ENV L=label
COPY --chown=$O ${F} ${D}/${F%.txt}.md
ADD $F $D/added
WORKDIR $D/work
USER ${O%%:*}
VOLUME $D/vol
EXPOSE ${P}7/udp
STOPSIGNAL $S
LABEL ${L}.name=$F
#: judge buildkit
