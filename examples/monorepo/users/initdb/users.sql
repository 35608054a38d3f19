CREATE TABLE users (id int PRIMARY KEY, name varchar(100) NOT NULL);
INSERT INTO users VALUES (1, 'Ada'), (2, 'Grace');
