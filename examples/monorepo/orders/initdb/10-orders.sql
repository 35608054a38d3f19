CREATE TABLE orders (id int PRIMARY KEY, user_id int NOT NULL, user_name text NOT NULL, what text NOT NULL);
INSERT INTO orders VALUES (1, 1, 'Ada', 'engine'), (2, 2, 'Grace', 'compiler');
