"""Asks every controller for its reading, once a second, and hands the readings on to MQTT."""

import os
import socket
import time

import paho.mqtt.client as mqtt

broker = mqtt.Client()
broker.connect(os.environ["BROKER"])
broker.loop_start()
while True:
    for address in os.environ["CONTROLLERS"].split():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as wire:
            wire.settimeout(0.5)
            wire.sendto(b"READ", (address, 4840))
            try:
                kind, degrees = wire.recv(64).decode().split()
            except TimeoutError:
                print(f"{address} is silent")
                continue
        broker.publish(f"hall/{kind}/{address}", degrees)
    time.sleep(1)
