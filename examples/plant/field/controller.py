"""A controller of the hall: answers `READ` on UDP port 4840, over IPv4 and IPv6, with its kind and a temperature."""

import os
import random
import socket

door = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
door.bind(("::", 4840))
while True:
    asked, asker = door.recvfrom(64)
    if asked.strip() == b"READ":
        degrees = float(os.environ["BASE"]) + random.uniform(-2, 2)
        door.sendto(f"{os.environ['KIND']} {degrees:.1f}".encode(), asker)
