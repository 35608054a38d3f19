FROM base:1
COPY run.sh b.txt suid /modes/
COPY locked /locked
COPY sticky /sticky
#: old /modes/suid the classic builder changes the owner last, and the kernel takes set-id bits away
