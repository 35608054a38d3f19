FROM base:1
ARG A=a
ARG B=${A}b
ARG C="$B c"
RUN echo "$C" > /c
LABEL c=$C
