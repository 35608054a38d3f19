"""Follows a log file and sends each line to the archive by UDP."""

import os
import socket
import sys
import time

host, port = os.environ["ARCHIVE"].split(":")
wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.1)
with open(sys.argv[1]) as log:
    while True:
        line = log.readline()
        if line:
            wire.sendto(line.encode(), (host, int(port)))
        else:
            time.sleep(0.2)
