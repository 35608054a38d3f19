"""GET /1 tells an order by number. Names of users are kept here, too, and follow the users' events."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import psycopg2
import redis


def follow():
    channel = redis.Redis("events").pubsub(ignore_subscribe_messages=True)
    channel.subscribe("user-renamed")
    for message in channel.listen():
        user = json.loads(message["data"])
        with psycopg2.connect("") as db, db.cursor() as cursor:
            cursor.execute("UPDATE orders SET user_name = %s WHERE user_id = %s", [user["name"], user["id"]])


class Orders(BaseHTTPRequestHandler):
    def do_GET(self):
        with psycopg2.connect("") as db, db.cursor() as cursor:
            cursor.execute("SELECT user_name, what FROM orders WHERE id = %s", [self.path.strip("/")])
            row = cursor.fetchone()
        self.send_response(200 if row else 404)
        self.end_headers()
        self.wfile.write(json.dumps(row).encode())


threading.Thread(target=follow, daemon=True).start()
HTTPServer(("0.0.0.0", 8000), Orders).serve_forever()
