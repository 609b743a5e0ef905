//! One page of a walk through the events of a domain.
//!
//! Pages follow the journal, whose order never changes and only grows at one end: so events of the same time are neither lost nor shown
//! twice, and writers disturb no reader. Within a page events are in the order of their times, which is another only for events that
//! were reported late. A page is read in steps; nothing waits for it.

use std::sync::Arc;
use std::time::Duration;

use posthaste_domain::event::Event;
use posthaste_engine::Engine;
use posthaste_store::{EventFilter, Order, Range, StoreError};

use super::super::event::Facts;
use super::super::event::render;
use super::token::{Place, Walk};

/// Events of the first step, and of one after a step of large events.
const SMALL_STEP: usize = 32;
/// Events of a step at most.
const LARGE_STEP: usize = 128;
/// Bytes of payloads of a step beyond which the next one is small.
const STEP_BYTES: usize = 512 << 10;
/// Bytes of payloads after which a page ends early.
const PAGE_BYTES: usize = 8 << 20;
/// Events that are looked at to find where the last page of a walk begins; in longer walks it is just the last events.
const COUNTED: usize = 200_000;

/// Where the events are, and how late they may come.
pub(super) struct Source<'a> {
    pub(super) engine: &'a Engine,
    pub(super) workspace: i64,
    pub(super) domain: &'a str,
    pub(super) late: Duration,
    /// Events before this are gone.
    pub(super) kept_from_us: i64,
}

/// Events of a page and the places beside it.
pub(super) struct Page {
    /// Event objects as JSON text.
    pub(super) items: Vec<String>,
    pub(super) next: Place,
    pub(super) previous: Place,
}

/// A way through the journal.
struct Scan {
    order: Order,
    /// Last sequence that was looked at.
    after: Option<i64>,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    /// Nothing above this.
    ceiling: i64,
    step: usize,
    is_over: bool,
}

impl Source<'_> {
    /// The page at a place.
    pub(super) async fn page(&self, walk: &Walk, place: Place) -> Result<Page, StoreError> {
        let limit = walk.query.limit as usize;
        let forward = if walk.query.ascending { Order::Asc } else { Order::Desc };
        let backward = if walk.query.ascending { Order::Desc } else { Order::Asc };
        let mut events = match place {
            Place::First => self.read(walk, forward, None, limit).await?,
            Place::After(sequence) => self.read(walk, forward, Some(sequence), limit).await?,
            Place::Before(sequence) => self.read(walk, backward, Some(sequence), limit).await?,
            Place::Last => self.last(walk, forward, backward, limit).await?,
        };
        if matches!(place, Place::Before(_)) {
            events.reverse();
        }
        let (previous, next) = beside(walk, place, events.first().zip(events.last()));
        let base_url = &self.engine.settings().public_base_url;
        let mut items: Vec<(i64, String)> =
            events.iter().filter_map(|event| Facts::of(event)).map(|facts| (facts.at_us, render(&facts, base_url))).collect();
        // Stable, so events of one time stay as they are in the journal.
        items.sort_by_key(|(at_us, _)| if walk.query.ascending { *at_us } else { -*at_us });
        Ok(Page { items: items.into_iter().map(|(_, item)| item).collect(), next, previous })
    }

    /// The page on which following `next` ends.
    async fn last(&self, walk: &Walk, forward: Order, backward: Order, limit: usize) -> Result<Vec<Arc<Event>>, StoreError> {
        let mut scan = self.scan(walk, forward, None);
        let (mut page, mut bytes, mut seen) = (Vec::new(), 0, 0);
        while !scan.is_over {
            seen += scan.step;
            for event in self.step(walk, &mut scan).await? {
                // Where `read` would have ended its page.
                if page.len() == limit || bytes >= PAGE_BYTES {
                    page.clear();
                    bytes = 0;
                }
                bytes += event.payload.len();
                page.push(event);
            }
            if seen > COUNTED {
                let mut page = self.read(walk, backward, None, limit).await?;
                page.reverse();
                return Ok(page);
            }
        }
        Ok(page)
    }

    async fn read(&self, walk: &Walk, order: Order, after: Option<i64>, limit: usize) -> Result<Vec<Arc<Event>>, StoreError> {
        let mut scan = self.scan(walk, order, after);
        let (mut page, mut bytes) = (Vec::new(), 0);
        while !scan.is_over && page.len() < limit && bytes < PAGE_BYTES {
            for event in self.step(walk, &mut scan).await? {
                if page.len() < limit && bytes < PAGE_BYTES {
                    bytes += event.payload.len();
                    page.push(event);
                }
            }
        }
        Ok(page)
    }

    fn scan(&self, walk: &Walk, order: Order, after: Option<i64>) -> Scan {
        let from_us = walk.query.from_us.unwrap_or(0).max(self.kept_from_us);
        // An event is never received before it happens, and seldom much later.
        let late_us = i64::try_from(self.late.as_micros()).unwrap_or(i64::MAX);
        let to_ms = walk.query.to_us.map(|to| to.saturating_add(late_us).div_euclid(1000).saturating_add(1));
        let ceiling = walk.ceiling.unwrap_or(i64::MAX);
        let above = match order {
            Order::Desc if ceiling < i64::MAX => Some(ceiling.saturating_add(1)),
            _ => None,
        };
        let after = match (after, above) {
            (Some(after), Some(above)) => Some(after.min(above)),
            (after, above) => after.or(above),
        };
        Scan { order, after, from_ms: Some(from_us.div_euclid(1000)), to_ms, ceiling, step: SMALL_STEP, is_over: false }
    }

    /// The next few events of a walk, those that are not asked for left out.
    async fn step(&self, walk: &Walk, scan: &mut Scan) -> Result<Vec<Arc<Event>>, StoreError> {
        let types = EventFilter { type_names: Some(walk.query.types()), ..EventFilter::default() };
        let range = Range { order: scan.order, after: scan.after, limit: scan.step, from_ms: scan.from_ms, to_ms: scan.to_ms };
        let mut events = self.engine.history().events(self.workspace, types, range).await?;
        scan.is_over = events.len() < scan.step || events.last().is_some_and(|event| event.sequence.0 > scan.ceiling);
        scan.after = events.last().map(|event| event.sequence.0).or(scan.after);
        let bytes: usize = events.iter().map(|event| event.payload.len()).sum();
        scan.step = if bytes > STEP_BYTES { SMALL_STEP } else { (scan.step * 2).min(LARGE_STEP) };
        events.retain(|event| event.sequence.0 <= scan.ceiling && self.takes(walk, event));
        Ok(events)
    }

    fn takes(&self, walk: &Walk, event: &Event) -> bool {
        Facts::of(event).is_some_and(|facts| {
            facts.belongs_to(self.domain)
                && facts.at_us >= self.kept_from_us
                && facts.lateness() <= self.late_in(walk)
                && walk.query.takes(&facts)
        })
    }

    /// How late an event may be: only a range with an end must leave out what it could have missed, so that each of its pages leaves
    /// out the same.
    fn late_in(&self, walk: &Walk) -> Duration {
        if walk.query.to_us.is_some() { self.late } else { Duration::MAX }
    }
}

/// The places before and behind a page. Beside an empty page is the place where it was looked for, so a walk that came to its end finds
/// what is new there later, and the way back leads to the page before.
fn beside(walk: &Walk, place: Place, ends: Option<(&Arc<Event>, &Arc<Event>)>) -> (Place, Place) {
    if let Some((first, last)) = ends {
        return (Place::Before(first.sequence.0), Place::After(last.sequence.0));
    }
    // One step against the direction of the walk, so that the event at the place itself is within reach.
    let one = if walk.query.ascending { 1 } else { -1 };
    match place {
        Place::First | Place::Last => {
            let start = if walk.query.ascending { 0 } else { walk.ceiling.unwrap_or(i64::MAX) };
            (Place::Before(start), Place::First)
        }
        Place::After(sequence) => (Place::Before(sequence.saturating_add(one)), place),
        Place::Before(sequence) => (place, Place::After(sequence.saturating_sub(one))),
    }
}
