"""An old tool: believes who comes over loopback, and keeps notes in a folder."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Tool(BaseHTTPRequestHandler):
    def do_GET(self):
        person = self.headers.get("X-Person", "nobody")
        diary = Path("/notes/diary")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"good day, {person}\n{diary.read_text() if diary.exists() else ''}".encode())

    def log_message(self, form, *values):
        pass


print(f"\033[32mthe tool is at its desk\033[0m, at a terminal: {sys.stdout.isatty()}")
HTTPServer(("127.0.0.1", 8000), Tool).serve_forever()
