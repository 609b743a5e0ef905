//! The one task that writes the journal.
//!
//! It takes a group of what waits ([`crate::gathering`]), stores it in one transaction and one round trip, and then answers all of it. A transaction that fails because of one command is undone, and its
//! commands are tried one by one. What is remembered of the database is looked up again when it turns out to be old.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use posthaste_domain::delivery::{Delivery, PendingDelivery};
use posthaste_domain::id::{DeliveryKey, Sequence};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;

use super::append::{self, HOLD_NOW, Sources};
use super::buckets::Bucket;
use super::command::Command;
use super::error::{Failure, Kind};
use super::group::{Group, Verdict};
use super::joining;
use super::link::{BEGIN_KEYED, Conn};
use super::lows::Lows;
use super::nodes;
use super::pending::{Claim, Place, part_of};
use super::rows;
use super::settle::{LOWER, Places, REOPEN};
use super::shared::{Busy, Shared};
use crate::gathering::{Gathering, Wanted, Work};
use crate::tell::teller;
use crate::{Joined, LaneSummary, Recovered, StoreError};

/// How often a group is tried when buckets change below it.
const TRIES: usize = 4;
/// Runs of own sequences that are remembered.
const RUNS: usize = 4096;

/// The state of the task.
pub(super) struct Writer {
    shared: Arc<Shared>,
    lows: Lows,
    sources: Sources,
    own: Own,
    /// Outcomes of which it is not known whether they are stored. They are written again.
    unsure: HashSet<i64>,
    /// Where appends are counted of which it is not known whether they are stored.
    undecided: BTreeSet<Place>,
    /// Deliveries of which it is not known whether they were opened again.
    reopening: Vec<(DeliveryKey, Place)>,
    /// The last epoch that was asked for. While it is not the one that is known, nothing may be begun.
    asked_epoch: i64,
    stop: CancellationToken,
}

/// Which sequences this node appended: their deliveries are of its stream, without a look.
#[derive(Default)]
pub(super) struct Own {
    runs: Vec<(i64, i64)>,
}

impl Own {
    /// Adds a run.
    pub(super) fn add(&mut self, first: i64, last: i64) {
        match self.runs.last_mut() {
            Some((_, end)) if *end + 1 == first => *end = last,
            _ => {
                if self.runs.len() >= RUNS {
                    self.runs.drain(..RUNS / 2);
                }
                let place = self.runs.partition_point(|(before, _)| *before < first);
                self.runs.insert(place, (first, last));
            }
        }
    }

    /// Whether it is remembered.
    pub(super) fn has(&self, sequence: i64) -> bool {
        let behind = self.runs.partition_point(|(first, _)| *first <= sequence);
        behind.checked_sub(1).is_some_and(|place| sequence <= self.runs[place].1)
    }

    /// The last one.
    pub(super) fn last(&self) -> Option<i64> {
        self.runs.last().map(|(_, last)| *last)
    }
}

impl Writer {
    /// A writer for an open store. `stop` ends the store's connections.
    pub(super) fn new(shared: Arc<Shared>, stop: CancellationToken) -> Self {
        Self {
            shared,
            lows: Lows::default(),
            sources: Sources::default(),
            own: Own::default(),
            unsure: HashSet::new(),
            undecided: BTreeSet::new(),
            reopening: Vec::new(),
            asked_epoch: 0,
            stop,
        }
    }

    /// Works until told to close, or until nobody can send any more.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut gathering = Gathering::new(Instant::now());
        let mut group = Vec::new();
        while gather(&mut gathering, &mut commands).await {
            match gathering.take(&mut group) {
                Work::Group => self.group(&mut group).await,
                Work::Alone(Command::Close(reply)) => {
                    commands.close();
                    self.close().await;
                    reply.send(()).ok();
                    return;
                }
                Work::Alone(command) => self.alone(command).await,
            }
        }
        self.close().await;
    }

    /// Does a command that is not part of groups.
    async fn alone(&mut self, command: Command) {
        match command {
            Command::Reopen(keys, at_ms, reply) => drop(reply.send(self.reopen(keys, at_ms).await)),
            Command::Recover(reply) => drop(reply.send(self.recover().await.map_err(StoreError::from))),
            Command::Hold(claims, reply) => drop(reply.send(self.hold(claims).await.map_err(StoreError::from))),
            Command::Decide(reply) => drop(reply.send(self.decide().await.map_err(StoreError::from))),
            // Between two groups: what is opened again is so before or after it.
            Command::Give(busy, reply) => drop(reply.send(self.give(&busy).await.map_err(StoreError::from))),
            Command::Join(joined, reply) => drop(reply.send(self.join(&joined).await.map_err(StoreError::from))),
            Command::KeepLows(reply) => drop(reply.send(self.keep_lows().await.map_err(StoreError::from))),
            Command::Forget(bucket) => self.lows.forget(bucket),
            Command::Append(..) | Command::Settle(..) | Command::Close(_) => {}
        }
    }

    /// Stores a group and answers its commands.
    async fn group(&mut self, commands: &mut Vec<Command>) {
        let verdicts = self.store(commands).await;
        for (command, verdict) in commands.drain(..).zip(verdicts) {
            command.answer(verdict);
        }
    }

    async fn store(&mut self, commands: &[Command]) -> Vec<Verdict> {
        // Those that can never be stored do not hold up the others.
        let mut verdicts: Vec<Option<Verdict>> = commands.iter().map(refusal).collect();
        let open: Vec<usize> = (0..commands.len()).filter(|place| verdicts[*place].is_none()).collect();
        let together: Vec<&Command> = open.iter().map(|place| &commands[*place]).collect();
        match self.attempt(&together).await {
            Err(Failure { kind: Kind::OfOne, .. }) if together.len() > 1 => {
                for place in open {
                    let mut alone = self.attempt(&[&commands[place]]).await.unwrap_or_else(|failure| vec![Err(failure.error)]);
                    verdicts[place] = alone.pop();
                }
            }
            Err(failure) => {
                let tell = teller(failure.error);
                open.iter().for_each(|place| verdicts[*place] = Some(Err(tell())));
            }
            Ok(done) => open.iter().zip(done).for_each(|(place, verdict)| verdicts[*place] = Some(verdict)),
        }
        verdicts.into_iter().map(|verdict| verdict.unwrap_or(Ok(()))).collect()
    }

    /// One transaction, again if the buckets changed.
    async fn attempt(&mut self, commands: &[&Command]) -> Result<Vec<Verdict>, Failure> {
        self.know_epoch().await?;
        let conn = self.shared.writing.conn().map_err(Failure::other)?;
        for _ in 1..TRIES {
            match self.transact(&conn, commands).await {
                Err(Failure { kind: Kind::Moved, .. }) => self.shared.refresh(&conn).await?,
                other => return other,
            }
        }
        self.transact(&conn, commands).await
    }

    async fn transact(&mut self, conn: &Conn, commands: &[&Command]) -> Result<Vec<Verdict>, Failure> {
        let shared = self.shared.clone();
        let group = Group::plan(&shared, conn, &mut self.sources, &self.own, commands).await?;
        let queries = group.queries(conn, &self.lows).await?;
        if queries.is_empty() {
            return Ok(group.verdicts);
        }
        // Counted before, so that nobody looks for them in vain; taken back if it is sure that they are not there.
        let (settled, appended) = (group.settled(), group.appended());
        let places: BTreeSet<Place> = settled.iter().map(|(_, place)| *place).chain(appended.iter().copied()).collect();
        {
            let mut pending = shared.pending.lock();
            group.count(&mut pending, 1);
            places.iter().for_each(|place| pending.moves(*place));
        }
        let answers = conn.transaction(BEGIN_KEYED, &queries).await;
        drop(queries);
        // Also if the answer is lost: whoever settles what they become looks where it is.
        shared.owned.lock().extend(group.joins.targets());
        match answers {
            Ok(answers) => {
                for (bucket, addition) in &group.additions {
                    shared.owned.lock().extend(addition.owned());
                    let runs = addition.runs();
                    if !runs.is_empty() {
                        self.lows.begin(bucket.id, shared.identity.stream, addition.first);
                    }
                    runs.into_iter().for_each(|(first, last)| self.own.add(first, last));
                }
                let mut pending = shared.pending.lock();
                let verdicts = group.finish(&mut pending, &answers);
                places.iter().for_each(|place| pending.moved(*place));
                if !self.unsure.is_empty() {
                    // What was settled before without an answer was not counted then, and is not now.
                    settled.iter().filter(|(key, _)| self.unsure.remove(key)).for_each(|(_, place)| pending.doubt(*place));
                }
                Ok(verdicts)
            }
            Err(failure) => {
                let mut pending = shared.pending.lock();
                places.iter().for_each(|place| pending.moved(*place));
                if failure.kind == Kind::Uncertain {
                    self.unsure.extend(settled.into_iter().map(|(key, _)| key));
                    self.undecided.extend(appended);
                    // Nothing is counted anew before it is decided.
                    self.shared.in_doubt.store(true, Ordering::Release);
                } else {
                    group.count(&mut pending, -1);
                }
                Err(failure)
            }
        }
    }

    async fn give(&mut self, busy: &Busy) -> Result<bool, Failure> {
        self.know_epoch().await?;
        self.shared.give(busy).await
    }

    async fn join(&mut self, joined: &Joined) -> Result<(), Failure> {
        self.know_epoch().await?;
        joining::join(&self.shared, joined).await
    }

    /// See `Journal::reopen`. Deliveries that this node does not hold are left alone.
    async fn reopen(&mut self, keys: Vec<DeliveryKey>, at_ms: i64) -> Result<Vec<PendingDelivery>, StoreError> {
        let mut keys = keys;
        keys.sort_unstable();
        keys.dedup();
        let mut reopened = Vec::new();
        self.know_epoch().await?;
        let conn = self.shared.writing.conn()?;
        for (bucket, keys) in rows::by_bucket(&self.shared, keys) {
            match self.reopen_in(&conn, &bucket, &keys, at_ms).await {
                Ok(found) => reopened.extend(found),
                Err(Failure { kind: Kind::Moved, .. }) => self.shared.refresh(&conn).await?,
                // What was changed has to be told, whatever became of the rest.
                Err(failure) if reopened.is_empty() => return Err(failure.error),
                Err(_) => break,
            }
        }
        reopened.sort_unstable_by_key(|pending| pending.delivery.key);
        Ok(reopened)
    }

    async fn reopen_in(&mut self, conn: &Conn, bucket: &Bucket, keys: &[DeliveryKey], at_ms: i64) -> Result<Vec<PendingDelivery>, Failure> {
        let mut sequences: Vec<i64> = keys.iter().map(|key| key.sequence().0).collect();
        sequences.dedup();
        // The events are read first: what is reopened and could then not be told would wait until the next start.
        let events = rows::events(&self.shared, conn, bucket, &sequences).await?;
        let lists = rows::lists(conn, bucket, &sequences).await?;
        let (mut places, mut lowest) = (Places::default(), HashMap::<Claim, i64>::new());
        for key in keys {
            let Some(place) = lists.get(&key.sequence().0).and_then(|list| list.place(key.ordinal())) else { continue };
            places.add(*key, place);
            let low = lowest.entry((place.stream, part_of(place.target))).or_insert(key.0);
            *low = key.0.min(*low);
        }
        if places.key.is_empty() {
            return Ok(Vec::new());
        }
        let (streams, parts): (Vec<i32>, Vec<i16>) = lowest.keys().copied().unzip();
        let lows: Vec<i64> = lowest.values().copied().collect();
        let reopen = conn.prepare(&bucket.sql(REOPEN)).await?;
        let lower = conn.prepare(LOWER).await?;
        let hold = conn.prepare(HOLD_NOW).await?;
        let (node, stream, epoch) = (self.shared.identity.node, self.shared.identity.stream, self.shared.epoch.load(Ordering::Acquire));
        let queries = [
            (hold, vec![&stream as &(dyn tokio_postgres::types::ToSql + Sync), &node, &epoch]),
            (lower, vec![&bucket.id as _, &streams, &parts, &lows]),
            (reopen, vec![&node as _, &places.target, &places.stream, &places.key, &at_ms]),
        ];
        // Counted before, as what is appended is.
        let counted: Vec<(i64, Place)> = places.places().collect();
        lowest.iter().for_each(|(claim, low)| self.lows.lower(bucket.id, *claim, *low));
        {
            let mut pending = self.shared.pending.lock();
            counted.iter().for_each(|(_, place)| {
                pending.add(place.0, place.1, 1);
                pending.moves(*place);
            });
        }
        let answers = conn.transaction(BEGIN_KEYED, &queries).await;
        let is_uncertain = answers.as_ref().is_err_and(|failure| failure.kind == Kind::Uncertain);
        let found = answers.and_then(|answers| answers[2].iter().map(rows::delivery).collect::<Result<Vec<Delivery>, Failure>>());
        let opened: HashSet<i64> = found.iter().flatten().map(|delivery| delivery.key.0).collect();
        {
            let mut pending = self.shared.pending.lock();
            for (key, place) in &counted {
                pending.moved(*place);
                if !is_uncertain && !opened.contains(key) {
                    pending.add(place.0, place.1, -1);
                }
            }
        }
        if is_uncertain {
            self.reopening.extend(counted.into_iter().map(|(key, place)| (DeliveryKey(key), place)));
            self.shared.in_doubt.store(true, Ordering::Release);
        }
        let told = |delivery: Delivery| {
            let event = events.get(&delivery.key.sequence())?.clone();
            Some(PendingDelivery { event, delivery })
        };
        Ok(found?.into_iter().filter_map(told).collect())
    }

    /// Makes sure that whatever this node began is stored or undone: a transaction that has reached the database holds the stream's row until its end,
    /// and one that reaches it later is of an epoch that is over.
    async fn decide(&mut self) -> Result<(), Failure> {
        // One that comes late itself changes nothing any more.
        const DECIDE: &str = "WITH own AS MATERIALIZED (SELECT stream FROM posthaste.stream WHERE stream = $1 FOR UPDATE NOWAIT)
            UPDATE posthaste.stream s SET epoch = greatest(epoch, $2) FROM own WHERE s.stream = own.stream";
        let conn = self.shared.writing.conn().map_err(Failure::other)?;
        self.shared.in_doubt.store(true, Ordering::Release);
        let epoch = self.asked_epoch + 1;
        match conn.keyed(DECIDE, &[&self.shared.identity.stream, &epoch]).await {
            Ok(_) => self.asked_epoch = epoch,
            Err(failure) => {
                // Without an answer it may be that one now.
                self.asked_epoch += i64::from(failure.kind == Kind::Uncertain);
                return Err(failure);
            }
        }
        self.shared.epoch.store(epoch, Ordering::Release);
        self.shared.in_doubt.store(false, Ordering::Release);
        self.shared.reopened.lock().append(&mut self.reopening);
        // A stream that began in a bucket by such an append begins there.
        self.lows.read(&conn, self.shared.identity.node).await?;
        let mut pending = self.shared.pending.lock();
        std::mem::take(&mut self.undecided).into_iter().for_each(|place| pending.doubt(place));
        Ok(())
    }

    /// Knows in which epoch the database is.
    async fn know_epoch(&mut self) -> Result<(), Failure> {
        if self.asked_epoch == self.shared.epoch.load(Ordering::Acquire) { Ok(()) } else { self.decide().await }
    }

    /// See `Journal::recover`.
    async fn recover(&mut self) -> Result<Recovered, Failure> {
        let conn = self.shared.writing.conn().map_err(Failure::other)?;
        self.shared.refresh(&conn).await?;
        let buckets = self.shared.buckets();
        let mut recovered = nodes::last(&conn, &buckets).await?;
        let tx = self.shared.keeping.alone().await.map_err(Failure::other)?;
        let raised = nodes::raise(&tx, recovered.last_sequence).await;
        tx.finish(raised).await?;
        let nodes::Heard { beat, .. } =
            nodes::beat(&conn, &self.shared, i64::MAX, "{}").await?.ok_or_else(|| Failure::other(StoreError::Fenced))?;
        self.shared.beaten(true);
        // What others left is shared with those that live.
        let share = beat.orphans.div_ceil(usize::try_from(beat.nodes.max(1)).unwrap_or(1));
        let taken = nodes::adopt(&self.shared, i64::try_from(share).unwrap_or(i64::MAX)).await?;
        self.hold(taken).await?;
        *self.shared.met.lock() = Some(beat);
        let held = nodes::held(&conn, self.shared.identity.node).await?;
        let claims: Vec<Claim> = held.iter().map(|held| (held.stream, held.part)).collect();
        let lanes = self.shared.count(&conn, &claims, true).await?;
        self.shared.uncounted.lock().clear();
        recovered.lanes =
            lanes.iter().map(|lane| LaneSummary { target: lane.target, queued: lane.queued, scheduled: lane.scheduled }).collect();
        Ok(recovered)
    }

    /// Claims are this node's from now on. Nobody takes what is new for them before what was there is counted.
    async fn hold(&mut self, mut claims: Vec<Claim>) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let conn = shared.writing.conn().map_err(Failure::other)?;
        self.lows.read(&conn, shared.identity.node).await?;
        let mut pending = shared.pending.lock();
        claims.retain(|claim| !pending.holds(*claim));
        shared.uncounted.lock().extend(&claims);
        claims.iter().for_each(|claim| pending.hold(*claim));
        Ok(())
    }

    /// Writes down from where on something may be queued.
    async fn keep_lows(&mut self) -> Result<(), Failure> {
        self.know_epoch().await?;
        let conn = self.shared.writing.conn().map_err(Failure::other)?;
        let changed = {
            let pending = self.shared.pending.lock();
            let next = self.own.last().map_or(i64::MIN, |last| DeliveryKey::new(Sequence(last + 1), 0).0);
            self.lows.changed(&pending, &self.shared.uncounted.lock(), self.shared.identity.stream, next)
        };
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        let written = self.lows.write(&conn, (self.shared.identity, epoch), changed).await;
        // What is opened again from now on has to be below.
        self.asked_epoch += i64::from(written.as_ref().is_err_and(|failure| failure.kind == Kind::Uncertain));
        written
    }

    /// Lets go of everything, so that the next one need not wait.
    async fn close(&mut self) {
        let shared = self.shared.clone();
        if let Err(failure) = self.keep_lows().await {
            tracing::debug!(error = %failure.error, "could not note what is queued; the next start looks further");
        }
        let left = async {
            let tx = shared.keeping.alone().await.map_err(Failure::other)?;
            let left = nodes::leave(&tx, shared.identity.node).await;
            tx.finish(left).await
        };
        if let Err(failure) = left.await {
            tracing::warn!(error = %failure.error, "could not say that this node is gone; its work is taken over when its heartbeat is missed");
        }
        shared.closed.store(true, Ordering::Release);
        self.stop.cancel();
    }
}

/// Waits for what is next; `false`: nobody can send any more, and everything was taken.
async fn gather(gathering: &mut Gathering<Command>, commands: &mut mpsc::Receiver<Command>) -> bool {
    loop {
        let next = match gathering.wanted() {
            Wanted::First => match commands.recv().await {
                None => return false,
                first => first,
            },
            Wanted::Until(at) => timeout_at(at, commands.recv()).await.unwrap_or(None),
            Wanted::Present => commands.try_recv().ok(),
            Wanted::Nothing => None,
        };
        let Some(command) = next else { return true };
        gathering.add(command, Instant::now());
    }
}

fn refusal(command: &Command) -> Option<Verdict> {
    let Command::Append(group, _) = command else { return None };
    append::refusal(group).map(|refusal| Err(StoreError::Engine(refusal.into())))
}

/// The claims that a statement of outcomes had, and how the counts changed.
pub(super) fn changes(rows: &[Row]) -> (Vec<Claim>, Vec<(Claim, i64, i64)>) {
    let (mut held, mut counts) = (Vec::new(), Vec::new());
    for row in rows {
        let claim = (row.get(0), row.get(1));
        match row.get::<_, Option<i64>>(2) {
            None => held.push(claim),
            Some(chunk) => counts.push((claim, chunk, row.get(3))),
        }
    }
    (held, counts)
}
