"""A wall that shows what is said, as server-sent events; at most one minute for each listener."""

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import redis

bus = redis.Redis("bus", decode_responses=True)


class Wall(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        with bus.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe("said")
            self.wfile.write(b": welcome\n\n")
            end = time.monotonic() + 60
            while time.monotonic() < end:
                message = channel.get_message(timeout=5)
                self.wfile.write(f"data: {message['data']}\n\n".encode() if message else b": still here\n\n")


ThreadingHTTPServer(("0.0.0.0", 8000), Wall).serve_forever()
