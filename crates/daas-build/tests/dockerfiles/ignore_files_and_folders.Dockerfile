FROM base:1
COPY . /ctx/
#: ignore *.txt
#: ignore dir/sub
#: ignore # a comment
#: ignore
#: ignore /archives/
