FROM base:1
COPY run.sh b.txt suid /modes/
COPY locked /locked
COPY sticky /sticky
