FROM base:1
RUN echo a \
    # a comment
      b \
    && echo done > /done
RUN echo '  kept   spaces ' > /spaces
