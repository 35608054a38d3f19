FROM base:1 AS parent
ONBUILD RUN echo fired >> /fired
ONBUILD ENV FIRED=yes
RUN echo parent >> /fired
FROM parent AS child
RUN echo child >> /fired
FROM child
RUN echo grandchild >> /fired
