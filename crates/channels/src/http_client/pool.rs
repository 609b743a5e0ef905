//! The open connections of all origins.
//!
//! Invariants:
//! - No lock is shared by the tries of different targets: each holds its [`Origin`]. The table of origins is asked for URLs that are
//!   not prepared, and by the sweeper.
//! - Idle connections are bounded per origin and over all; beyond the latter the longest idle go. They are closed after [`IDLE`] by a
//!   task that exists only while there are any.
//! - An origin is forgotten once nothing of it is open and no target holds it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::http1::Http1;
use super::http2::{Http2, Tasks};
use super::origin::{Gone, Origin, Way};
use super::{IDLE_IN_ALL, OriginStats, SWEEP};
use crate::connector::{Connector, Place};
use crate::dial::ConnectError;

/// Origins in the table before it is looked through for forgotten ones.
const FIRST_PRUNING: usize = 1024;

/// Connections by origin.
pub(crate) struct Pool {
    connector: Connector,
    table: Mutex<Table>,
    /// Connections kept by all origins: idle ones, and shared ones whether idle or not.
    kept: AtomicUsize,
    is_swept: AtomicBool,
    tasks: Tasks,
    pub(crate) counts: Counts,
}

struct Table {
    origins: HashMap<Place, Arc<Origin>>,
    /// Number of origins at which the table is looked through.
    prune_at: usize,
}

/// What happened so far.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) opened: AtomicU64,
    pub(crate) reused: AtomicU64,
    pub(crate) handshakes: AtomicU64,
    pub(crate) resumed: AtomicU64,
    pub(crate) http2_requests: AtomicU64,
}

impl Pool {
    pub(crate) fn new(connector: Connector) -> Self {
        let table = Mutex::new(Table { origins: HashMap::new(), prune_at: FIRST_PRUNING });
        let (kept, is_swept) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { connector, table, kept, is_swept, tasks: Tasks::new(), counts: Counts::default() }
    }

    /// The origin of a place.
    pub(crate) fn origin(&self, place: Place) -> Arc<Origin> {
        let mut table = self.table.lock();
        if let Some(origin) = table.origins.get(&place) {
            return Arc::clone(origin);
        }
        if table.origins.len() >= table.prune_at {
            table.prune();
        }
        let origin = Arc::new(Origin::new(place.clone()));
        table.origins.insert(place, Arc::clone(&origin));
        origin
    }

    /// A connection that is open already.
    pub(crate) fn at_hand(&self, origin: &Origin) -> Option<Way> {
        let (way, gone) = origin.at_hand();
        if gone > 0 {
            self.kept.fetch_sub(gone, Ordering::Relaxed);
        }
        way
    }

    /// A new connection, or one that another try opened meanwhile; the latter if false comes along.
    pub(crate) async fn open(self: &Arc<Self>, origin: &Origin, within: Duration) -> Result<(Way, bool), ConnectError> {
        let opening = async {
            let mut turn = None;
            if origin.may_share() {
                turn = Some(origin.turn.lock().await);
                if let Some(way) = self.at_hand(origin) {
                    return Ok((way, false));
                }
                if !origin.may_share() {
                    turn = None;
                }
            }
            let way = self.connect(origin, within).await?;
            drop(turn);
            Ok((way, true))
        };
        let late = |_| Err(ConnectError::TimedOut { host: origin.place.host.to_string(), after: within });
        timeout(within, opening).await.unwrap_or_else(late)
    }

    /// A connection that nothing was sent over before.
    pub(crate) async fn open_anew(self: &Arc<Self>, origin: &Origin, within: Duration) -> Result<Way, ConnectError> {
        let late = |_| Err(ConnectError::TimedOut { host: origin.place.host.to_string(), after: within });
        timeout(within, self.connect(origin, within)).await.unwrap_or_else(late)
    }

    async fn connect(self: &Arc<Self>, origin: &Origin, within: Duration) -> Result<Way, ConnectError> {
        let opened = self.connector.open(&origin.place, within).await?;
        match opened.is_resumed {
            Some(true) => drop(self.counts.resumed.fetch_add(1, Ordering::Relaxed)),
            Some(false) => drop(self.counts.handshakes.fetch_add(1, Ordering::Relaxed)),
            None => {}
        }
        if origin.place.offers_http2 {
            origin.speaks_http2(opened.is_http2);
        }
        let way = if opened.is_http2 {
            let failed = |error| ConnectError::Failed { host: origin.place.host.to_string(), source: std::io::Error::other(error) };
            let http2 = Http2::new(opened.stream, &self.tasks).await.map_err(failed)?;
            self.kept.fetch_add(1, Ordering::SeqCst);
            let lease = origin.share(http2);
            self.keep_sweeping();
            Way::Http2(lease.expect("a new connection has room for one request"))
        } else {
            Way::Http1(Box::new(Http1::new(opened.stream)))
        };
        self.counts.opened.fetch_add(1, Ordering::Relaxed);
        origin.opened.fetch_add(1, Ordering::Relaxed);
        Ok(way)
    }

    /// Keeps a connection for the next try, if it can be used again.
    pub(crate) fn give_back(self: &Arc<Self>, origin: &Origin, mut http1: Box<Http1>) {
        if !http1.park() {
            return;
        }
        let now = Instant::now();
        if origin.keep(http1, now).is_none() && self.kept.fetch_add(1, Ordering::SeqCst) >= IDLE_IN_ALL {
            self.make_room(now);
        }
        self.keep_sweeping();
    }

    /// What happened so far by origin, those with the most connections and answers first, at most `most`. Origins that are forgotten count no more.
    pub(crate) fn busiest(&self, most: usize) -> Vec<OriginStats> {
        let mut all: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for origin in self.each() {
            // Two places of one name differ in what is offered to them.
            let (opened, reused) = all.entry(origin.name()).or_default();
            *opened += origin.opened.load(Ordering::Relaxed);
            *reused += origin.reused.load(Ordering::Relaxed);
        }
        let mut all: Vec<_> = all.into_iter().map(|(origin, (opened, reused))| OriginStats { origin, opened, reused }).collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.opened + one.reused));
        all.truncate(most);
        all
    }

    /// Connections kept.
    pub(crate) fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// Ends all connections that nobody is using, and the tasks.
    pub(crate) fn stop(&self) {
        self.tasks.stop();
    }

    fn each(&self) -> Vec<Arc<Origin>> {
        self.table.lock().origins.values().map(Arc::clone).collect()
    }

    fn count_out(&self, gone: &Gone) {
        self.kept.fetch_sub(gone.len(), Ordering::Relaxed);
    }

    /// Closes the eighth of the connections that has been idle for longest, so that this is done once in many times.
    fn make_room(&self, now: Instant) {
        let origins = self.each();
        let mut times = Vec::with_capacity(IDLE_IN_ALL + 1);
        for origin in &origins {
            origin.idle_times(now, &mut times);
        }
        let surplus = times.len().saturating_sub(IDLE_IN_ALL - IDLE_IN_ALL / 8);
        if surplus == 0 {
            return;
        }
        let limit = *times.select_nth_unstable(surplus - 1).1;
        let mut left = surplus;
        for origin in &origins {
            let gone = origin.idle_since(limit, now, left);
            self.count_out(&gone);
            left = left.saturating_sub(gone.len());
        }
    }

    /// Has what is idle closed in time.
    fn keep_sweeping(self: &Arc<Self>) {
        if self.is_swept.load(Ordering::SeqCst) || self.is_swept.swap(true, Ordering::SeqCst) {
            return;
        }
        let pool = Arc::downgrade(self);
        self.tasks.spawn(async move {
            loop {
                sleep(SWEEP).await;
                match pool.upgrade() {
                    Some(pool) if pool.sweep(Instant::now()) => {}
                    _ => return,
                }
            }
        });
    }

    /// Closes what was idle for too long. False once nothing is left to be closed later.
    fn sweep(&self, now: Instant) -> bool {
        for origin in self.each() {
            self.count_out(&origin.expired(now));
        }
        self.table.lock().prune();
        if self.kept() > 0 {
            return true;
        }
        self.is_swept.store(false, Ordering::SeqCst);
        // Something may have been kept after the look and before the word that nobody sweeps.
        self.kept.load(Ordering::SeqCst) > 0 && !self.is_swept.swap(true, Ordering::SeqCst)
    }
}

impl Table {
    /// Forgets origins of which nothing is open and that no target holds.
    fn prune(&mut self) {
        self.origins.retain(|_, origin| Arc::strong_count(origin) > 1 || !origin.is_empty());
        self.prune_at = FIRST_PRUNING.max(2 * self.origins.len());
        if self.origins.capacity() > 2 * self.prune_at {
            self.origins.shrink_to(self.prune_at);
        }
    }
}
