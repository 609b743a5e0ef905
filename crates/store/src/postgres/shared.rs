//! What the writer and the readers share.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use super::PostgresOptions;
use super::arrivals::{Arrivals, OWNERS};
use super::buckets::Buckets;
use super::error::{Failure, unknown};
use super::link::{Alone, Conn, Link};
use super::listen::Tower;
use super::nodes::{self, Identity};
use super::pending::{Claim, PARTS, Pending};
use super::words;
use crate::{Arrived, Inherited, StoreError};

/// Types that are remembered.
const TYPES: usize = 1 << 16;

/// The parts of an open store.
pub(super) struct Shared {
    pub(super) options: PostgresOptions,
    pub(super) identity: Identity,
    /// The writer's own.
    pub(super) writing: Link,
    /// Reads of the delivery path do not queue behind those of people.
    pub(super) lanes: Link,
    pub(super) history: Vec<Link>,
    /// Transactions of several steps, one at a time: the catalog, bins, buckets, nodes.
    pub(super) side: Link,
    pub(super) pending: Mutex<Pending>,
    /// What it knows as an owner of targets. Held while it is asked for.
    pub(super) arrivals: tokio::sync::Mutex<Arrivals>,
    /// Targets of which some deliveries are of the owners' stream.
    pub(super) owned: Mutex<HashSet<i64>>,
    /// Claims that were taken over and whose work was not counted yet. Until then nothing new is taken for them.
    pub(super) uncounted: Mutex<Vec<Claim>>,
    pub(super) tower: Arc<Tower>,
    /// Whether somebody beats for this node; until then it does so itself.
    pub(super) is_beating: AtomicBool,
    pub(super) closed: AtomicBool,
    buckets: RwLock<Arc<Buckets>>,
    types: Mutex<Types>,
    turn: AtomicUsize,
}

#[derive(Default)]
struct Types {
    ids: HashMap<Arc<str>, i32>,
    names: HashMap<i32, Arc<str>>,
}

impl Types {
    fn add(&mut self, id: i32, name: Arc<str>) {
        if self.names.len() >= TYPES {
            *self = Self::default();
        }
        self.ids.insert(name.clone(), id);
        self.names.insert(id, name);
    }
}

impl Shared {
    /// Nothing is known of the database yet.
    pub(super) fn new(options: PostgresOptions, identity: Identity, writing: Link, lanes: Link, history: Vec<Link>, side: Link) -> Self {
        Self {
            options,
            identity,
            writing,
            lanes,
            history,
            side,
            pending: Mutex::default(),
            arrivals: tokio::sync::Mutex::default(),
            owned: Mutex::default(),
            uncounted: Mutex::default(),
            tower: Arc::default(),
            is_beating: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            buckets: RwLock::default(),
            types: Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// A connection for the delivery path.
    pub(super) fn lane(&self) -> Result<Arc<Conn>, StoreError> {
        self.check_open()?;
        self.lanes.conn()
    }

    /// A connection for people.
    pub(super) fn list(&self) -> Result<Arc<Conn>, StoreError> {
        self.check_open()?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.history[turn % self.history.len()].conn()
    }

    /// A transaction of several steps.
    pub(super) async fn alone(&self) -> Result<Alone, StoreError> {
        self.check_open()?;
        self.side.alone().await
    }

    /// The buckets as they are known.
    pub(super) fn buckets(&self) -> Arc<Buckets> {
        self.buckets.read().clone()
    }

    /// Counts what is pending in claims, all of those that are held or some more.
    pub(super) async fn count(&self, conn: &Conn, claims: &[Claim], are_all: bool) -> Result<Vec<Inherited>, Failure> {
        self.refresh(conn).await?;
        let buckets = self.buckets();
        let (mut lanes, pending) = nodes::recover(conn, claims, &buckets).await?;
        // Until all that was there before is taken, nobody takes what is new.
        let mut arrivals = self.arrivals.lock().await;
        {
            let mut known = self.pending.lock();
            if are_all {
                *known = pending;
            } else {
                known.merge(pending);
            }
        }
        let owned: Vec<i16> = claims.iter().filter(|(stream, _)| *stream == OWNERS).map(|(_, part)| *part).collect();
        if !owned.is_empty() {
            for arrived in arrivals.inherit(conn, &owned, &buckets, &self.pending).await? {
                let lane = nodes::lane(&mut lanes, arrived.target);
                lane.queued += arrived.count;
                lane.lowest = lane.lowest.min(arrived.first);
                self.owned.lock().insert(arrived.target);
            }
        }
        Ok(lanes.into_values().collect())
    }

    /// See `Cluster::arrivals`.
    pub(super) async fn take_arrivals(&self) -> Result<Vec<Arrived>, StoreError> {
        let conn = self.lane()?;
        let mut arrivals = self.arrivals.lock().await;
        let held: Vec<i16> = {
            let (pending, uncounted) = (self.pending.lock(), self.uncounted.lock());
            let is_counted = |claim: &Claim| pending.holds(*claim) && !uncounted.contains(claim);
            (0..PARTS).filter(|part| is_counted(&(OWNERS, *part))).collect()
        };
        let arrived = arrivals.take(&conn, self.identity.node, held, &self.buckets(), &self.pending).await?;
        self.owned.lock().extend(arrived.iter().map(|one| one.target));
        Ok(arrived)
    }

    /// Looks the buckets up.
    pub(super) async fn refresh(&self, conn: &Conn) -> Result<(), Failure> {
        let known = self.buckets();
        let found = Buckets::read(conn).await?;
        if known.0.iter().any(|bucket| found.0.iter().all(|still| still.id != bucket.id)) {
            for link in [&self.writing, &self.lanes, &self.side].into_iter().chain(&self.history) {
                if let Ok(conn) = link.conn() {
                    conn.forget_prepared();
                }
            }
        }
        *self.buckets.write() = Arc::new(found);
        Ok(())
    }

    /// The number of a type, if it is remembered.
    pub(super) fn known_type(&self, name: &str) -> Option<i32> {
        self.types.lock().ids.get(name).copied()
    }

    /// The number of a type, if any event ever had it.
    pub(super) async fn type_id(&self, conn: &Conn, name: &str) -> Result<Option<i32>, Failure> {
        if let Some(id) = self.known_type(name) {
            return Ok(Some(id));
        }
        let rows = conn.keyed("SELECT id FROM posthaste.type WHERE name = $1", &[&&*words::put(name)]).await?;
        let id = rows.first().map(|row| row.get(0));
        if let Some(id) = id {
            self.types.lock().add(id, name.into());
        }
        Ok(id)
    }

    /// Gives types that are new a number.
    pub(super) async fn add_types(&self, conn: &Conn, names: &[&str]) -> Result<(), Failure> {
        let stored: Vec<_> = names.iter().map(|name| words::put(name)).collect();
        let add = "INSERT INTO posthaste.type(name) SELECT name FROM unnest($1::text[]) name ON CONFLICT DO NOTHING";
        conn.keyed(add, &[&stored]).await?;
        let rows = conn.keyed("SELECT id, name FROM posthaste.type WHERE name = ANY($1)", &[&stored]).await?;
        let mut types = self.types.lock();
        for row in rows {
            types.add(row.get(0), words::shared(row.get(1)));
        }
        Ok(())
    }

    /// The names of types.
    pub(super) async fn type_names(&self, conn: &Conn, ids: impl Iterator<Item = i32>) -> Result<HashMap<i32, Arc<str>>, Failure> {
        let mut names = HashMap::new();
        let mut missing = Vec::new();
        {
            let types = self.types.lock();
            for id in ids.filter(|id| *id != 0) {
                match types.names.get(&id) {
                    Some(name) => drop(names.insert(id, name.clone())),
                    None if !missing.contains(&id) => missing.push(id),
                    None => {}
                }
            }
        }
        if !missing.is_empty() {
            for row in conn.keyed("SELECT id, name FROM posthaste.type WHERE id = ANY($1)", &[&missing]).await? {
                let (id, name) = (row.get(0), words::shared(row.get(1)));
                self.types.lock().add(id, Arc::clone(&name));
                names.insert(id, name);
            }
            if missing.iter().any(|id| !names.contains_key(id)) {
                return Err(unknown("type of an event"));
            }
        }
        Ok(names)
    }
}
