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
#: tree 0755 1000:1000 /dyn dir
#: tree 0644 1000:1000 /dyn/a.md "a\n"
#: tree 0644 0:0 /dyn/added "a\n"
#: tree 0755 0:0 /dyn/work dir
