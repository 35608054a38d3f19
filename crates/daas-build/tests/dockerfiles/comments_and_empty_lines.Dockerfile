# a comment
   # an indented comment

FROM base:1

   # between
   RUN   echo x   >   /x   
LABEL a=b # not a comment
#: fails
