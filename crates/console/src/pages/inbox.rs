//! The inbox: events as they arrive, with search and filters.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::HeaderMap;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{Failure, Page as List, segment};
use crate::form::Draft;
use crate::query::{Query, link};
use crate::session::Seat;
use crate::ui::{self, Choice, Field, Head, Page, Pager};
use crate::{Answer, Console, live};

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/inbox", get(list)).route("/inbox/live", get(stream)).route("/inbox/{id}/outcome", get(outcome_part))
}

/// Rows of a page, and of a live list.
const ROWS: usize = 50;
/// Characters of a payload in a row.
const PREVIEW: usize = 120;

/// An event as the API lists it.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub id: String,
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    pub source: Source,
    pub received_at: String,
    /// The payload, byte for byte.
    pub data: Box<RawValue>,
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Source {
    pub via: String,
    pub key: Option<String>,
    pub ip: Option<String>,
}

/// A delivery as a list shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Delivery {
    pub id: String,
    pub subscription_id: Option<String>,
    pub target_id: Option<String>,
    pub state: String,
    pub attempt_count: u32,
    pub next_attempt_at: Option<String>,
    pub updated_at: String,
    #[serde(default)]
    pub attempts: Vec<Attempt>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Attempt {
    pub number: u32,
    pub at: String,
    pub duration_ms: f64,
    pub status: Option<u16>,
    pub error: Option<String>,
    pub message: Option<String>,
    pub fault: Option<String>,
    pub request: String,
    pub response: String,
    pub response_body: String,
}

/// An accepted event.
#[derive(Deserialize)]
pub(super) struct Accepted {
    pub id: String,
}

/// Publishes an event whose payload keeps its bytes, to be delivered no earlier than `deliver_at`.
pub(super) async fn publish(seat: &Seat, type_name: &str, data: &str, deliver_at: Option<&str>) -> Result<Accepted, Failure> {
    let name = serde_json::Value::from(type_name);
    // Read before it is put into the document around it: a mistake has its place in what was typed, and nothing typed gets out of its place.
    let data: Box<RawValue> = super::sample::read("data", if data.trim().is_empty() { "null" } else { data })?;
    let at = deliver_at.map(|at| format!(",\"deliver_at\":{}", serde_json::Value::from(at))).unwrap_or_default();
    seat.api.post_text("/events", format!("{{\"type\":{name}{at},\"data\":{data}}}")).await
}

/// Where a stream goes on that begins with what comes after this page.
pub(super) async fn position(seat: &Seat) -> Result<String, Failure> {
    let page: List<serde::de::IgnoredAny> = seat.api.get("/events?cursor=latest&wait=1ms&limit=1").await?;
    Ok(page.next.unwrap_or_default())
}

const STATES: [Choice<'static>; 7] = [
    Choice::new("", "Any"),
    Choice::new("queued", "Queued"),
    Choice::new("held", "Held"),
    Choice::new("delivered", "Delivered"),
    Choice::new("failed", "Failed"),
    Choice::new("cancelled", "Cancelled"),
    Choice::new("none", "No delivery"),
];
/// Every way in which events come; each is what some part of the server calls itself.
const SOURCES: [Choice<'static>; 9] = [
    Choice::new("", "Any"),
    Choice::new("api", "Native API"),
    Choice::new("inbox", "Inbox API"),
    Choice::new("console", "Console"),
    Choice::new("mailgun", "Mailgun API"),
    Choice::new("msgine", "MsGine API"),
    Choice::new("carrier", "Carriers: what became of messages"),
    Choice::new("tracking", "Tracking: what recipients did"),
    Choice::new("system", "This server"),
];
const FILTERS: [&str; 6] = ["search", "type", "source", "state", "from", "to"];

async fn list(seat: Seat) -> Answer {
    let query = &seat.query;
    let position = position(&seat).await?;
    let path = query.pass(&format!("/events?limit={ROWS}&deliveries=true"), &["search", "type", "source", "state", "from", "to", "cursor"]);
    let (events, refused) = match seat.api.get::<List<Event>>(&path).await {
        Ok(events) => (events, None),
        // A filter that cannot be used is shown at its field, above an empty list.
        Err(failure) if failure.is_about_a_filter() => (List { items: Vec::new(), next: None }, Some(failure)),
        Err(failure) => return Err(failure),
    };
    let is_filtered = query.any(&FILTERS);
    // Old events do not arrive, and the state of a new one is not known yet.
    let is_live = !query.any(&["cursor", "to", "state"]) && refused.is_none();
    let live = query.pass("/console/inbox/live", &["type", "source", "search"]);
    let content = html! {
        (filters(query, refused.as_ref(), is_filtered))
        section.panel-box data-hold {
            @if is_live {
                header {
                    (ui::live_sign())
                    button.button.quiet.slim.needs-js type="button" data-pause aria-pressed="false" { (ui::icon("pause")) span.words { "Hold" } }
                }
                (live_list(&events.items, &live, &position, ROWS))
            } @else {
                (ui::table("inbox", "Events", &HEADS, rows(&events.items)))
            }
            @if events.items.is_empty() { (nothing(is_filtered, events.next.is_some())) }
            @let pager = Pager { query, next: events.next.as_deref(), shown: events.items.len(), noun: "events" };
            @if is_live { (ui::live_pager(&pager, "inbox")) } @else { (ui::pager(&pager)) }
        }
    };
    let actions = ui::button_link("/console/inbox/send", "primary", "send", "Send event", true);
    let lede = html! { "Everything this workspace received, newest first, with what became of it." };
    Ok(Page::new("Inbox", "/console/inbox").lede(lede).actions(actions).show(&seat, content))
}

fn filters(query: &Query, refused: Option<&Failure>, is_filtered: bool) -> Markup {
    let mut draft = FILTERS.iter().fold(Draft::new(), |draft, name| draft.set(name, query.text(name)));
    if let Some(failure) = refused {
        draft = draft.refused(failure);
    }
    let fields = html! {
        (Field::input(&draft, "search", "Text in the payload", "search").search())
        (Field::text(&draft, "type", "Type").mono())
        (Field::select(&draft, "source", "Source", &SOURCES).submits())
        (Field::select(&draft, "state", "State", &STATES).submits())
        (Field::time(&draft, "from", "From"))
        (Field::time(&draft, "to", "To"))
    };
    ui::filters("Filter the inbox", fields, is_filtered.then_some("/console/inbox"))
}

fn nothing(is_filtered: bool, has_more: bool) -> Markup {
    let next = html! { a.button href="/console/inbox" { "All events" } };
    html! { div data-empty-of="inbox" {
        @match (is_filtered, has_more) {
            (true, true) => (ui::empty("search", "Nothing found yet", "The newest events were searched. The next page goes on further back.", next)),
            (true, false) => (ui::empty("search", "Nothing found", "No event of this workspace fits these filters.", next)),
            _ => (ui::empty("inbox", "The inbox is empty", "Events appear here the moment they are accepted.",
                html! { a.button.primary href="/console/start" { "Send a first event" } })),
        }
    } }
}

const HEADS: [Head<'static>; 5] =
    [Head::new("Received"), Head::new("Type"), Head::opt("Source"), Head::opt("Payload"), Head::new("Outcome")];

/// A list to which new events are added at the top. `position` is where the stream goes on.
pub(super) fn live_list(events: &[Event], live: &str, position: &str, keep: usize) -> Markup {
    let live = link(live, [("cursor", position)]);
    html! {
        div sse-connect=(live) {
            (ui::live_table("inbox", "Events", &HEADS, rows(events), keep))
        }
    }
}

fn rows(events: &[Event]) -> Markup {
    html! { @for event in events { (row(event)) } }
}

fn row(event: &Event) -> Markup {
    row_with(event, outcome(event))
}

fn row_with(event: &Event, outcome: Markup) -> Markup {
    let path = format!("/console/inbox/{}", segment(&event.id));
    html! {
        // A list goes on after an event, too.
        tr id=(format!("e-{}", event.id)) data-cursor=(event.id) {
            td.nowrap { a.main-link href=(path) { (ui::time(&event.received_at)) } }
            td { (type_name(event.type_name.as_deref())) }
            td.opt { (event.source.via) }
            td.opt { div.clip { (preview(event.data.get())) } }
            td.nowrap { (outcome) }
        }
    }
}

/// The type of an event, or that it has none.
pub(super) fn type_name(name: Option<&str>) -> Markup {
    html! { @match name { Some(name) => code { (name) }, None => span.muted { "No type matched" } } }
}

/// The beginning of a payload on one line.
fn preview(data: &str) -> String {
    let mut out: String = data.chars().take(PREVIEW).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if data.chars().nth(PREVIEW).is_some() {
        out.push('…');
    }
    out
}

/// What became of an event, in one badge: the worst of its deliveries, and how many there are.
fn outcome(event: &Event) -> Markup {
    let states = ["failed", "held", "queued", "cancelled", "delivered"];
    let worst = states.into_iter().find(|state| event.deliveries.iter().any(|delivery| delivery.state == *state));
    html! {
        @match worst {
            None => span.muted.small { "No delivery" },
            Some(state) => { (ui::status(state)) @if event.deliveries.len() > 1 { " " span.muted.small { "of " (event.deliveries.len()) } } }
        }
    }
}

async fn stream(State(console): State<Console>, seat: Seat, headers: HeaderMap) -> Response {
    let path = seat.query.pass("/events/stream", &["type", "source", "search", "cursor"]);
    let row = |json: &str| serde_json::from_str(json).ok().map(|event| arrived(&event));
    live::events(&console, &seat, &path, headers.get("last-event-id"), row).await
}

/// How often a row that arrived asks what became of its event, and how long it waits before each time, in seconds.
const ASKS: [u32; 4] = [1, 3, 10, 30];

/// A row of an event that arrived a moment ago. Its outcome comes a little later.
fn arrived(event: &Event) -> Markup {
    row_with(event, later(&event.id, 0, html! { span.muted.small { "…" } }))
}

fn later(id: &str, asked: usize, now: Markup) -> Markup {
    let Some(wait) = ASKS.get(asked) else { return now };
    let path = format!("/console/inbox/{}/outcome?asked={asked}", segment(id));
    html! { span hx-get=(path) hx-trigger=(format!("load delay:{wait}s")) hx-swap="outerHTML" { (now) } }
}

/// The outcome of one event, for the row of a live list. While it is open, it asks again, some times.
async fn outcome_part(seat: Seat, Path(id): Path<String>) -> Answer {
    let event: Event = seat.api.get(&format!("/events/{}", segment(&id))).await?;
    let asked: usize = seat.query.text("asked").parse().unwrap_or(ASKS.len());
    let is_open = event.deliveries.iter().any(|delivery| delivery.state == "queued");
    let now = outcome(&event);
    Ok(if is_open { later(&event.id, asked + 1, now) } else { now }.into_response())
}
