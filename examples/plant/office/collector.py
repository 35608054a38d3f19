"""Keeps the last reading of every source: by MQTT from the hall, by UDP from outside. GET / shows them."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import paho.mqtt.client as mqtt

readings = {}


def from_mqtt(client, data, message):
    _, kind, address = message.topic.split("/")
    readings[f"{kind} at {address}"] = float(message.payload)


def from_udp():
    door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    door.bind(("0.0.0.0", 5514))
    while True:
        text, sender = door.recvfrom(256)
        name, degrees = text.decode().split()
        readings[f"{name} from outside"] = float(degrees)
        door.sendto(f"noted {name}".encode(), sender)


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(readings, indent=1, sort_keys=True).encode())


threading.Thread(target=from_udp, daemon=True).start()
hall = mqtt.Client()
hall.on_message = from_mqtt
hall.on_connect = lambda client, *_: client.subscribe("hall/#")
hall.connect("mqtt")
hall.loop_start()
ThreadingHTTPServer(("0.0.0.0", 8000), Page).serve_forever()
