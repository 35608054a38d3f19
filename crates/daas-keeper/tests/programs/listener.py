"""Says what arrives at UDP port 9, and whose it claims to be; speaks to 10.0.0.1 all the time. For tests of the guard."""

import socket
import threading
import time

ear = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
ear.bind(("::", 9))
print("listening", flush=True)


def speak():
    while True:
        ear.sendto(b"here", ("::ffff:10.0.0.1", 9))
        time.sleep(0.01)


threading.Thread(target=speak, daemon=True).start()
while True:
    words, source = ear.recvfrom(100)
    print(words.decode(), source[0].removeprefix("::ffff:"), flush=True)
