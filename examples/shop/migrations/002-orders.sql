CREATE TABLE orders (
    id serial PRIMARY KEY,
    product int NOT NULL REFERENCES products,
    pieces int NOT NULL CHECK (pieces > 0),
    state text NOT NULL DEFAULT 'new',
    cents int,
    worker text
);
