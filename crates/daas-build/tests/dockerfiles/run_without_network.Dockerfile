FROM base:1
RUN --network=none ls /sys/class/net > /net
#: tree 0644 0:0 /net "lo\n"
