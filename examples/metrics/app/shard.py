"""One shard of a service: answers anything and counts it; /metrics tells the count."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer

import prometheus_client as prometheus

visits = prometheus.Counter("visits", "Requests that were answered", ["shard"])
ME = os.environ["SHARD"]


class Door(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/metrics":
            body = prometheus.generate_latest()
        else:
            visits.labels(ME).inc()
            body = f"shard {ME}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", prometheus.CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *values):
        pass


try:
    HTTPServer(("0.0.0.0", 8000), Door).serve_forever()
except KeyboardInterrupt:
    pass
