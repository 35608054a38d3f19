FROM base:1
COPY . /ctx/
#: old /ctx/suid the classic builder changes the owner last, and the kernel takes set-id bits away
