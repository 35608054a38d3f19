CREATE TABLE ledger (day date PRIMARY KEY, cents int NOT NULL);
INSERT INTO ledger SELECT date '2026-01-01' + n, n * 100 FROM generate_series(0, 99) AS n;
