"""Keeps every line that comes by UDP."""

import socket

door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
door.bind(("0.0.0.0", 514))
with open("/archive/lines", "ab", buffering=0) as archive:
    while True:
        line = door.recv(65536)
        archive.write(line)
        print(line.decode(errors="replace").rstrip())
