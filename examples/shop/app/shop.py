"""The API of the shop: products from the cache, orders into the database and the queue."""

import json

from doors import cache, database
from flask import Flask, abort, jsonify, request

app = Flask(__name__)
CACHE_SECONDS = 10


@app.get("/healthy")
def healthy():
    return str(cache().ping())


@app.get("/products")
def products():
    kept = cache().get("products")
    if kept:
        return app.response_class(kept, mimetype="application/json", headers={"X-Cache": "hit"})
    with database() as db, db.cursor() as cursor:
        cursor.execute("SELECT id, name, cents FROM products ORDER BY id")
        text = json.dumps([{"id": id, "name": name, "cents": cents} for id, name, cents in cursor])
    cache().set("products", text, ex=CACHE_SECONDS)
    return app.response_class(text, mimetype="application/json", headers={"X-Cache": "miss"})


@app.post("/orders")
def order():
    wanted = request.get_json(silent=True) or abort(400)
    with database() as db, db.cursor() as cursor:
        cursor.execute(
            "INSERT INTO orders (product, pieces) VALUES (%s, %s) RETURNING id",
            [wanted["product"], wanted["pieces"]],
        )
        (id,) = cursor.fetchone()
    cache().lpush("orders", id)
    return jsonify(id=id), 202


@app.get("/orders/<int:id>")
def status(id):
    with database() as db, db.cursor() as cursor:
        cursor.execute("SELECT state, cents, worker FROM orders WHERE id = %s", [id])
        row = cursor.fetchone() or abort(404)
    return jsonify(id=id, state=row[0], cents=row[1], worker=row[2])
