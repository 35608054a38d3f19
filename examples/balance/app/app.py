"""Counts the visits of a session in memcached, whichever replica answers."""

import socket
import uuid

from flask import Flask, make_response, request
from pymemcache.client.base import Client

app = Flask(__name__)
ME = socket.gethostname()


@app.get("/healthy")
def healthy():
    return "yes\n"


@app.get("/")
def index():
    session = request.cookies.get("session") or uuid.uuid4().hex
    sessions = Client(("sessions", 11211), connect_timeout=1, timeout=1)
    sessions.add(session, 0, expire=600, noreply=False)
    answer = make_response(f"{ME} counts visit {sessions.incr(session, 1)}\n")
    sessions.close()
    answer.set_cookie("session", session)
    answer.headers["X-Replica"] = ME
    return answer
