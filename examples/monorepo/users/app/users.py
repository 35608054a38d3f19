"""GET /1 tells a user by number; PUT /1 gives another name and tells everybody so."""

import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

import pymysql
import redis

events = redis.Redis("events")


def database():
    return pymysql.connect(host="users-db", user="users", password=os.environ["DB_PASSWORD"], database="users", autocommit=True)


class Users(BaseHTTPRequestHandler):
    def do_GET(self):
        with database() as db, db.cursor() as cursor:
            cursor.execute("SELECT name FROM users WHERE id = %s", [self.path.strip("/")])
            row = cursor.fetchone()
        self.answer(200 if row else 404, {"name": row and row[0]})

    def do_PUT(self):
        id, name = self.path.strip("/"), self.rfile.read(int(self.headers["Content-Length"])).decode()
        with database() as db, db.cursor() as cursor:
            cursor.execute("UPDATE users SET name = %s WHERE id = %s", (name, id))
        heard = events.publish("user-renamed", json.dumps({"id": int(id), "name": name}))
        self.answer(200, {"heard_by": heard})

    def answer(self, status, value):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())


HTTPServer(("0.0.0.0", 8000), Users).serve_forever()
