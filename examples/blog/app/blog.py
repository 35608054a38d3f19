"""Shows the posts that MariaDB has, and takes new ones."""

import os

import pymysql
from flask import Flask, redirect, render_template_string, request

app = Flask(__name__)
TITLE = os.environ["BLOG_TITLE"]
PAGE = """<!doctype html>
<title>{{ title }}</title>
<link rel="stylesheet" href="/static/style.css">
<h1>{{ title }}</h1>
{% for name, body in posts %}<h2>{{ name }}</h2><p>{{ body }}</p>
{% endfor %}"""


def database():
    return pymysql.connect(host="db", user="blog", password=os.environ["DB_PASSWORD"], database="blog", autocommit=True)


@app.get("/")
def index():
    with database() as db, db.cursor() as cursor:
        cursor.execute("SELECT title, body FROM posts ORDER BY id DESC")
        return render_template_string(PAGE, title=TITLE, posts=cursor.fetchall())


@app.post("/")
def write():
    with database() as db, db.cursor() as cursor:
        cursor.execute("INSERT INTO posts (title, body) VALUES (%s, %s)", (request.form["title"], request.form["body"]))
    return redirect("/", 303)
