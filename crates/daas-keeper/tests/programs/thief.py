"""Sends forged frames from eth0, round after round, as a node with CAP_NET_RAW can. For tests of the guard.

argv: own last byte, the victim's, the client's. Addresses are 10.0.0.x and fd00::x, link addresses 02:00:0a:00:00:xx.
"""

import socket
import struct
import sys
import time

own, victim, client = (int(word) for word in sys.argv[1:4])
BROADCAST = b"\xff" * 6
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0))


def mac(last):
    return bytes([2, 0, 10, 0, 0, last])


def four(last):
    return bytes([10, 0, 0, last])


def six(last):
    return socket.inet_pton(socket.AF_INET6, "fd00::%x" % last)


def arp(to, source, operation, sender_mac, sender, target_mac, target, tags=b""):
    head = to + source + tags + b"\x08\x06"
    return head + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + sender_mac + sender + target_mac + target


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp4(source_mac, source, words, to=victim, tags=b""):
    body = struct.pack("!HHHH", 4000, 9, 8 + len(words), 0) + words
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, 17, 0, source, four(to))
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return mac(to) + source_mac + tags + b"\x08\x00" + head + body


def ip6(source_mac, source, target, kind, body, to_mac, hops=64):
    pseudo = source + target + struct.pack("!II", len(body), kind)
    at = 6 if kind == 17 else 2
    body = body[:at] + struct.pack("!H", checksum(pseudo + body)) + body[at + 2:]
    return to_mac + source_mac + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(body), kind, hops) + source + target + body


def udp6(source_mac, source, words):
    body = struct.pack("!HHHH", 4000, 9, 8 + len(words), 0) + words
    return ip6(source_mac, source, six(victim), 17, body, mac(victim))


def advertisement(source, target):
    # Neighbour advertisement, override, with our link address for somebody's address (RFC 4861).
    body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + target + b"\x02\x01" + mac(own)
    return ip6(mac(own), source, six(client), 58, body, mac(client), 255)


VLAN = b"\x81\x00\x00\x00"
FORGED = [
    # "The victim's address is at my link", in all ways.
    arp(mac(client), mac(own), 2, mac(own), four(victim), mac(client), four(client)),
    arp(BROADCAST, mac(own), 2, mac(own), four(victim), BROADCAST, four(victim)),
    arp(BROADCAST, mac(own), 1, mac(own), four(victim), b"\0" * 6, four(victim)),
    arp(mac(client), mac(own), 1, mac(own), four(victim), b"\0" * 6, four(client)),
    arp(mac(client), mac(own), 2, mac(own), four(1), mac(client), four(client)),
    arp(mac(client), mac(own), 2, mac(own), four(victim), mac(client), four(client), VLAN),
    arp(mac(client), mac(own), 2, mac(own), four(victim), mac(client), four(client), VLAN * 2),
    arp(mac(client), mac(own), 2, mac(own), four(victim), mac(client), four(client), b"\x88\xa8\x00\x00" + VLAN),
    # Another's words: "I am the client".
    udp4(mac(own), four(client), b"forged-4"),
    udp4(mac(own), four(client), b"forged-4-vlan", tags=VLAN),
    udp4(mac(own), four(client), b"forged-4-vlans", tags=VLAN * 2),
    udp4(mac(own), four(1), b"forged-gateway"),
    udp6(mac(own), six(client), b"forged-6"),
    advertisement(six(own), six(victim)),
    advertisement(six(victim), six(victim)),
]
# Last of a round: a bridge that learns from them sends what is meant for others to us, until those speak again.
THEFT = [
    udp4(mac(client), four(client), b"forged-4-mac"),
    udp4(mac(client), four(own), b"forged-mac"),
    udp6(mac(client), six(client), b"forged-6-mac"),
    arp(mac(client), mac(victim), 2, mac(own), four(victim), mac(client), four(client)),
]
UNOWNED = [udp4(mac(own), four(77), b"unowned-4"), udp6(mac(own), six(0x77), b"unowned-6")]
HONEST = [udp4(mac(own), four(own), b"honest-4"), udp6(mac(own), six(own), b"honest-6")]

number = 0
while True:
    for frame in FORGED + UNOWNED + HONEST + THEFT:
        wire.send(frame)
    number += 1
    print("round", number, flush=True)
    time.sleep(0.1)
