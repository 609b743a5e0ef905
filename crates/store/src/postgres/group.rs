//! A group of commands as one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use posthaste_domain::id::{DeliveryKey, Sequence};
use tokio_postgres::Row;

use super::append::{self, Addition, Sources};
use super::buckets::{Bucket, Buckets};
use super::command::Command;
use super::error::{Failure, Refusal};
use super::joining::Joins;
use super::link::{Conn, Query};
use super::lows::Lows;
use super::pending::{Claim, Pending, Place};
use super::rows::{self, List};
use super::settle::{CLOSE, Outcomes, Places, SETTLE};
use super::shared::Shared;
use super::writer::{Own, changes};
use crate::{Append, Settlement, StoreError};

/// How a command went.
pub(super) type Verdict = Result<(), StoreError>;

/// Outcomes of one statement.
#[derive(Default)]
struct Round<'a> {
    outcomes: Outcomes<'a>,
    keys: HashSet<DeliveryKey>,
    /// Which command each claim is needed for.
    needs: Vec<(usize, Claim)>,
}

/// What a group does, by bucket.
pub(super) struct Group<'a> {
    node: i64,
    stream: i32,
    epoch: i64,
    pub(super) additions: Vec<(Bucket, Addition<'a>)>,
    pub(super) joins: Joins,
    closings: Vec<(Bucket, Places)>,
    /// One delivery may be settled more than once: then the statements follow each other.
    rounds: Vec<(Bucket, Round<'a>)>,
    /// As far as they are known already.
    pub(super) verdicts: Vec<Verdict>,
    is_append: bool,
}

impl<'a> Group<'a> {
    /// Sorts what the commands want.
    pub(super) async fn plan(
        shared: &Shared,
        conn: &Conn,
        sources: &mut Sources,
        own: &Own,
        commands: &[&'a Command],
    ) -> Result<Group<'a>, Failure> {
        let buckets = shared.buckets();
        let mut group = Self {
            node: shared.identity.node,
            stream: shared.identity.stream,
            epoch: shared.epoch.load(Ordering::Acquire),
            additions: Vec::new(),
            joins: Joins::default(),
            closings: Vec::new(),
            rounds: Vec::new(),
            verdicts: commands.iter().map(|_| Ok(())).collect(),
            is_append: false,
        };
        let appends = || {
            commands.iter().enumerate().filter_map(|(place, command)| match command {
                Command::Append(append, _) => Some((place, append)),
                _ => None,
            })
        };
        let types = group.types(shared, conn, appends().map(|(_, append)| append)).await?;
        let closed: HashMap<DeliveryKey, i64> =
            appends().flat_map(|(_, append)| append.batches.iter().filter_map(|part| Some((part.batch, part.closed_due_ms?)))).collect();
        for (place, append) in appends() {
            if let Err(refusal) = group.append(&buckets, sources, append, &types, &closed) {
                group.verdicts[place] = Err(StoreError::Engine(refusal.into()));
            }
        }
        group.additions.iter_mut().for_each(|(_, addition)| addition.pack());
        // What this node appended is of its stream, but for targets with an owner; of anything else its event tells.
        let settles = commands.iter().enumerate().filter_map(|(place, command)| match command {
            Command::Settle(outcomes, _) => Some((place, outcomes)),
            _ => None,
        });
        let settles: Vec<(usize, &'a Settlement)> =
            settles.flat_map(|(place, outcomes)| outcomes.iter().map(move |outcome| (place, outcome))).collect();
        let opened_before = |key: &DeliveryKey| !appends().any(|(_, append)| has_event(append, key.sequence()));
        let closings: Vec<(DeliveryKey, i64)> = closed.into_iter().filter(|(key, _)| opened_before(key)).collect();
        let is_own = {
            let owned = shared.owned.lock();
            let of_own = |outcome: &Settlement| own.has(outcome.key.sequence().0) && !owned.contains(&outcome.target);
            settles.iter().map(|(_, outcome)| of_own(outcome)).collect::<Vec<bool>>()
        };
        let foreign = settles.iter().zip(&is_own).filter(|(_, is_own)| !**is_own).map(|((_, outcome), _)| outcome.key);
        let lists = lists(shared, conn, foreign.chain(closings.iter().map(|(key, _)| *key))).await?;
        for (key, due_ms) in closings {
            let place = lists.get(&key.sequence().0).and_then(|list| list.place(key.ordinal()));
            if let (Some(bucket), Some(place)) = (buckets.of(key.sequence().0), place) {
                let places = of_bucket(&mut group.closings, bucket);
                places.add(key, place);
                places.due_ms.push(due_ms);
            }
        }
        for ((place, outcome), is_own) in settles.into_iter().zip(is_own) {
            let sequence = outcome.key.sequence().0;
            let listed = || lists.get(&sequence).and_then(|list| list.place(outcome.key.ordinal())).map(|place| place.stream);
            let stream = if is_own { Some(group.stream) } else { listed() };
            // What was dropped has nothing left to change.
            if let (Some(bucket), Some(stream)) = (buckets.of(sequence), stream) {
                group.settle(bucket, stream, place, outcome);
            }
        }
        Ok(group)
    }

    /// The numbers of types, new ones included.
    async fn types<'t>(
        &self,
        shared: &Shared,
        conn: &Conn,
        appends: impl Iterator<Item = &'t Append>,
    ) -> Result<HashMap<&'t str, i32>, Failure> {
        let mut types = HashMap::new();
        let mut unknown = Vec::new();
        for name in appends.flat_map(|append| append.events.iter().filter_map(|event| event.type_name.as_deref())) {
            if !types.contains_key(name) {
                let id = shared.known_type(name);
                if id.is_none() {
                    unknown.push(name);
                }
                types.insert(name, id.unwrap_or(0));
            }
        }
        if !unknown.is_empty() {
            shared.add_types(conn, &unknown).await?;
            for name in unknown {
                let id = shared.type_id(conn, name).await?.ok_or_else(|| super::error::unknown("type of an event"))?;
                types.insert(name, id);
            }
        }
        Ok(types)
    }

    fn append(
        &mut self,
        buckets: &Buckets,
        sources: &mut Sources,
        append: &'a Append,
        types: &HashMap<&str, i32>,
        closed: &HashMap<DeliveryKey, i64>,
    ) -> Result<(), Refusal> {
        if let Some(lost) = append.events.iter().find(|event| buckets.of(event.sequence.0).is_none()) {
            return Err(Refusal::Dropped(lost.sequence.0));
        }
        self.is_append = self.is_append || !append.events.is_empty();
        for event in &append.events {
            let Some(bucket) = buckets.of(event.sequence.0) else { continue };
            let type_id = event.type_name.as_deref().and_then(|name| types.get(name)).copied().unwrap_or(0);
            of_bucket(&mut self.additions, bucket).event(event, self.stream, type_id, sources, closed);
        }
        for (batch, member) in append.batches.iter().flat_map(|part| part.members.iter().map(|member| (part.batch, *member))) {
            if let Some(bucket) = buckets.of(member.0) {
                of_bucket(&mut self.additions, bucket).member(batch, member);
            }
        }
        append.joins.iter().for_each(|join| self.joins.add(join));
        for record in &append.idempotency {
            if let Some(bucket) = buckets.of(record.first.0) {
                of_bucket(&mut self.additions, bucket).idempotency(record);
            }
        }
        Ok(())
    }

    fn settle(&mut self, bucket: Bucket, stream: i32, command: usize, outcome: &'a Settlement) {
        let free = self.rounds.iter().position(|(of, round)| of.id == bucket.id && !round.keys.contains(&outcome.key));
        let place = free.unwrap_or_else(|| {
            self.rounds.push((bucket, Round::default()));
            self.rounds.len() - 1
        });
        let round = &mut self.rounds[place].1;
        round.keys.insert(outcome.key);
        round.outcomes.add(outcome, stream);
        let need = (command, (stream, super::pending::part_of(outcome.target)));
        if round.needs.last() != Some(&need) {
            round.needs.push(need);
        }
    }

    /// The statements, in order.
    pub(super) async fn queries<'q>(&'q self, conn: &Conn, lows: &Lows) -> Result<Vec<Query<'q>>, Failure> {
        let mut queries: Vec<Query<'q>> = Vec::new();
        if self.is_append {
            queries.push((conn.prepare(append::HOLD_NOW).await?, vec![&self.stream, &self.node, &self.epoch]));
        }
        for (bucket, addition) in &self.additions {
            addition.queries(conn, bucket, &self.stream, !lows.has(bucket.id, self.stream), &mut queries).await?;
        }
        self.joins.queries(conn, &mut queries).await?;
        for (bucket, places) in &self.closings {
            let values: Query<'q> =
                (conn.prepare(&bucket.sql(CLOSE)).await?, vec![&self.node, &places.target, &places.stream, &places.key, &places.due_ms]);
            queries.push(values);
        }
        for (bucket, round) in &self.rounds {
            queries.push((conn.prepare(&bucket.sql(SETTLE)).await?, round.outcomes.values(&self.node)));
        }
        Ok(queries)
    }

    /// Counts what is added.
    pub(super) fn count(&self, pending: &mut Pending, sign: i64) {
        for (_, addition) in &self.additions {
            for ((claim, chunk), count) in addition.queued(self.stream) {
                pending.add(claim, chunk, sign * count);
            }
        }
    }

    /// Where outcomes are counted, by their keys.
    pub(super) fn settled(&self) -> Vec<(i64, Place)> {
        self.rounds.iter().flat_map(|(_, round)| round.outcomes.places()).collect()
    }

    /// Where what is appended for this node's own lanes is counted.
    pub(super) fn appended(&self) -> Vec<Place> {
        self.additions.iter().flat_map(|(_, addition)| addition.queued(self.stream).into_keys()).collect()
    }

    /// Counts what was settled, and tells each command how it went.
    pub(super) fn finish(mut self, pending: &mut Pending, answers: &[Vec<Row>]) -> Vec<Verdict> {
        let settled = &answers[answers.len() - self.rounds.len()..];
        for ((_, round), rows) in self.rounds.iter().zip(settled) {
            let (held, counts) = changes(rows);
            counts.into_iter().for_each(|(claim, chunk, by)| pending.add(claim, chunk, by));
            // A cancellation may be of what another one has held all along.
            let lost = |claim: &&Claim| !held.contains(claim) && pending.holds(**claim);
            for claim in round.outcomes.claims.iter().filter(lost).copied().collect::<Vec<_>>() {
                tracing::warn!(stream = claim.0, part = claim.1, "another node took over; its outcomes are dropped here");
                pending.lose(claim);
            }
            for (command, _) in round.needs.iter().filter(|(_, claim)| !held.contains(claim)) {
                self.verdicts[*command] = Err(StoreError::Fenced);
            }
        }
        self.verdicts
    }
}

fn has_event(append: &Append, sequence: Sequence) -> bool {
    append.events.binary_search_by_key(&sequence, |event| event.sequence).is_ok()
}

/// What a bucket has, from nothing on.
pub(super) fn of_bucket<T: Default>(parts: &mut Vec<(Bucket, T)>, bucket: Bucket) -> &mut T {
    let place = parts.iter().position(|(known, _)| known.id == bucket.id).unwrap_or_else(|| {
        parts.push((bucket, T::default()));
        parts.len() - 1
    });
    &mut parts[place].1
}

/// What the events of these deliveries tell.
async fn lists(shared: &Shared, conn: &Conn, keys: impl Iterator<Item = DeliveryKey>) -> Result<HashMap<i64, List>, Failure> {
    let mut lists = HashMap::new();
    for (bucket, keys) in rows::by_bucket(shared, keys) {
        let mut sequences: Vec<i64> = keys.iter().map(|key| key.sequence().0).collect();
        sequences.sort_unstable();
        sequences.dedup();
        lists.extend(rows::lists(conn, &bucket, &sequences).await?);
    }
    Ok(lists)
}
