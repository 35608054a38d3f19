FROM base:1
RUN --mount=type=secret,id=token cat /run/secrets/token > /got && busybox stat -c '%a %u %g' /run/secrets/token > /stat
RUN --mount=type=secret,id=token,target=/etc/token,mode=0444,uid=1000 busybox stat -c '%a %u' /etc/token > /stat2
RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent && echo absent > /absent
#: judge buildkit
#: secret token=s3cr3t
#: old /run/secrets 20.10 leaves the folder of a mount behind
