CREATE TABLE products (id int PRIMARY KEY, name text NOT NULL, cents int NOT NULL CHECK (cents > 0));
INSERT INTO products VALUES (1, 'kettle', 3900), (2, 'tea', 450), (3, 'cup', 700);
