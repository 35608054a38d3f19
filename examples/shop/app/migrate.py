"""Applies each file of /migrations once, in the order of names, and ends."""

from pathlib import Path

from doors import database

with database() as db, db.cursor() as cursor:
    cursor.execute("CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, at timestamptz DEFAULT now())")
    cursor.execute("SELECT name FROM migrations")
    done = {name for (name,) in cursor}
    for file in sorted(Path("/migrations").glob("*.sql")):
        if file.name not in done:
            cursor.execute(file.read_text())
            cursor.execute("INSERT INTO migrations (name) VALUES (%s)", [file.name])
            print(f"applied {file.name}")
print("the database is up to date")
