FROM base:1
ARG WHO=app
STOPSIGNAL SIGQUIT
USER $WHO:staff
WORKDIR /srv
WORKDIR app/../other
#: old /srv the classic builder makes working folders as root
