"""Takes one word at a time and paints it. A message that was not finished goes to another painter."""

import os
import socket
from pathlib import Path

import pika

ME = socket.gethostname()
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="160" height="80"><!-- by {me} -->
<rect width="160" height="80" fill="hsl({hue} 60% 80%)"/><text x="80" y="48" text-anchor="middle">{word}</text></svg>
"""


def paint(channel, method, properties, body):
    word = body.decode()
    name = "".join(c for c in word if c.isalnum())
    part = Path("/pictures") / f".{name}.{ME}"
    part.write_text(SVG.format(me=ME, hue=sum(body) % 360, word=name))
    part.rename(Path("/pictures") / f"{name}.svg")
    channel.basic_ack(method.delivery_tag)
    print(f"{ME} painted {name}")


connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP"]))
channel = connection.channel()
channel.queue_declare("pictures", durable=True)
channel.basic_qos(prefetch_count=1)
channel.basic_consume("pictures", paint)
print(f"{ME} waits for words")
channel.start_consuming()
