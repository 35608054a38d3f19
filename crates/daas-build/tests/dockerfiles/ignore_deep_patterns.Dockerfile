FROM base:1
COPY . /ctx/
#: ignore **/*.md
#: ignore !docs/readme.md
#: ignore **/z
#: ignore d?r/y
#: ignore [ab].txt
#: old /ctx/.dockerignore the old client appends the name of the Dockerfile to the ignore file
#: old /ctx/suid the classic builder changes the owner last, and the kernel takes set-id bits away
