//! What the writer and the readers share.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::DeliveryKey;
use tokio::time::Instant;

use super::PostgresOptions;
use super::arrivals::{Arrivals, OWNERS};
use super::buckets::Buckets;
use super::error::{Failure, Kind, unknown};
use super::link::{Alone, Conn, Link};
use super::listen::Tower;
use super::nodes::{self, Identity};
use super::pending::{Claim, PARTS, Pending, Place, keys_of, part_of};
use super::{rows, words};
use crate::{Arrived, Beat, Inherited, StoreError};

/// Types that are remembered.
const TYPES: usize = 1 << 16;
/// Heartbeats come every second; a gap is longer than this, however short a silence is forgiven.
const GAP: Duration = Duration::from_secs(3);
/// Deliveries whose fate is looked up at once.
const LOOKED_UP: usize = 1_000;

/// What a node has still to do: numbers of targets, of which some may have no owner, and of other things.
pub(super) struct Busy {
    pub(super) targets: Vec<i64>,
    pub(super) others: Vec<i64>,
}

/// The connections of a store.
pub(super) struct Links {
    pub(super) writing: Link,
    pub(super) lanes: Link,
    pub(super) history: Vec<Link>,
    pub(super) side: Link,
    pub(super) visitors: Link,
    pub(super) keeping: Link,
}

/// The parts of an open store.
pub(super) struct Shared {
    pub(super) options: PostgresOptions,
    pub(super) identity: Identity,
    /// The writer's own.
    pub(super) writing: Link,
    /// Reads of the delivery path do not queue behind those of people.
    pub(super) lanes: Link,
    pub(super) history: Vec<Link>,
    /// Transactions of several steps, one at a time: the catalog and sessions.
    pub(super) side: Link,
    /// The same for bins and the audit log, which anybody may ask for.
    pub(super) visitors: Link,
    /// The same for buckets and claims, for which the writer waits.
    pub(super) keeping: Link,
    pub(super) pending: Mutex<Pending>,
    /// What it knows as an owner of targets. Held while it is asked for.
    pub(super) arrivals: tokio::sync::Mutex<Arrivals>,
    /// Targets of which some deliveries are of the owners' stream.
    pub(super) owned: Mutex<HashSet<i64>>,
    /// Claims that were taken over and whose work was not counted yet. Until then nothing new is taken for them.
    pub(super) uncounted: Mutex<Vec<Claim>>,
    /// What is begun has to agree with in the database. Raised by the writer alone, when it is not known what became of something that was begun
    /// before: from then on that comes to nothing.
    pub(super) epoch: AtomicI64,
    /// Whether something is looked up only once the epoch is over.
    pub(super) in_doubt: AtomicBool,
    /// Deliveries of which it is not known whether they were opened again. They are counted as if they were.
    pub(super) reopened: Mutex<Vec<(DeliveryKey, Place)>>,
    /// What was heard when this node recovered.
    pub(super) met: Mutex<Option<Beat>>,
    /// Since when this node's heartbeats are answered without a gap, and when the last one was.
    steady: Mutex<Option<(Instant, Instant)>>,
    pub(super) tower: Arc<Tower>,
    /// Whether somebody beats for this node; until then it does so itself.
    pub(super) is_beating: AtomicBool,
    pub(super) closed: AtomicBool,
    buckets: RwLock<Arc<Buckets>>,
    /// What the last heartbeat after which they were looked up said of them.
    pub(super) seen_buckets: Mutex<Option<String>>,
    reading_buckets: tokio::sync::Mutex<()>,
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
    pub(super) fn new(options: PostgresOptions, identity: Identity, links: Links) -> Self {
        let Links { writing, lanes, history, side, visitors, keeping } = links;
        Self {
            options,
            identity,
            writing,
            lanes,
            history,
            side,
            visitors,
            keeping,
            pending: Mutex::default(),
            arrivals: tokio::sync::Mutex::default(),
            owned: Mutex::default(),
            uncounted: Mutex::default(),
            epoch: AtomicI64::new(0),
            in_doubt: AtomicBool::new(false),
            reopened: Mutex::default(),
            met: Mutex::default(),
            steady: Mutex::default(),
            tower: Arc::default(),
            is_beating: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            buckets: RwLock::default(),
            seen_buckets: Mutex::default(),
            reading_buckets: tokio::sync::Mutex::default(),
            types: Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    pub(super) fn check_open(&self) -> Result<(), StoreError> {
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

    /// A heartbeat was answered, or not.
    pub(super) fn beaten(&self, is_answered: bool) {
        let now = Instant::now();
        let mut steady = self.steady.lock();
        *steady = match *steady {
            _ if !is_answered => None,
            Some((since, last)) if now.duration_since(last) <= self.gap() => Some((since, now)),
            _ => Some((now, now)),
        };
    }

    /// Whether this node may say that others are gone.
    pub(super) fn may_close(&self) -> bool {
        let steady = *self.steady.lock();
        steady.is_some_and(|(since, last)| since.elapsed() >= self.options.lapse && last.elapsed() <= self.gap())
    }

    /// Longest time between two heartbeats without a gap.
    fn gap(&self) -> Duration {
        self.options.lapse.max(GAP)
    }

    /// The buckets as they are known.
    pub(super) fn buckets(&self) -> Arc<Buckets> {
        self.buckets.read().clone()
    }

    /// Counts what is pending in claims, all of those that are held or some more.
    pub(super) async fn count(&self, conn: &Conn, claims: &[Claim], are_all: bool) -> Result<Vec<Inherited>, Failure> {
        self.refresh(conn).await?;
        let buckets = self.buckets();
        let (mut lanes, pending, scheduled) = nodes::recover(conn, claims, &buckets).await?;
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
            self.owned.lock().extend(scheduled);
            for arrived in arrivals.inherit(conn, self.identity.node, &owned, &buckets, &self.pending).await? {
                let lane = nodes::lane(&mut lanes, arrived.target);
                lane.queued += arrived.count;
                // Something may be scheduled that came since that was counted.
                lane.scheduled = lane.scheduled.max(u64::from(arrived.count == 0));
                lane.lowest = lane.lowest.min(arrived.first);
                self.owned.lock().insert(arrived.target);
            }
        }
        Ok(lanes.into_values().collect())
    }

    /// Counts anew what is in doubt of this node's own streams. See `Arrivals` for those of owners.
    async fn recount(&self, conn: &Conn) -> Result<(), Failure> {
        const QUEUED: &str = "SELECT count(*) FROM posthaste.delivery_$_ d
             WHERE d.key BETWEEN $1 AND $2 AND d.stream = $3 AND (d.target & 7) = $4 AND d.state = 0";
        let doubtful: Vec<Place> = {
            let mut pending = self.pending.lock();
            let doubtful: Vec<Place> = pending.doubtful().into_iter().filter(|((stream, _), _)| *stream != OWNERS).collect();
            if doubtful.is_empty() {
                return Ok(());
            }
            pending.watch();
            doubtful
        };
        let buckets = self.buckets();
        for (claim, chunk) in doubtful {
            let (low, high) = keys_of(chunk);
            let mut count = 0;
            for bucket in buckets.0.iter().filter(|bucket| bucket.keys().0 <= high && low <= bucket.keys().1) {
                let rows =
                    conn.query(self.options.answer_timeout, &bucket.sql(QUEUED), &[&low, &high, &claim.0, &i64::from(claim.1)]).await?;
                count += rows.first().map_or(0, |row| row.get::<_, i64>(0));
            }
            self.pending.lock().correct((claim, chunk), count);
        }
        self.pending.lock().counted();
        Ok(())
    }

    /// What became of deliveries of which it was not known whether they were opened again: those that were, for their lanes.
    async fn opened(&self, conn: &Conn) -> Result<Vec<Arrived>, Failure> {
        let asked: Vec<(DeliveryKey, Place)> = self.reopened.lock().iter().copied().take(LOOKED_UP).collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let mut keys: Vec<DeliveryKey> = asked.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        let found = rows::by_key(self, conn, &keys).await?;
        self.reopened.lock().drain(..asked.len());
        // How many it really were is counted with all that is in doubt.
        asked.iter().for_each(|(_, place)| self.pending.lock().doubt(*place));
        let mut opened: BTreeMap<i64, Arrived> = BTreeMap::new();
        for delivery in found.values() {
            if delivery.state == DeliveryState::Queued {
                let (target, key) = (delivery.target, delivery.key);
                let one = opened.entry(target).or_insert(Arrived { target, count: 0, first: key, last: key });
                (one.count, one.first, one.last) = (one.count + 1, one.first.min(key), one.last.max(key));
            }
        }
        Ok(opened.into_values().collect())
    }

    /// See `Cluster::is_unsettled`.
    pub(super) fn is_unsettled(&self) -> bool {
        // While somebody asks, there is something.
        let has_rows = self.arrivals.try_lock().map_or(true, |arrivals| arrivals.is_unsure() || arrivals.has_settled(&self.pending.lock()));
        has_rows || self.in_doubt.load(Ordering::Acquire) || !self.reopened.lock().is_empty() || !self.pending.lock().doubtful().is_empty()
    }

    /// See `Cluster::arrivals`.
    pub(super) async fn take_arrivals(&self) -> Result<Vec<Arrived>, StoreError> {
        let conn = self.lane()?;
        let mut arrivals = self.arrivals.lock().await;
        self.recount(&conn).await?;
        let mut opened = self.opened(&conn).await?;
        let held = self.counted_parts();
        let own = (self.identity, self.epoch.load(Ordering::Acquire));
        let taken = arrivals.take(&conn, own, held, &self.buckets(), &self.pending).await;
        if arrivals.is_unsure() {
            self.in_doubt.store(true, Ordering::Release);
        }
        match taken {
            Ok(arrived) => {
                if let Err(failure) = self.knows(&conn, arrivals.newest()).await {
                    // Told of in vain they would be passed over: they are taken anew.
                    arrivals.doubt();
                    return if opened.is_empty() { Err(failure.into()) } else { Ok(opened) };
                }
                self.owned.lock().extend(arrived.iter().map(|one| one.target));
                opened.extend(arrived);
                Ok(opened)
            }
            // What was found is told now; the rest when this is asked again.
            Err(_) if !opened.is_empty() => Ok(opened),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Parts of the owners' stream that this node holds, and of which it knows what is pending.
    pub(super) fn counted_parts(&self) -> Vec<i16> {
        let (pending, uncounted) = (self.pending.lock(), self.uncounted.lock());
        let is_counted = |claim: &Claim| pending.holds(*claim) && !uncounted.contains(claim);
        (0..PARTS).filter(|part| is_counted(&(OWNERS, *part))).collect()
    }

    /// Gives a part of the owners' stream away, one of which nothing is queued and nothing busy. Only the writer may ask for it.
    pub(super) async fn give(&self, busy: &Busy) -> Result<bool, Failure> {
        let conn = self.writing.conn().map_err(Failure::other)?;
        // Nothing new is taken meanwhile. The writer does not wait for whoever counts.
        let Ok(mut arrivals) = self.arrivals.try_lock() else { return Ok(false) };
        let busy: BTreeSet<i16> = {
            let owned = self.owned.lock();
            let targets = busy.targets.iter().filter(|target| owned.contains(target));
            targets.chain(&busy.others).map(|number| part_of(*number)).collect()
        };
        let idle: Vec<i16> = {
            let (pending, uncounted) = (self.pending.lock(), self.uncounted.lock());
            let is_idle = |part: &i16| {
                let claim = (OWNERS, *part);
                let is_known = pending.holds(claim) && !uncounted.contains(&claim);
                is_known && pending.places(claim).next().is_none() && !busy.contains(part)
            };
            (0..PARTS).filter(is_idle).collect()
        };
        if idle.is_empty() {
            return Ok(false);
        }
        let given = nodes::give(&conn, self, &idle).await;
        // Without an answer it may be any of them. What this node still holds comes back as a gift.
        let lost: &[i16] = match &given {
            Ok(given) => given.as_slice(),
            Err(failure) if failure.kind == Kind::Uncertain => {
                self.in_doubt.store(true, Ordering::Release);
                &idle
            }
            Err(_) => &[],
        };
        lost.iter().for_each(|part| {
            self.pending.lock().lose((OWNERS, *part));
            arrivals.forget(*part);
        });
        Ok(given?.is_some())
    }

    /// Looks the buckets up.
    pub(super) async fn refresh(&self, conn: &Conn) -> Result<(), Failure> {
        // One after the other: what was read earlier may not take the place of what was read later.
        let _turn = self.reading_buckets.lock().await;
        let known = self.buckets();
        let found = Buckets::read(conn).await?;
        if known.0.iter().any(|bucket| found.0.iter().all(|still| still.id != bucket.id)) {
            for link in [&self.writing, &self.lanes, &self.side, &self.keeping].into_iter().chain(&self.history) {
                if let Ok(conn) = link.conn() {
                    conn.forget_prepared();
                }
            }
        }
        *self.buckets.write() = Arc::new(found);
        Ok(())
    }

    /// Looks the buckets up unless the one that begins there is known: what was just heard of may lie in it.
    pub(super) async fn knows(&self, conn: &Conn, newest: i64) -> Result<(), Failure> {
        if self.buckets().current().is_some_and(|current| current.first >= newest) { Ok(()) } else { self.refresh(conn).await }
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
        // In an order that all nodes have, so that none waits for the other.
        let add = "INSERT INTO posthaste.type(name) SELECT name FROM unnest($1::text[]) name ORDER BY name ON CONFLICT DO NOTHING";
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
