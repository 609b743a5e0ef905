//! `GET /events`, `GET /events/{id}`, `POST /events/{id}/resend`.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
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
pub(super) const EVENTS: [Param; 8] = [
    PAGE[0],
    PAGE[1],
    PAGE[2],
    Param::new("type", ParamKind::Text, "Only events of exactly this type."),
    Param::new("unmatched", ParamKind::Flag, "Only inbox events that matched no event type."),
    Param::new("from", ParamKind::Time, "Received at or after this."),
    Param::new("to", ParamKind::Time, "Received before this."),
    Param::new("deliveries", ParamKind::Flag, "Show each event's deliveries with it."),
];

/// Parameters of the long poll.
pub(super) const WATCH: [Param; 1] =
    [Param::new("wait", ParamKind::Length, "Wait so long, at most 60s, for an event after the cursor. The order is ascending then.")];

/// Longest long poll.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Pause between two looks of one watcher when events arrive that are not for it.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Events read from the store at once: few until their size is known, because one may have a megabyte.
const FIRST_CHUNK: usize = 8;
const MAX_CHUNK: usize = 256;

/// Which part of the events of a workspace.
#[derive(Clone)]
pub(super) struct Query {
    pub workspace: i64,
    pub filter: EventFilter,
    pub range: Range,
}

/// Reads a page; answers whether there is more. A page ends early when its payloads grow beyond `max_bytes`.
pub(super) async fn page(state: &AppState, query: &Query) -> Result<(Vec<Arc<Event>>, bool), Problem> {
    let (limit, max_bytes) = (query.range.limit, state.settings.max_page_bytes);
    let mut events: Vec<Arc<Event>> = Vec::new();
    let mut bytes = 0;
    let mut range = query.range;
    while events.len() <= limit && bytes < max_bytes {
        let fitting = match events.len() {
            0 => FIRST_CHUNK,
            count => ((max_bytes - bytes) / (bytes / count).max(1)).clamp(1, MAX_CHUNK),
        };
        range.limit = fitting.min(limit + 1 - events.len());
        range.after = events.last().map(|event| event.sequence.0).or(query.range.after);
        let part = state.engine.history().events(query.workspace, query.filter.clone(), range).await?;
        let is_end = part.len() < range.limit;
        bytes += part.iter().map(|event| event.payload.len()).sum::<usize>();
        events.extend(part);
        if is_end {
            let more = events.len() > limit;
            events.truncate(limit);
            return Ok((events, more));
        }
    }
    events.truncate(limit);
    Ok((events, true))
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
    let after = match params.text("cursor") {
        Some("latest") if order == Order::Asc => Some(*state.engine.committed().borrow()),
        _ => params.cursor(List::Events, order)?,
    };
    let range = Range { order, after, limit: params.limit()?, from_ms: params.time("from")?, to_ms: params.time("to")? };
    let query = Query { workspace: caller.workspace(), filter: filter(&params)?, range };
    let (events, more) = match wait {
        None => page(&state, &query).await?,
        Some(wait) => watch(&state, &query, wait, closing.map(|Extension(c)| c).unwrap_or_default()).await?,
    };
    let last = events.last().map(|event| event.sequence.0);
    // A watcher always needs a place to go on from, even before the first event.
    let next = if wait.is_some() { last.or(after).or(Some(0)) } else { last.filter(|_| more) };
    let with_deliveries = params.flag("deliveries")?;
    let mut out = Vec::with_capacity(events.iter().map(|event| event.payload.len() + 256).sum::<usize>() + 64);
    out.extend_from_slice(b"{\"items\":[");
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let shown = if with_deliveries { Some(deliveries::of_event(&state, event).await?) } else { None };
        write_event(event, shown.as_deref(), &mut out);
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
    Ok(EventFilter { type_name, ..EventFilter::default() })
}

/// Reads a page as soon as there is one, or an empty one after `wait` or when the server closes.
async fn watch(state: &AppState, query: &Query, wait: Duration, closing: Closing) -> Result<(Vec<Arc<Event>>, bool), Problem> {
    let _permit = watcher_permit(state)?;
    let deadline = Instant::now() + wait;
    let mut committed = state.engine.committed();
    let mut is_first = true;
    loop {
        committed.borrow_and_update();
        let (events, more) = page(state, query).await?;
        if !events.is_empty() {
            return Ok((events, more));
        }
        // What woke this watcher was not for it: the next look comes after a pause.
        if !std::mem::take(&mut is_first) {
            tokio::time::sleep_until(deadline.min(Instant::now() + LOOK_PAUSE)).await;
        }
        tokio::select! {
            changed = committed.changed() => if changed.is_err() { return Ok((events, false)) },
            () = tokio::time::sleep_until(deadline) => return Ok((events, false)),
            () = closing.0.cancelled() => return Ok((events, false)),
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
    let deliveries = deliveries::of_event(&state, &event).await?;
    let mut out = Vec::new();
    write_event(&event, Some(&deliveries), &mut out);
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
