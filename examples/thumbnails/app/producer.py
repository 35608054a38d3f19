"""POST /paint with a word for each picture: each becomes one message."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer

import pika


class Door(BaseHTTPRequestHandler):
    def do_POST(self):
        words = self.rfile.read(int(self.headers["Content-Length"])).decode().split()
        with pika.BlockingConnection(pika.URLParameters(os.environ["AMQP"])) as connection:
            channel = connection.channel()
            channel.queue_declare("pictures", durable=True)
            for word in words:
                channel.basic_publish("", "pictures", word, pika.BasicProperties(delivery_mode=2))
        self.send_response(202)
        self.end_headers()
        self.wfile.write(f"{len(words)} to be painted\n".encode())


HTTPServer(("0.0.0.0", 8000), Door).serve_forever()
