//! A database at one end of a move: its mark, and who else uses it.
//!
//! The mark is the table `posthaste.move`, which is there for as long as the mark is. It is made and looked for under the lock that a node takes
//! to register: so either the node sees the mark, or the move sees the node.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::amend;
use super::buckets::Buckets;
use super::error::{Failure, unknown};
use super::joining;
use super::link::{Address, Alone, Link};
use super::nodes;
use super::schema::{self, LOCK, LOCK_SCHEMA};
use super::tls::Tls;
use super::words::{put, take};
use crate::StoreError;
use crate::migrate::marker::{Mark, MoveState};
use crate::migrate::rows::Position;
use crate::migrate::{MigrateError, MigrateOptions};

/// What says that a database is marked.
const TABLE: &str = "the table posthaste.move";

const MAKE: &str = "CREATE TABLE posthaste.move(  -- only while `posthaste migrate` is at work, and afterwards in a database that was left
       id text PRIMARY KEY,          -- the same as in the other end's moved.json
       state text NOT NULL,          -- filling, leaving, left
       other text NOT NULL,          -- the other end
       position text NOT NULL,       -- JSON: how far it is filled
       stream integer NOT NULL       -- of what comes from there
     )";

/// What is wrong with an address. Its text is not in it, so no password either.
fn cause(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// How a database is named to people: without a password.
pub(super) fn name_of(config: &Config) -> String {
    let hosts = config.get_hosts().iter().enumerate().map(|(place, host)| {
        let port = config.get_ports().get(place).or(config.get_ports().first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    });
    let hosts: Vec<String> = hosts.collect();
    format!("postgres://{}/{}", hosts.join(","), config.get_dbname().or(config.get_user()).unwrap_or_default())
}

fn state(name: &str) -> Result<MoveState, Failure> {
    match name {
        "filling" => Ok(MoveState::Filling),
        "leaving" => Ok(MoveState::Leaving),
        "left" => Ok(MoveState::Left),
        _ => Err(unknown("state of a move")),
    }
}

fn state_name(state: MoveState) -> &'static str {
    match state {
        MoveState::Filling => "filling",
        MoveState::Leaving => "leaving",
        MoveState::Left => "left",
    }
}

pub(super) async fn exists(tx: &Alone, name: &str) -> Result<bool, Failure> {
    Ok(tx.query("SELECT to_regclass($1) IS NOT NULL", &[&format!("posthaste.{name}")]).await?[0].get(0))
}

async fn mark(tx: &Alone) -> Result<Option<Mark>, Failure> {
    if !exists(tx, "move").await? {
        return Ok(None);
    }
    let rows = tx.query("SELECT id, state, other FROM posthaste.move", &[]).await?;
    let mark = |row: &tokio_postgres::Row| Ok(Mark { id: row.get(0), state: state(row.get(1))?, other: take(row.get(2)).into_owned() });
    rows.first().map(mark).transpose()
}

/// Refuses a database that has a mark.
pub(super) async fn check(tx: &Alone, place: &str) -> Result<(), Failure> {
    match mark(tx).await? {
        Some(mark) => Err(Failure::other(mark.of(place.to_owned(), TABLE.to_owned()))),
        None => Ok(()),
    }
}

/// An open database.
pub(crate) struct Database {
    /// For people.
    pub(crate) name: String,
    pub(super) side: Link,
    lapse: Duration,
    _stop: DropGuard,
}

/// A destination that may be filled.
#[derive(Clone, Debug)]
pub(crate) struct Filling {
    pub(crate) position: Position,
    pub(super) id: String,
    pub(super) stream: i32,
}

/// What a database is to a move that would fill it.
pub(crate) enum Destination {
    /// It holds nothing.
    Empty,
    /// It holds something, and no move has to do with that.
    Used,
    /// It has a mark.
    Marked(Mark),
}

impl Database {
    /// Connects. Nothing is looked at yet.
    pub(crate) async fn open(url: &str, options: &MigrateOptions) -> Result<Self, MigrateError> {
        let mut config: Config = url.parse().map_err(|error| MigrateError::Url(cause(&error)))?;
        let connect_timeout = Duration::from_secs(5);
        config.application_name("posthaste migrate").connect_timeout(connect_timeout);
        let name = name_of(&config);
        let tls = Tls::new(options.authorities.as_deref())?;
        let address = Address { config, tls, connect_timeout, answer_timeout: options.answer_timeout };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let guard = stop.clone().drop_guard();
        let opened = Link::open(address, &tasks, stop).await;
        let side = opened.map_err(|source| MigrateError::Unreachable { place: name.clone(), source })?;
        Ok(Self { name, side, lapse: options.lapse, _stop: guard })
    }

    /// A transaction.
    pub(super) async fn alone(&self) -> Result<Alone, StoreError> {
        self.side.alone().await
    }

    async fn locked(&self) -> Result<Alone, StoreError> {
        let tx = self.alone().await?;
        match tx.script(&format!("SELECT pg_advisory_xact_lock({LOCK}, {LOCK_SCHEMA})")).await {
            Ok(()) => Ok(tx),
            Err(failure) => tx.finish(Err(failure.error)).await,
        }
    }

    /// Refuses a database that nodes serve.
    async fn check_living(&self, tx: &Alone) -> Result<(), MigrateError> {
        if !exists(tx, "node").await? {
            return Ok(());
        }
        const LIVING: &str = "SELECT name, id, extract(epoch FROM clock_timestamp() - seen)::float8 FROM posthaste.node
             WHERE NOT closed AND seen >= clock_timestamp() - make_interval(secs => $1) ORDER BY id";
        let rows = tx.query(LIVING, &[&nodes::seconds(self.lapse)]).await?;
        let node = |row: &tokio_postgres::Row| {
            format!("{} (node {}, heard of {:.1} s ago)", take(row.get(0)), row.get::<_, i64>(1), row.get::<_, f64>(2).max(0.0))
        };
        let nodes: Vec<String> = rows.iter().map(node).collect();
        if nodes.is_empty() { Ok(()) } else { Err(MigrateError::Living { place: self.name.clone(), nodes }) }
    }

    /// Looks at what would be filled; refuses one that nodes serve.
    pub(crate) async fn destination(&self) -> Result<Destination, MigrateError> {
        let tx = self.locked().await?;
        let looked = self.look(&tx).await;
        tx.finish(looked).await
    }

    async fn look(&self, tx: &Alone) -> Result<Destination, MigrateError> {
        self.check_living(tx).await?;
        if let Some(mark) = mark(tx).await? {
            return Ok(Destination::Marked(mark));
        }
        Ok(if is_used(tx).await? { Destination::Used } else { Destination::Empty })
    }

    /// Whether it is being filled by the move with this mark.
    pub(crate) async fn is_filled_by(&self, mark: &Mark) -> Result<bool, MigrateError> {
        let theirs = self.destination().await?;
        Ok(matches!(theirs, Destination::Marked(theirs) if theirs.id == mark.id && theirs.state == MoveState::Filling))
    }

    /// Marks an empty database, and makes the stream for what comes. Refuses one that is not: somebody may have come since it was looked at.
    pub(crate) async fn begin_filling(&self, mark: &Mark) -> Result<(), MigrateError> {
        let tx = self.locked().await?;
        let begun = async {
            match self.look(&tx).await? {
                Destination::Empty => {}
                Destination::Used => return Err(MigrateError::NotEmpty(self.name.clone())),
                Destination::Marked(other) => {
                    let mark = other.of(self.name.clone(), String::new()).to_string();
                    return Err(MigrateError::Foreign { mark, place: self.name.clone() });
                }
            }
            Ok(fill(&tx, mark).await?)
        };
        let begun = begun.await;
        tx.finish(begun).await
    }

    /// How far it is filled.
    pub(crate) async fn filling(&self) -> Result<Filling, StoreError> {
        let tx = self.alone().await?;
        let read = async {
            // What a run that was killed had asked for may still be on its way: its transaction holds this row.
            let rows = tx.query("SELECT id, position, stream FROM posthaste.move FOR UPDATE", &[]).await?;
            let row = rows.first().ok_or_else(|| unknown("move"))?;
            let position = serde_json::from_str(row.get(1)).map_err(|_| unknown("position of a move"))?;
            Ok::<_, Failure>(Filling { position, id: row.get(0), stream: row.get(2) })
        };
        let read = read.await;
        Ok(tx.finish(read).await?)
    }

    /// The mark of a source; refuses one that nodes serve.
    pub(crate) async fn source_mark(&self) -> Result<Option<Mark>, MigrateError> {
        let tx = self.locked().await?;
        let looked = async {
            if !exists(&tx, "migration").await? {
                return Err(MigrateError::NoDatabase(self.name.clone()));
            }
            schema::check_known(&tx).await?;
            self.check_living(&tx).await?;
            Ok(mark(&tx).await?)
        };
        let looked = looked.await;
        tx.finish(looked).await
    }

    /// What a mark says of this database.
    pub(crate) fn refusal(&self, mark: Mark) -> StoreError {
        mark.of(self.name.clone(), TABLE.to_owned())
    }

    /// Marks the source of a move; refuses one that nodes serve. From then on nobody who served it can write any more.
    pub(crate) async fn begin_leaving(&self, mark: &Mark) -> Result<(), MigrateError> {
        let tx = self.locked().await?;
        let begun = async {
            self.check_living(&tx).await?;
            Ok(leave(&tx, mark).await?)
        };
        let begun = begun.await;
        tx.finish(begun).await
    }

    /// Has what waited for the owners of targets be in batches: there are none where it goes. Only for a database that is being left.
    pub(crate) async fn join_all(&self) -> Result<(), StoreError> {
        let conn = self.side.conn()?;
        Ok(joining::join_all(&conn, &Buckets::read(&conn).await?).await?)
    }

    /// Notes that all of it was moved.
    pub(crate) async fn left(&self) -> Result<(), StoreError> {
        let tx = self.alone().await?;
        let noted = tx.execute("UPDATE posthaste.move SET state = $1", &[&state_name(MoveState::Left)]).await;
        Ok(tx.finish(noted).await.map(drop)?)
    }

    /// Takes the mark away.
    pub(crate) async fn unmark(&self) -> Result<(), StoreError> {
        let tx = self.locked().await?;
        let dropped =
            tx.script("SET LOCAL client_min_messages = warning; DROP TABLE IF EXISTS posthaste.move_ahead; DROP TABLE posthaste.move");
        let dropped = dropped.await;
        Ok(tx.finish(dropped).await?)
    }
}

/// Whether it holds anything that somebody made.
async fn is_used(tx: &Alone) -> Result<bool, Failure> {
    if !exists(tx, "migration").await? {
        return Ok(false);
    }
    let rows = tx.query("SELECT EXISTS (SELECT 1 FROM posthaste.resource) OR EXISTS (SELECT 1 FROM posthaste.audit)", &[]).await?;
    let mut is_used: bool = rows[0].get(0);
    for bucket in tx.query("SELECT id FROM posthaste.bucket WHERE first IS NOT NULL", &[]).await? {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM posthaste.event_{})", bucket.get::<_, i32>(0));
        is_used = is_used || tx.query(&sql, &[]).await?[0].get::<_, bool>(0);
    }
    Ok(is_used)
}

/// Makes an empty database ready to be filled.
async fn fill(tx: &Alone, mark: &Mark) -> Result<(), Failure> {
    if exists(tx, "migration").await? {
        // Empty but for the tables: they are made anew, so that all numbers begin at the beginning.
        tx.script("SET LOCAL client_min_messages = warning; DROP SCHEMA posthaste CASCADE").await?;
    }
    schema::migrate(tx).await?;
    tx.script(MAKE).await?;
    tx.script(amend::MAKE).await?;
    // It never lives: the first node that starts takes over what is its own.
    let node = nodes::register(tx, "posthaste migrate").await?;
    tx.execute("UPDATE posthaste.node SET closed = true WHERE id = $1", &[&node.node]).await?;
    tx.execute("UPDATE posthaste.stream SET is_open = false WHERE stream = $1", &[&node.stream]).await?;
    let values = "INSERT INTO posthaste.move(id, state, other, position, stream) VALUES ($1, $2, $3, $4, $5)";
    let (other, position) = (put(&mark.other), Position::start().text());
    tx.execute(values, &[&mark.id, &state_name(mark.state), &other, &position, &node.stream]).await.map(drop)
}

async fn leave(tx: &Alone, mark: &Mark) -> Result<(), Failure> {
    schema::migrate(tx).await?;
    tx.script(MAKE).await?;
    let values = "INSERT INTO posthaste.move(id, state, other, position, stream) VALUES ($1, $2, $3, '', 0)";
    tx.execute(values, &[&mark.id, &state_name(mark.state), &put(&mark.other)]).await?;
    // One that was silent for long may wake: it holds nothing any more.
    tx.script(
        "UPDATE posthaste.node SET closed = true WHERE NOT closed;
         UPDATE posthaste.stream SET is_open = false WHERE is_open;
         UPDATE posthaste.claim SET holder = 0, fence = fence + 1 WHERE holder <> 0",
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_named_without_their_passwords() {
        let name = |url: &str| name_of(&url.parse().expect("a URL"));
        assert_eq!(name("postgres://app:secret@db.example/posthaste"), "postgres://db.example:5432/posthaste");
        assert_eq!(name("postgres://app:secret@a:1,b:2/x?sslmode=disable"), "postgres://a:1,b:2/x");
        assert_eq!(name("host=/run/pg port=5433 user=me"), "postgres:///run/pg:5433/me");
    }
}
