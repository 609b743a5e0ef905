//! `GET /events`, `GET /events/{id}`, `POST /events/{id}/resend`.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use posthaste_domain::delivery::Delivery;
use posthaste_domain::event::Event;
use posthaste_domain::id::parse_event_id;
use posthaste_store::{EventFilter, Order, Range};
use tokio::time::Instant;

use crate::auth::{Manager, Reader};
use crate::codes::Code;
use crate::cursor::{self, List};
use crate::input::{Id, PAGE, Param, ParamKind, Params};
use crate::native::view::{DeliveryView, write_event};
use crate::native::{json_bytes, list_page};
use crate::problem::Problem;
use crate::serve::Closing;
use crate::{AppState, native::deliveries};

/// Parameters of the list.
pub(super) const EVENTS: [Param; 11] = [
    Param::new("cursor", ParamKind::Text, "Where to go on: `next` of the page before, or the id of an event."),
    PAGE[1],
    PAGE[2],
    Param::new("type", ParamKind::Text, "Only events of exactly this type."),
    Param::new("unmatched", ParamKind::Flag, "Only inbox events that matched no event type."),
    Param::new("from", ParamKind::Time, "Received at or after this."),
    Param::new("to", ParamKind::Time, "Received before this."),
    Param::new("search", ParamKind::Text, "Only events with this text in their document, as it was sent; ASCII letters small or capital."),
    SOURCE,
    Param::new("state", ParamKind::OneOf(STATES), "Only events with a delivery in one of these states; `none` for events without one."),
    Param::new("deliveries", ParamKind::Flag, "Show each event's deliveries with it."),
];

/// Only events that came in one way.
pub(super) const SOURCE: Param = Param::new(
    "source",
    ParamKind::Text,
    "Only events that came in this way: `api`, `inbox`, `console`, `system`, or what a dialect names.",
);

/// What `state` takes.
const STATES: &[&str] = &["queued", "held", "delivered", "failed", "cancelled", "none"];

/// Parameters of the long poll.
pub(super) const WATCH: [Param; 1] =
    [Param::new("wait", ParamKind::Length, "Wait so long, at most 60s, for an event after the cursor. The order is ascending then.")];

/// Longest long poll.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How long a page is looked for before it answers with what there is.
pub(in crate::native) const PATIENCE: Duration = Duration::from_millis(10);
/// Pause between two looks of one watcher when events arrive that are not for it.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Which part of the events of a workspace.
#[derive(Clone)]
pub(super) struct Query {
    pub workspace: i64,
    pub filter: EventFilter,
    pub sift: Sift,
    pub range: Range,
}

/// What the store does not tell apart: events are looked through for it.
#[derive(Clone, Default)]
pub(super) struct Sift {
    /// How they came in.
    pub source: Option<String>,
    /// States of deliveries.
    pub states: Vec<&'static str>,
}

impl Sift {
    /// Whether an event came in the wanted way.
    pub fn takes(&self, event: &Event) -> bool {
        self.source.as_ref().is_none_or(|via| event.source.via == *via)
    }

    async fn keep(&self, state: &AppState, workspace: i64, mut events: Vec<Arc<Event>>) -> Result<Vec<Arc<Event>>, Problem> {
        events.retain(|event| self.takes(event));
        if self.states.is_empty() || events.is_empty() {
            return Ok(events);
        }
        let sequences = events.iter().map(|event| event.sequence).collect();
        let deliveries = state.engine.history().deliveries_of_each(workspace, sequences).await?;
        let is_wanted = |of_one: &Vec<Delivery>| match of_one.is_empty() {
            true => self.states.contains(&"none"),
            false => of_one.iter().any(|delivery| self.states.contains(&state.engine.public_state(delivery))),
        };
        Ok(events.into_iter().zip(deliveries).filter(|(_, of_one)| is_wanted(of_one)).map(|(event, _)| event).collect())
    }
}

/// Reads a page; answers the key after which the list goes on. A page ends early when its payloads grow beyond `max_page_bytes`, or when what is asked
/// for is so rare that looking for it takes longer than [`PATIENCE`].
pub(super) async fn page(state: &AppState, query: &Query) -> Result<(Vec<Arc<Event>>, Option<i64>), Problem> {
    let deadline = Instant::now() + PATIENCE;
    let (limit, mut bytes_left) = (query.range.limit, state.settings.max_page_bytes);
    let mut events: Vec<Arc<Event>> = Vec::new();
    let mut range = query.range;
    loop {
        // One more than is shown tells whether there are more.
        range.limit = limit + 1 - events.len();
        let piece = state.engine.history().events_piece(query.workspace, query.filter.clone(), range, bytes_left).await?;
        bytes_left = piece.items.iter().fold(bytes_left, |left, event| left.saturating_sub(event.payload.len()));
        events.extend(query.sift.keep(state, query.workspace, piece.items).await?);
        if events.len() > limit {
            events.truncate(limit);
            let last = events.last().map(|event| event.sequence.0);
            return Ok((events, last));
        }
        if piece.rest.is_none() || bytes_left == 0 || Instant::now() >= deadline {
            return Ok((events, piece.rest));
        }
        range.after = piece.rest;
    }
}

/// What of a page is at or below a place up to which all events are there: what lies above may still gain others before it.
pub(super) fn up_to(seen: i64, (mut events, next): (Vec<Arc<Event>>, Option<i64>)) -> (Vec<Arc<Event>>, Option<i64>) {
    events.truncate(events.partition_point(|event| event.sequence.0 <= seen));
    (events, next.filter(|next| *next <= seen))
}

pub(super) async fn list(
    State(state): State<AppState>,
    Reader(caller): Reader,
    closing: Option<Extension<Closing>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let table: Vec<Param> = EVENTS.iter().chain(&WATCH).copied().collect();
    let params = Params::read(query.as_deref(), &table)?;
    let wait = params.length("wait", MAX_WAIT)?;
    let order = match (params.order()?, wait, params.text("order")) {
        (Order::Desc, Some(_), Some(_)) => {
            return Err(Problem::new(Code::InvalidParameter, "order: with wait the order is asc").at("order"));
        }
        (order, None, _) => order,
        (_, Some(_), _) => Order::Asc,
    };
    let known = params.text("cursor").and_then(parse_event_id);
    let after = match (params.text("cursor"), known) {
        (Some("latest"), _) if order == Order::Asc => Some(*state.engine.committed().borrow()),
        (_, Some((sequence, _))) => Some(sequence.0),
        _ => params.cursor(List::Events, order)?,
    };
    let range = Range { order, after, limit: params.limit()?, from_ms: params.time("from")?, to_ms: params.time("to")? };
    let sift = Sift { source: params.text("source").map(str::to_owned), states: params.words("state", STATES)? };
    let query = Query { workspace: caller.workspace(), filter: filter(&params)?, sift, range };
    let (events, mut next) = match wait {
        None => page(&state, &query).await?,
        Some(wait) => watch(&state, query, wait, closing.map(|Extension(c)| c).unwrap_or_default()).await?,
    };
    if wait.is_some() {
        // A watcher always needs a place to go on from, even before the first event.
        next = next.or(events.last().map(|event| event.sequence.0)).or(after).or(Some(0));
    }
    let deliveries =
        if params.flag("deliveries")? { Some(deliveries::of_events(&state, caller.workspace(), &events).await?) } else { None };
    let mut out = Vec::with_capacity(events.iter().map(|event| event.payload.len() + 256).sum::<usize>() + 64);
    out.extend_from_slice(b"{\"items\":[");
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_event(event, deliveries.as_ref().map(|all| &all[index][..]), &mut out);
    }
    out.extend_from_slice(b"],\"next\":");
    match next {
        Some(key) => out.extend_from_slice(format!("\"{}\"}}", cursor::encode(List::Events, order, key)).as_bytes()),
        None => out.extend_from_slice(b"null}"),
    }
    Ok(json_bytes(StatusCode::OK, out))
}

fn filter(params: &Params) -> Result<EventFilter, Problem> {
    let type_name = match (deliveries::exact_type(params)?, params.flag("unmatched")?) {
        (Some(_), true) => {
            return Err(Problem::new(Code::InvalidParameter, "unmatched: unmatched events have no type").at("unmatched"));
        }
        (Some(name), false) => Some(Some(name)),
        (None, true) => Some(None),
        (None, false) => None,
    };
    Ok(EventFilter { type_name, text: params.text("search").map(str::to_owned), ..EventFilter::default() })
}

/// Reads a page as soon as there is one, or an empty one after `wait` or when the server closes.
async fn watch(state: &AppState, mut query: Query, wait: Duration, closing: Closing) -> Result<(Vec<Arc<Event>>, Option<i64>), Problem> {
    let _permit = watcher_permit(state)?;
    let deadline = Instant::now() + wait;
    let mut committed = state.engine.committed();
    let mut is_first = true;
    loop {
        let seen = *committed.borrow_and_update();
        let (events, next) = up_to(seen, page(state, &query).await?);
        query.range.after = next.or(query.range.after);
        let is_over = Instant::now() >= deadline || closing.0.is_cancelled();
        if !events.is_empty() || (next.is_some() && is_over) {
            return Ok((events, next));
        }
        // There was nothing in this part of the list, but it goes on.
        if next.is_some() {
            continue;
        }
        // What woke this watcher was not for it: the next look comes after a pause.
        if !std::mem::take(&mut is_first) {
            tokio::time::sleep_until(deadline.min(Instant::now() + LOOK_PAUSE)).await;
        }
        tokio::select! {
            changed = committed.changed() => if changed.is_err() { return Ok((events, query.range.after)) },
            () = tokio::time::sleep_until(deadline) => return Ok((events, query.range.after)),
            () = closing.0.cancelled() => return Ok((events, query.range.after)),
        }
    }
}

/// A place among the watchers of this server.
pub(super) fn watcher_permit(state: &AppState) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
    Arc::clone(&state.watchers).try_acquire_owned().map_err(|_| {
        let detail = format!("{} streams and long polls are open already", state.settings.max_watchers);
        Problem::new(Code::TooManyRequests, detail).retry_after(1)
    })
}

async fn find(state: &AppState, workspace: i64, id: &str) -> Result<Arc<Event>, Problem> {
    let not_found = || Problem::not_found("event", id);
    let (sequence, received_ms) = parse_event_id(id).ok_or_else(not_found)?;
    let event = state.engine.history().event(workspace, sequence).await?;
    event.filter(|event| event.received_ms == received_ms).ok_or_else(not_found)
}

pub(super) async fn read(State(state): State<AppState>, Reader(caller): Reader, Id(id): Id) -> Result<Response, Problem> {
    let event = find(&state, caller.workspace(), &id).await?;
    let deliveries = deliveries::of_events(&state, event.workspace, std::slice::from_ref(&event)).await?;
    let mut out = Vec::new();
    write_event(&event, deliveries.first().map(Vec::as_slice), &mut out);
    Ok(json_bytes(StatusCode::OK, out))
}

pub(super) async fn resend(State(state): State<AppState>, Manager(caller): Manager, Id(id): Id) -> Result<Response, Problem> {
    let event = find(&state, caller.workspace(), &id).await?;
    let deliveries = state.engine.history().deliveries_of(caller.workspace(), event.sequence).await?;
    let mut views: Vec<DeliveryView> = Vec::with_capacity(deliveries.len());
    for delivery in deliveries.iter().filter(|delivery| delivery.state.is_terminal()) {
        let sent = state.engine.resend(caller.workspace(), delivery.key).await?;
        views.push(DeliveryView::of(&state.engine, &sent));
    }
    Ok(list_page(List::Deliveries, Order::Asc, &views, None))
}
