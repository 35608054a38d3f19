FROM base:1
COPY --chmod=0640 a.txt dir /modes/
COPY --chmod=4755 run.sh /suid
COPY --chmod=755 --chown=1000:1000 dir /both
#: judge buildkit
#: old /modes 20.10 gives no mode to folders on the way
#: old /suid 20.10 drops set-id bits
