//! What the database looks like.
//!
//! # Rules for changes
//! The tables of `posthaste` are brought up by numbered migrations, each applied once, in order, under a lock that ends with its transaction.
//! Two releases run side by side while nodes are replaced one by one, so a change is made in steps:
//! 1. *Expand*: add what is new (a table, a column with a default or nullable, an index). The release before must work with it: it names its
//!    columns in every statement, and never writes what it does not know.
//! 2. Releases write both, then read the new; each step in a release of its own.
//! 3. *Contract*: remove what no release that may still run knows of, and only then raise [`OLDEST`].
//!
//! A release refuses a database whose `oldest` is above what it knows; migrations above its own do not trouble it otherwise.
//!
//! # Buckets
//! A bucket has tables of its own, `event_7` and so on, and not partitions of one table: each statement names the bucket that it means, so
//! nothing is routed or pruned per row, and a bucket comes and goes without a lock on what all nodes use. Tables are made ahead, see
//! [`super::buckets`].
//!
//! # No bloat
//! - `event`, `attempt`, `batch_part`, `subject` are insert-only. `idempotency` too, unless a key is used again after a day.
//! - `delivery` is updated, and every update is HOT: no index has a column that changes, and more than half of each page is kept free, so
//!   that all rows of a page can be settled by one transaction (a row takes 116 bytes). Old versions go when the page is next looked at, without a vacuum.
//! - `arrival` has rows for deliveries to targets with an owner, and `call` for what nodes ask each other; both are inserted, updated once and
//!   deleted, some for each commit at most.
//! - `joining` has rows for events on their way into batches of targets with an owner; they are inserted and deleted, one for each commit and subscription.
//! - `due` has rows for scheduled deliveries alone; they are inserted and deleted, and are not on the path of a delivery that succeeds at once.
//! - `tally` has a row per workspace, type and stream, updated by one node: HOT as well.

use super::error::Failure;
use super::link::Alone;
use crate::StoreError;

/// Migrations that this release knows: the first is number 1.
const MIGRATIONS: [&str; 3] = [FIRST, JOINING, EPOCHS];

/// The oldest release that may use the database, as the number of its last migration. Written by the contracting migration.
const OLDEST: i64 = 2;

/// What the locks of this schema begin with: `POST` in ASCII.
pub(super) const LOCK: i32 = 0x504F_5354;
/// Migrations and making tables.
pub(super) const LOCK_SCHEMA: i32 = 1;

const FIRST: &str = "
CREATE TABLE posthaste.counter(name text PRIMARY KEY, value bigint NOT NULL) WITH (fillfactor = 50);
INSERT INTO posthaste.counter VALUES ('sequence', 1), ('catalog', 0), ('session', 0);

CREATE TABLE posthaste.node(
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- one for each opening of the store
  name text NOT NULL,
  started timestamptz NOT NULL DEFAULT clock_timestamp(),
  seen timestamptz NOT NULL DEFAULT clock_timestamp(),
  closed boolean NOT NULL DEFAULT false,
  catalog bigint NOT NULL DEFAULT 9223372036854775807, -- version of the catalog that it works with; the largest number until it has read one
  release text NOT NULL DEFAULT '',
  report text NOT NULL DEFAULT '{}' -- what it says of itself: JSON, for people
) WITH (fillfactor = 50);
CREATE TABLE posthaste.stream(
  stream integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  node bigint NOT NULL,            -- who appends to it
  is_open boolean NOT NULL DEFAULT true
) WITH (fillfactor = 50);
CREATE INDEX stream_node ON posthaste.stream(node);
-- What the owners of targets send. All nodes append to it.
INSERT INTO posthaste.stream(stream, node, is_open) OVERRIDING SYSTEM VALUE VALUES (0, 0, false);
CREATE TABLE posthaste.claim(
  stream integer NOT NULL,
  part smallint NOT NULL,          -- target & 7
  holder bigint NOT NULL,          -- node.id: who alone settles these deliveries and reads those that are pending
  fence bigint NOT NULL DEFAULT 1, -- one more with each holder
  PRIMARY KEY(stream, part)
) WITH (fillfactor = 50);
CREATE INDEX claim_holder ON posthaste.claim(holder);
INSERT INTO posthaste.claim(stream, part, holder) SELECT 0, part, 0 FROM generate_series(0, 7) part;
CREATE TABLE posthaste.arrival(    -- where in stream 0 something may be pending
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  part smallint NOT NULL,
  target bigint NOT NULL,
  first bigint NOT NULL,           -- keys, of one chunk
  last bigint NOT NULL,
  pending integer NOT NULL,        -- how many
  queued integer NOT NULL,         -- how many of them are not scheduled
  taken boolean NOT NULL DEFAULT false -- the holder of the claim knows
);
CREATE INDEX arrival_part ON posthaste.arrival(part) WHERE NOT taken;
CREATE UNLOGGED TABLE posthaste.visit( -- who came how often lately; lost in a crash of the database
  place bigint NOT NULL,
  visitor text COLLATE \"C\" NOT NULL,
  times bigint[] NOT NULL,
  until_ms bigint NOT NULL,        -- refused until then
  PRIMARY KEY(place, visitor)
) WITH (fillfactor = 50);
CREATE TABLE posthaste.call(       -- what nodes ask each other for
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  node bigint NOT NULL,            -- who is asked
  kind smallint NOT NULL,          -- 0 reopen, 1 cancel
  keys bigint[] NOT NULL,
  target bigint NOT NULL,          -- of all of them, or 0
  at_ms bigint NOT NULL,
  made timestamptz NOT NULL DEFAULT clock_timestamp(),
  taken boolean NOT NULL DEFAULT false,
  answer bigint[]
);
CREATE INDEX call_node ON posthaste.call(node) WHERE NOT taken;

CREATE TABLE posthaste.bucket(
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  first bigint UNIQUE,             -- its first sequence; null: made ahead
  until bigint,                    -- the first sequence of the next one
  floor_ms bigint NOT NULL DEFAULT 0 -- all of it was received at or after this
);
CREATE TABLE posthaste.low(        -- no delivery of this bucket, stream and part that has a smaller key is queued
  bucket integer NOT NULL,
  stream integer NOT NULL,
  part smallint NOT NULL,
  key bigint NOT NULL,
  PRIMARY KEY(bucket, stream, part)
) WITH (fillfactor = 50);
CREATE TABLE posthaste.due(        -- the scheduled deliveries
  target bigint NOT NULL,
  stream integer NOT NULL,
  due_ms bigint NOT NULL,
  key bigint NOT NULL,
  PRIMARY KEY(target, stream, due_ms, key)
);
CREATE INDEX due_key ON posthaste.due(key);
CREATE TABLE posthaste.type(id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE \"C\" NOT NULL UNIQUE);

CREATE TABLE posthaste.resource(
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- never given twice
  id text COLLATE \"C\" NOT NULL UNIQUE,
  kind text NOT NULL,
  workspace bigint NOT NULL,
  version bigint NOT NULL,
  created_ms bigint NOT NULL,
  updated_ms bigint NOT NULL,
  deleted boolean NOT NULL,
  doc text NOT NULL,               -- JSON, null in place of each secret
  changed bigint NOT NULL,         -- version of the catalog with its last change
  sealed bytea                     -- the secrets: nonce || XChaCha20-Poly1305 of a JSON map from pointer to value, bound to the id
);
CREATE INDEX resource_changed ON posthaste.resource(changed);
CREATE TABLE posthaste.seal(sealed bytea NOT NULL); -- nothing, sealed: shows whether a node has the master key
CREATE TABLE posthaste.audit(
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace bigint NOT NULL,
  at_ms bigint NOT NULL,
  actor_kind text NOT NULL,
  actor_id text,
  actor_label text NOT NULL,
  action text NOT NULL,
  kind text NOT NULL,
  id text NOT NULL,
  name text NOT NULL,
  fields text NOT NULL             -- JSON
);
CREATE INDEX audit_workspace ON posthaste.audit(workspace, number);
CREATE INDEX audit_time ON posthaste.audit(at_ms);
CREATE TABLE posthaste.session(
  id text COLLATE \"C\" PRIMARY KEY,
  token_hash text NOT NULL UNIQUE,
  member text NOT NULL,
  user_agent text NOT NULL,
  ip text NOT NULL,
  created_ms bigint NOT NULL,
  seen_ms bigint NOT NULL
);
CREATE TABLE posthaste.suppression(
  workspace bigint NOT NULL,
  scope text COLLATE \"C\" NOT NULL,
  address text COLLATE \"C\" NOT NULL,
  reason text NOT NULL,
  at_ms bigint NOT NULL,
  PRIMARY KEY(workspace, scope, address)
);
CREATE TABLE posthaste.bin(bin bigint PRIMARY KEY, last bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE posthaste.request(
  bin bigint NOT NULL,
  number bigint NOT NULL,
  at_ms bigint NOT NULL,
  method text NOT NULL,
  target text NOT NULL,
  headers text NOT NULL,           -- JSON: [[name, value], ...]
  body bytea NOT NULL,
  ip text,
  PRIMARY KEY(bin, number)
);
";

/// Who does not know it would own targets and leave what waits for them. No release was made before it, so it contracts at once.
const JOINING: &str = "
CREATE TABLE posthaste.joining(    -- events that the owners of their targets have still to put into batches
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  part smallint NOT NULL,          -- target & 7
  target bigint NOT NULL,
  subscription bigint NOT NULL,
  workspace bigint NOT NULL,
  events bigint NOT NULL,          -- limits of a batch
  bytes bigint NOT NULL,
  wait_ms bigint NOT NULL,
  is_ordered boolean NOT NULL,
  at_ms bigint NOT NULL,
  first bigint NOT NULL,           -- sequences
  last bigint NOT NULL,
  members bytea NOT NULL           -- LEB128, for each event: sequence less the one before, ordinal, bytes of the payload
);
CREATE INDEX joining_part ON posthaste.joining(part, first);
";

/// A release that knows nothing of it writes to its own streams as before.
const EPOCHS: &str = "
ALTER TABLE posthaste.stream
  ADD COLUMN epoch bigint NOT NULL DEFAULT 0; -- what its node appends has to agree with: raised whenever no answer came, so that nothing comes late
";

/// Tables of one bucket; `$` stands for its number.
const BUCKET: &str = "
CREATE TABLE posthaste.event_$(
  sequence bigint PRIMARY KEY,
  workspace bigint NOT NULL,
  received_ms bigint NOT NULL,
  type integer NOT NULL,           -- type.id; 0: none
  stream integer NOT NULL,
  source text NOT NULL,            -- JSON
  deliveries bytea NOT NULL,       -- LEB128, for each delivery: ordinal less the one before, twice the target, and one more if it is in stream 0
  payload bytea NOT NULL           -- the document, byte for byte
);
ALTER TABLE posthaste.event_$ ALTER payload SET STORAGE EXTERNAL; -- to compress it would cost more than to write it
CREATE INDEX event_list_$ ON posthaste.event_$(workspace, type, sequence);
CREATE TABLE posthaste.delivery_$(
  target bigint NOT NULL,
  key bigint NOT NULL,             -- sequence of the (first) event << 20 | ordinal
  workspace bigint NOT NULL,
  subscription bigint NOT NULL,
  first_attempt_ms bigint NOT NULL,
  due_ms bigint NOT NULL,          -- 0 unless scheduled
  prior_due_ms bigint NOT NULL,    -- before the last change
  updated_ms bigint NOT NULL,
  received_ms bigint NOT NULL,
  stream integer NOT NULL,
  attempts integer NOT NULL,
  state smallint NOT NULL,         -- 0 queued, 1 scheduled, 2 delivered, 3 failed, 4 cancelled
  prior smallint NOT NULL,         -- the state before the last change
  is_batch boolean NOT NULL,
  PRIMARY KEY(target, stream, key)
) WITH (fillfactor = 45);
CREATE INDEX delivery_key_$ ON posthaste.delivery_$ USING brin(key) WITH (pages_per_range = 32);
CREATE TABLE posthaste.attempt_$(
  delivery bigint NOT NULL,
  at_ms bigint NOT NULL,
  duration_us bigint NOT NULL,
  number integer NOT NULL,
  status integer,
  fault smallint,                  -- 0 ours, 1 theirs, 2 network
  error text,
  message text,
  request text NOT NULL,
  response text NOT NULL,
  body bytea NOT NULL,
  PRIMARY KEY(delivery, number)
);
ALTER TABLE posthaste.attempt_$ ALTER body SET STORAGE EXTERNAL;
CREATE TABLE posthaste.batch_part_$( -- lies where its members lie
  batch bigint NOT NULL,
  first bigint NOT NULL,           -- first sequence of the commit that wrote it; commits of a stream do not overlap. Stream 0: the first member,
                                   -- and all members are of one run of 4,096 sequences
  stream integer NOT NULL,
  last bigint NOT NULL,            -- the last member
  members bytea NOT NULL,          -- sequences: LEB128 of the first, then of the differences
  PRIMARY KEY(batch, first)
);
CREATE INDEX batch_part_first_$ ON posthaste.batch_part_$(stream, first);
CREATE TABLE posthaste.idempotency_$(
  workspace bigint NOT NULL,
  key text COLLATE \"C\" NOT NULL,
  hash bytea NOT NULL,
  first bigint NOT NULL,
  count integer NOT NULL,
  at_ms bigint NOT NULL,
  PRIMARY KEY(workspace, key)
);
CREATE TABLE posthaste.subject_$(
  block bigint NOT NULL,           -- sequence >> 14: within a block the tree is small, and older blocks are not touched again
  hash bigint NOT NULL,
  sequence bigint NOT NULL,
  PRIMARY KEY(block, hash, sequence)
);
CREATE TABLE posthaste.tally_$(    -- how many events
  workspace bigint NOT NULL,
  type integer NOT NULL,
  stream integer NOT NULL,
  count bigint NOT NULL,
  PRIMARY KEY(workspace, type, stream)
) WITH (fillfactor = 50);
";

/// The tables of a bucket, without their number.
pub(super) const TABLES: [&str; 7] = ["event", "delivery", "attempt", "batch_part", "idempotency", "subject", "tally"];

/// Events of a block of `subject`, as a power of two.
pub(super) const BLOCK_BITS: u32 = 14;

/// Brings the schema up, or refuses it.
pub(super) async fn migrate(tx: &Alone) -> Result<(), Failure> {
    tx.script(&format!("SELECT pg_advisory_xact_lock({LOCK}, {LOCK_SCHEMA})")).await?;
    tx.script(
        "SET LOCAL client_min_messages = warning; CREATE SCHEMA IF NOT EXISTS posthaste;
         CREATE TABLE IF NOT EXISTS posthaste.migration(
           number bigint PRIMARY KEY,
           oldest bigint NOT NULL,     -- releases that do not know this migration may not use the database any more
           applied timestamptz NOT NULL DEFAULT clock_timestamp())",
    )
    .await?;
    let rows = tx.query("SELECT coalesce(max(number), 0), coalesce(max(oldest), 0) FROM posthaste.migration", &[]).await?;
    let (applied, oldest): (i64, i64) = (rows[0].get(0), rows[0].get(1));
    let known = MIGRATIONS.len() as i64;
    if oldest > known {
        return Err(Failure::other(StoreError::TooNew { found: oldest, known }));
    }
    for (number, script) in (1..).zip(MIGRATIONS).filter(|(number, _)| *number > applied) {
        tx.script(script).await?;
        tx.execute("INSERT INTO posthaste.migration(number, oldest) VALUES ($1, $2)", &[&number, &OLDEST.min(number)]).await?;
    }
    Ok(())
}

/// Refuses a database that a newer release brought up: what only that one knows of would be left behind by a move.
pub(super) async fn check_known(tx: &Alone) -> Result<(), Failure> {
    let rows = tx.query("SELECT coalesce(max(number), 0) FROM posthaste.migration", &[]).await?;
    let (found, known) = (rows[0].get(0), MIGRATIONS.len() as i64);
    if found > known { Err(Failure::other(StoreError::TooNew { found, known })) } else { Ok(()) }
}

/// Makes the tables of one more bucket, for later; answers its number. At most one is made ahead.
pub(super) async fn make_ahead(tx: &Alone) -> Result<(), Failure> {
    tx.script(&format!("SELECT pg_advisory_xact_lock({LOCK}, {LOCK_SCHEMA})")).await?;
    let sql = "INSERT INTO posthaste.bucket(first) SELECT NULL WHERE NOT EXISTS (SELECT 1 FROM posthaste.bucket WHERE first IS NULL) RETURNING id";
    if let Some(row) = tx.query(sql, &[]).await?.first() {
        tx.script(&BUCKET.replace('$', &row.get::<_, i32>(0).to_string())).await?;
    }
    Ok(())
}
