CREATE TABLE posts (id int AUTO_INCREMENT PRIMARY KEY, title varchar(200) NOT NULL, body text NOT NULL);
INSERT INTO posts (title, body) VALUES
  ('First frost', 'The lid of the rain barrel is stuck.'),
  ('Grüße aus dem Schuppen', 'Umlauts survive: äöü, and so does 日本語.');
