FROM base:1
ENV X=x
RUN echo "$X" '$X' \$X "a\"b" > /quotes
