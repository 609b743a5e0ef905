-- Tables of a journal segment of format 1, as releases before the block map made them.
CREATE TABLE meta(
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE type(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE word(id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE event(
  sequence INTEGER PRIMARY KEY,
  workspace INTEGER NOT NULL,
  type INTEGER,
  received_ms INTEGER NOT NULL,
  source INTEGER NOT NULL,
  payload BLOB NOT NULL
);
CREATE INDEX event_workspace ON event(workspace);
CREATE INDEX event_type ON event(workspace, type);
CREATE TABLE delivery(
  key INTEGER PRIMARY KEY,
  workspace INTEGER NOT NULL,
  subscription INTEGER NOT NULL,
  target INTEGER NOT NULL,
  state INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  first_attempt_ms INTEGER NOT NULL,
  due_ms INTEGER NOT NULL,
  is_batch INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  received_ms INTEGER NOT NULL
);
CREATE INDEX lane ON delivery(target, state, due_ms);
CREATE INDEX waiting ON delivery(target) WHERE state = 1;
CREATE INDEX outcome ON delivery(workspace, state) WHERE state >= 1;
CREATE TABLE attempt(
  delivery INTEGER NOT NULL,
  number INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  duration_us INTEGER NOT NULL,
  error INTEGER,
  message INTEGER,
  fault INTEGER,
  status INTEGER,
  request INTEGER NOT NULL,
  request_values TEXT,
  response INTEGER NOT NULL,
  response_values TEXT,
  body BLOB,
  PRIMARY KEY(delivery, number)
) WITHOUT ROWID;
CREATE TABLE batch_part(
  batch INTEGER NOT NULL,
  first INTEGER NOT NULL,
  members BLOB NOT NULL,
  PRIMARY KEY(batch, first)
) WITHOUT ROWID;
CREATE INDEX batch_part_first ON batch_part(first);
CREATE TABLE idempotency(
  workspace INTEGER NOT NULL,
  key TEXT NOT NULL,
  hash BLOB NOT NULL,
  first INTEGER NOT NULL,
  count INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY(workspace, key)
) WITHOUT ROWID;
CREATE VIEW log AS
  SELECT d.key, t.name AS type, d.workspace, d.subscription, d.target,
         CASE d.state WHEN 0 THEN 'queued' WHEN 1 THEN 'scheduled' WHEN 2 THEN 'delivered' WHEN 3 THEN 'failed' ELSE 'cancelled' END AS state,
         a.number AS attempt, datetime(a.at_ms / 1000.0, 'unixepoch', 'subsec') AS at, a.duration_us, a.status,
         (SELECT text FROM word WHERE id = a.error) AS error, (SELECT text FROM word WHERE id = a.message) AS message
  FROM delivery d JOIN event e ON e.sequence = d.key >> 20 LEFT JOIN type t ON t.id = e.type LEFT JOIN attempt a ON a.delivery = d.key;
