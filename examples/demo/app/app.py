"""A page with a name that this stand gave itself, and a counter of its visits. Both live in the stand's own Redis."""

import html
import os
import random
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import redis

store = redis.Redis(os.environ.get("REDIS", "store"), decode_responses=True, socket_timeout=2)

COLOURS = ["amber", "azure", "coral", "ivory", "jade", "lilac", "ochre", "olive", "rose", "slate", "teal", "umber"]
ANIMALS = ["badger", "crane", "dolphin", "falcon", "gecko", "heron", "ibex", "lynx", "marmot", "otter", "puffin", "raven", "stoat", "tapir", "walrus", "yak"]

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>
  body {{ margin: 0; min-height: 100vh; display: grid; place-content: center; text-align: center;
         font: 1.25rem/1.6 system-ui, sans-serif; background: hsl({hue} 45% 93%); color: hsl({hue} 60% 18%); }}
  h1 {{ font-size: 4rem; margin: 0; }}
  b {{ font-size: 2rem; }}
</style>
<p>{greeting}</p>
<h1>{name}</h1>
<p><b>{hits}</b><br>visits, counted in this stand's own Redis</p>
<p><small>served by {host} at {address}: the same in every stand</small></p>
</html>
"""


def name() -> str:
    """Returns the name of this stand; the first who asks gives it."""
    store.set("name", f"{random.choice(COLOURS)} {random.choice(ANIMALS)} {random.randrange(100, 1000)}", nx=True)
    return store.get("name")


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/healthy":
            return self.answer(f"{store.ping()}\n", "text/plain")
        if self.path == "/name":
            return self.answer(f"{name()}\n", "text/plain")
        if self.path == "/hits":
            return self.answer(f"{store.get('hits') or 0}\n", "text/plain")
        if self.path != "/":
            return self.send_error(404)
        own = name()
        host = socket.gethostname()
        text = PAGE.format(
            name=html.escape(own),
            greeting=html.escape(os.environ.get("GREETING", "Hello")),
            hue=sum(map(ord, own)) * 37 % 360,
            hits=store.incr("hits"),
            host=host,
            address=socket.gethostbyname(host),
        )
        self.answer(text, "text/html; charset=utf-8")

    def answer(self, text: str, kind: str):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *values):
        if self.path != "/healthy":
            print(form % values)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(f"the application of {name()} listens")
ThreadingHTTPServer(("0.0.0.0", 8000), Page).serve_forever()
