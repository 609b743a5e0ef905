//! Deliveries and their attempts: the log.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use posthaste_domain::delivery::{Attempt, Delivery, DeliveryState};
use posthaste_domain::event::Event;
use posthaste_domain::id::parse_delivery_id;
use posthaste_domain::resource::{Kind, Scope, Target, TargetStatus};
use posthaste_store::{DeliveryFilter, Range};
use tokio::time::Instant;

use super::api::{Api, Op};
use super::events::PATIENCE;
use super::view::DeliveryView;
use super::{json, list_page};
use crate::AppState;
use crate::auth::{Manager, Reader};
use crate::codes::Code;
use crate::cursor::List;
use crate::input::{Id, PAGE, Param, ParamKind, Params};
use crate::problem::Problem;

const STATES: &[&str] = &["queued", "held", "delivered", "failed", "cancelled"];

const LIST: [Param; 9] = [
    PAGE[0],
    PAGE[1],
    PAGE[2],
    Param::new("state", ParamKind::OneOf(STATES), "Only in these states; several with commas between."),
    Param::new(
        "scheduled",
        ParamKind::Flag,
        "Only pending ones that wait for a time: for the one they were asked for, or for their next attempt.",
    ),
    Param::new("target_id", ParamKind::Text, "Only of this target."),
    Param::new("type", ParamKind::Text, "Only of events of exactly this type."),
    Param::new("from", ParamKind::Time, "Events received at or after this."),
    Param::new("to", ParamKind::Time, "Events received before this."),
];

/// Deliveries looked at for one page when states must be told apart that the journal does not tell apart.
const MAX_LOOKED_AT: usize = 20_000;

/// Events of a batch that one delivery shows.
const MAX_SHOWN_EVENTS: usize = 1000;

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("deliveries", "Each event for each subscription, with every attempt.");
    api.add(Op::get("/deliveries", "listDeliveries", "List").scope(Scope::Read).query(&[&LIST]).page_of::<DeliveryView>(), list);
    api.add(
        Op::get("/deliveries/{id}", "readDelivery", "Read one, with all its attempts")
            .scope(Scope::Read)
            .answer::<DeliveryView>(StatusCode::OK, "The delivery."),
        read,
    );
    api.add(
        Op::post("/deliveries/{id}/resend", "resendDelivery", "Send a finished delivery again")
            .about("The id stays, the schedule begins anew.")
            .scope(Scope::Manage)
            .answer::<DeliveryView>(StatusCode::ACCEPTED, "It is queued."),
        resend,
    );
    api.add(
        Op::post("/deliveries/{id}/cancel", "cancelDelivery", "Cancel a pending delivery")
            .about("An attempt that is under way may still arrive.")
            .scope(Scope::Manage)
            .answer::<DeliveryView>(StatusCode::OK, "It is cancelled."),
        cancel,
    );
}

/// The deliveries of events with how their last attempts ended.
pub(super) async fn of_events(state: &AppState, workspace: i64, events: &[Arc<Event>]) -> Result<Vec<Vec<DeliveryView>>, Problem> {
    let sequences = events.iter().map(|event| event.sequence).collect();
    let deliveries = state.engine.history().deliveries_of_each(workspace, sequences).await?;
    let counts: Vec<usize> = deliveries.iter().map(Vec::len).collect();
    let mut all = views(state, &deliveries.concat()).await?.into_iter();
    Ok(counts.into_iter().map(|count| all.by_ref().take(count).collect()).collect())
}

async fn views(state: &AppState, deliveries: &[Delivery]) -> Result<Vec<DeliveryView>, Problem> {
    let tried = deliveries.iter().filter(|delivery| delivery.attempts > 0).map(|delivery| delivery.key).collect::<Vec<_>>();
    let attempts = if tried.is_empty() { Vec::new() } else { state.engine.history().last_attempts(tried).await? };
    let mut attempts = attempts.into_iter();
    let mut views = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let last = if delivery.attempts == 0 { None } else { attempts.next().flatten() };
        let newer = match &last {
            Some(last) if is_behind(delivery, last) => state.engine.history().delivery(delivery.workspace, delivery.key).await?,
            _ => None,
        };
        views.push(DeliveryView::of(&state.engine, newer.as_ref().unwrap_or(delivery)).with_last(last.as_ref()));
    }
    Ok(views)
}

/// Whether an attempt was settled after the delivery was read: both are settled in one step, and read in two.
fn is_behind(delivery: &Delivery, last: &Attempt) -> bool {
    last.number > delivery.attempts
}

async fn list(State(state): State<AppState>, Reader(caller): Reader, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), &LIST)?;
    let order = params.order()?;
    let wanted = params.words("state", STATES)?;
    let (after, limit) = (params.cursor(List::Deliveries, order)?, params.limit()?);
    let range = Range { order, after, limit: limit + 1, from_ms: params.time("from")?, to_ms: params.time("to")? };
    let Some(filter) = filter(&state, caller.workspace(), &params, &wanted)? else {
        return Ok(list_page::<DeliveryView>(List::Deliveries, order, &[], None));
    };
    let (found, next) = search(&state, caller.workspace(), filter, range, &wanted).await?;
    Ok(list_page(List::Deliveries, order, &views(&state, &found).await?, next))
}

/// The number of the target that a list's filter names. Deleted targets keep theirs, and their deliveries are still there.
pub(super) fn target_number(state: &AppState, workspace: i64, id: &str) -> Result<i64, Problem> {
    let number = state.engine.number_of(workspace, id).filter(|_| id.starts_with(Kind::Target.prefix()));
    number.ok_or_else(|| Problem::new(Code::InvalidParameter, "target_id: there is no such target").at("target_id"))
}

/// What the journal can tell apart of what is wanted; `None` when nothing can be found.
fn filter(state: &AppState, workspace: i64, params: &Params, wanted: &[&str]) -> Result<Option<DeliveryFilter>, Problem> {
    let target = match params.text("target_id") {
        Some(id) => Some(target_number(state, workspace, id)?),
        None => None,
    };
    let mut targets = target.map(|number| vec![number]);
    let is_of = |number: &i64| target.is_none_or(|target| target == *number);
    // A list of nothing but held (or waiting) deliveries need not look at targets that have none of them.
    if let [only @ ("held" | "queued")] = wanted {
        let entries = state.engine.list::<Target>(workspace);
        let held: HashSet<i64> =
            entries.iter().filter(|entry| entry.doc.status != TargetStatus::Active).map(|entry| entry.number).collect();
        if *only == "held" {
            targets = Some(held.into_iter().filter(is_of).collect());
        } else if !held.is_empty() {
            // What a deleted target is still owed is held by nobody.
            let all = state.engine.target_numbers(workspace).into_iter();
            targets = Some(all.filter(|number| is_of(number) && !held.contains(number)).collect());
        }
    }
    if targets.as_ref().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    let mut states: Vec<DeliveryState> = Vec::new();
    for word in wanted {
        let codes: &[DeliveryState] = match *word {
            "delivered" => &[DeliveryState::Delivered],
            "failed" => &[DeliveryState::Failed],
            "cancelled" => &[DeliveryState::Cancelled],
            _ => &[DeliveryState::Queued, DeliveryState::Scheduled],
        };
        states.extend(codes.iter().filter(|code| !states.contains(code)).copied().collect::<Vec<_>>());
    }
    if params.flag("scheduled")? {
        let is_possible = states.is_empty() || states.contains(&DeliveryState::Scheduled);
        if !is_possible {
            return Ok(None);
        }
        states = vec![DeliveryState::Scheduled];
    }
    let states = if states.is_empty() { None } else { Some(states) };
    Ok(Some(DeliveryFilter { targets, states, type_name: exact_type(params)? }))
}

/// The `type` parameter of a list, which is a key of the journal: it must be exact.
pub(super) fn exact_type(params: &Params) -> Result<Option<String>, Problem> {
    match params.text("type") {
        Some(name) if name.contains('*') => {
            let detail = "type: wildcards are not taken here; /posthaste/v1/events/stream takes them";
            Err(Problem::new(Code::InvalidParameter, detail).at("type"))
        }
        name => Ok(name.map(str::to_owned)),
    }
}

/// Finds a page of deliveries in the wanted states, and where the next one begins.
async fn search(
    state: &AppState,
    workspace: i64,
    filter: DeliveryFilter,
    mut range: Range,
    wanted: &[&str],
) -> Result<(Vec<Delivery>, Option<i64>), Problem> {
    let deadline = Instant::now() + PATIENCE;
    let limit = range.limit - 1;
    let (mut found, mut looked_at): (Vec<Delivery>, usize) = (Vec::new(), 0);
    loop {
        let piece = state.engine.history().deliveries_piece(workspace, filter.clone(), range).await?;
        looked_at += piece.items.len();
        found.extend(piece.items.into_iter().filter(|d| wanted.is_empty() || wanted.contains(&state.engine.public_state(d))));
        if found.len() > limit {
            found.truncate(limit);
            let next = found.last().map(|delivery| delivery.key.0);
            return Ok((found, next));
        }
        if piece.rest.is_none() || looked_at >= MAX_LOOKED_AT || Instant::now() >= deadline {
            return Ok((found, piece.rest));
        }
        range.after = piece.rest;
    }
}

async fn find(state: &AppState, workspace: i64, id: &str) -> Result<Delivery, Problem> {
    let not_found = || Problem::not_found("delivery", id);
    let (key, received_ms) = parse_delivery_id(id).ok_or_else(not_found)?;
    let delivery = state.engine.history().delivery(workspace, key).await?;
    delivery.filter(|delivery| delivery.received_ms == received_ms).ok_or_else(not_found)
}

async fn read(State(state): State<AppState>, Reader(caller): Reader, Id(id): Id) -> Result<Response, Problem> {
    let mut delivery = find(&state, caller.workspace(), &id).await?;
    let attempts = state.engine.history().attempts(delivery.key).await?;
    // What was settled meanwhile is read again, so that no attempt stands beside the state before it.
    if attempts.last().is_some_and(|last| is_behind(&delivery, last)) {
        delivery = find(&state, caller.workspace(), &id).await?;
    }
    let mut view = DeliveryView::of(&state.engine, &delivery).with_attempts(&attempts);
    if delivery.is_batch {
        view = view.with_events(state.engine.members(delivery.key, MAX_SHOWN_EVENTS).await?);
    }
    Ok(json(StatusCode::OK, &view))
}

async fn resend(State(state): State<AppState>, Manager(caller): Manager, Id(id): Id) -> Result<Response, Problem> {
    let delivery = find(&state, caller.workspace(), &id).await?;
    let sent = state.engine.resend(caller.workspace(), delivery.key).await?;
    Ok(json(StatusCode::ACCEPTED, &DeliveryView::of(&state.engine, &sent)))
}

async fn cancel(State(state): State<AppState>, Manager(caller): Manager, Id(id): Id) -> Result<Response, Problem> {
    let delivery = find(&state, caller.workspace(), &id).await?;
    let cancelled = state.engine.cancel(caller.workspace(), delivery.key).await?;
    Ok(json(StatusCode::OK, &DeliveryView::of(&state.engine, &cancelled)))
}
