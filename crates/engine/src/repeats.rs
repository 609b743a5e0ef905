//! Requests that were made before: those with an `Idempotency-Key` that is known.
//!
//! Invariant: of one key in one workspace, one request is stored. Others with the same body are answered as it was, others with another body are
//! refused. Where the key is known already, that goes by what is stored; where it is new, by the first request of the group.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use posthaste_domain::id::Sequence;
use posthaste_store::{IdempotencyRecord, Journal};

use crate::accept::{Accepted, AcceptedEvent, Ticket, share};
use crate::error::AcceptError;

/// Requests that came with the key of an earlier one in the same group.
pub(crate) type Followers = HashMap<(i64, String), Vec<Ticket>>;

/// Answers the requests of a group that were made before, and puts those behind the first that repeat one of the group. What is left is to be
/// stored.
pub(crate) async fn answered(journal: &dyn Journal, tickets: Vec<Ticket>, now_ms: i64) -> (Vec<Ticket>, Followers) {
    let mut followers: Followers = HashMap::new();
    let mut names: Vec<(i64, &str)> = tickets.iter().filter_map(Ticket::name).collect();
    if names.is_empty() {
        return (tickets, followers);
    }
    names.sort_unstable();
    names.dedup();
    // All at once: one after the other they would make everybody in the group wait.
    let found = join_all(names.iter().map(|(workspace, key)| journal.idempotent(*workspace, key, now_ms))).await;
    let names = names.into_iter().map(|(workspace, key)| (workspace, key.to_owned()));
    let found: HashMap<_, _> = names.zip(found.into_iter().map(|found| found.map_err(Arc::new))).collect();
    let mut leaders: HashMap<(i64, String), [u8; 32]> = HashMap::new();
    let mut fresh = Vec::with_capacity(tickets.len());
    for ticket in tickets {
        let Some(idempotency) = &ticket.idempotency else {
            fresh.push(ticket);
            continue;
        };
        let (name, body_hash) = ((ticket.workspace, idempotency.key.clone()), idempotency.body_hash);
        let answer = match found.get(&name) {
            Some(Err(error)) => Err(share(error)),
            Some(Ok(Some(record))) if record.body_hash == body_hash => Ok(replayed(record)),
            Some(Ok(Some(_))) => Err(AcceptError::IdempotencyMismatch),
            Some(Ok(None)) | None => match leaders.get(&name) {
                None => {
                    leaders.insert(name, body_hash);
                    fresh.push(ticket);
                    continue;
                }
                Some(first) if *first == body_hash => {
                    followers.entry(name).or_default().push(ticket);
                    continue;
                }
                Some(_) => Err(AcceptError::IdempotencyMismatch),
            },
        };
        // A sender that hung up needs no answer.
        let _ = ticket.answer.send(answer);
    }
    (fresh, followers)
}

fn replayed(record: &IdempotencyRecord) -> Accepted {
    let event = |place| AcceptedEvent { sequence: Sequence(record.first.0 + place), received_ms: record.at_ms };
    Accepted { events: (0..i64::from(record.count)).map(event).collect(), replayed: true }
}
