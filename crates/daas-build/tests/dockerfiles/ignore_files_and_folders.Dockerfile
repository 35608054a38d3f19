FROM base:1
COPY . /ctx/
#: ignore *.txt
#: ignore dir/sub
#: ignore # a comment
#: ignore
#: ignore /archives/
#: old /ctx/.dockerignore the old client appends the name of the Dockerfile to the ignore file
#: old /ctx/suid the classic builder changes the owner last, and the kernel takes set-id bits away
