"""The doors to database and cache, opened as the environment says."""

import os
from pathlib import Path

import psycopg2
import redis


def database():
    return psycopg2.connect(
        host=os.environ["DB_HOST"],
        dbname=os.environ["DB_NAME"],
        user=os.environ["DB_USER"],
        password=Path(os.environ["DB_PASSWORD_FILE"]).read_text().strip(),
    )


def cache():
    return redis.Redis(os.environ["REDIS_HOST"], decode_responses=True)
