//! Deliveries: the log of what went where, and one delivery with its attempts.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use maud::{Markup, html};
use serde::Deserialize;

use super::event;
use super::inbox::{self, Attempt, Event};
use super::targets::{self, Target};
use crate::api::{Api, Failure, Page as List, segment};
use crate::form::Draft;
use crate::query::link;
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Head, Page, Pager, Step, Tone};
use crate::{Answer, Console, go, live};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/deliveries", get(list))
        .route("/deliveries/{id}", get(show))
        .route("/deliveries/{id}/live", get(watch))
        .route("/deliveries/{id}/resend", post(resend))
        .route("/deliveries/{id}/cancel", post(cancel))
}

/// Rows of the list.
const ROWS: usize = 50;
/// Targets that the filter offers.
const MOST_TARGETS: usize = 1000;
/// Events of a batch that the page of a delivery names.
const MOST_EVENTS: usize = 100;

/// A delivery as a list shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub id: String,
    event_id: String,
    target_id: Option<String>,
    pub state: String,
    attempt_count: u32,
    is_batch: bool,
    next_attempt_at: Option<String>,
    received_at: String,
    pub last_attempt: Option<Last>,
}

/// How an attempt ended.
#[derive(Debug, Deserialize)]
pub(super) struct Last {
    pub at: String,
    pub duration_ms: f64,
    status: Option<u16>,
    error: Option<String>,
}

/// A delivery whole.
#[derive(Debug, Deserialize)]
struct Whole {
    #[serde(flatten)]
    row: Row,
    subscription_id: Option<String>,
    event_ids: Option<Vec<String>>,
    updated_at: String,
    first_attempt_at: Option<String>,
    #[serde(default)]
    attempts: Vec<Attempt>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    name: String,
}

/// Whether nothing more happens by itself.
pub(super) fn is_final(state: &str) -> bool {
    matches!(state, "delivered" | "failed" | "cancelled")
}

/// The address of a delivery's page.
fn address(id: &str) -> String {
    format!("/console/deliveries/{}", segment(id))
}

/// Deliveries as a table. `names` of targets by their ids make a column; without them all are of one target.
pub(super) fn table(rows: &[Row], names: Option<&BTreeMap<String, String>>) -> Markup {
    let mut heads = vec![Head::new("Received"), Head::new("State")];
    if names.is_some() {
        heads.push(Head::new("Target"));
    }
    heads.extend([Head::opt("Event"), Head::num("Attempts"), Head::new("Last answer"), Head::opt("Next attempt")]);
    let cells = html! {
        @for row in rows {
            tr {
                td.nowrap { a.main-link href=(address(&row.id)) { (ui::time(&row.received_at)) } }
                td { (ui::status(&row.state)) @if row.is_batch { " " span.small.muted { "batch" } } }
                @if let Some(names) = names { td { (target_link(row.target_id.as_deref(), names)) } }
                td.opt { a href=(format!("/console/inbox/{}", segment(&row.event_id))) { "Event" } }
                td.num { (row.attempt_count) }
                td { (answer(row.last_attempt.as_ref())) }
                td.opt.nowrap { @if let Some(at) = &row.next_attempt_at { (ui::ago(at)) } @else { "–" } }
            }
        }
    };
    ui::table("deliveries", "Deliveries", &heads, cells)
}

fn target_link(id: Option<&str>, names: &BTreeMap<String, String>) -> Markup {
    html! {
        @match id.map(|id| (id, names.get(id))) {
            Some((id, Some(name))) => a href=(targets::address(id)) { (name) },
            _ => span.muted { "deleted since" },
        }
    }
}

fn answer(last: Option<&Last>) -> Markup {
    html! {
        @match last {
            None => "–",
            Some(last) => {
                @if let Some(error) = &last.error { span.bad { (error) } @if let Some(status) = last.status { " (" (status) ")" } }
                @else if let Some(status) = last.status { (status) } @else { "taken" }
                span.small.muted.nowrap { " in " (ui::duration_ms(last.duration_ms)) }
            }
        }
    }
}

const STATES: [Choice<'static>; 6] = [
    Choice::new("", "Any"),
    Choice::new("queued", "Queued"),
    Choice::new("held", "Held"),
    Choice::new("delivered", "Delivered"),
    Choice::new("failed", "Failed"),
    Choice::new("cancelled", "Cancelled"),
];
const FILTERS: [&str; 5] = ["state", "target_id", "type", "from", "to"];

async fn list(seat: Seat) -> Answer {
    let query = &seat.query;
    let is_scheduled = query.given("scheduled").is_some();
    let path = query.pass(&format!("/deliveries?limit={ROWS}"), &["state", "target_id", "type", "from", "to", "scheduled", "cursor"]);
    let (rows, refused) = match seat.api.get::<List<Row>>(&path).await {
        Ok(rows) => (rows, None),
        Err(failure) if failure.is_about_a_filter() => (List { items: Vec::new(), next: None }, Some(failure)),
        Err(failure) => return Err(failure),
    };
    let all: List<Named> = seat.api.get(&format!("/targets?limit={MOST_TARGETS}&order=asc")).await?;
    let mut names: BTreeMap<String, String> = all.items.into_iter().map(|target| (target.id, target.name)).collect();
    // The list of targets may be cut; what the rows and the filter name is looked up by itself.
    let named: BTreeSet<&str> = rows.items.iter().filter_map(|row| row.target_id.as_deref()).chain(query.given("target_id")).collect();
    for id in named {
        if !names.contains_key(id)
            && let Some(Named { id, name }) = seat.api.find(&format!("/targets/{}", segment(id))).await?
        {
            names.insert(id, name);
        }
    }
    let is_cut = all.next.is_some();
    let is_filtered = query.any(&FILTERS);
    let mut draft = FILTERS.iter().fold(Draft::new(), |draft, name| draft.set(name, query.text(name)));
    if let Some(failure) = &refused {
        draft = draft.refused(failure);
    }
    let choices: Vec<Choice<'_>> =
        std::iter::once(Choice::new("", "Any")).chain(names.iter().map(|(id, name)| Choice::new(id, name))).collect();
    let clear = if is_scheduled { "/console/deliveries?scheduled=true" } else { "/console/deliveries" };
    let fields = html! {
        @if is_scheduled { input type="hidden" name="scheduled" value="true"; }
        @else { (Field::select(&draft, "state", "State", &STATES).submits()) }
        @let targets = Field::select(&draft, "target_id", "Target", &choices).submits();
        @if is_cut { (targets.hint(format!("The first {MOST_TARGETS}. For another one go to its page."))) } @else { (targets) }
        (Field::text(&draft, "type", "Event type").mono())
        (Field::time(&draft, "from", "From"))
        (Field::time(&draft, "to", "To"))
    };
    let content = html! {
        (tabs(if is_scheduled { "Scheduled" } else { "All" }))
        (ui::filters("Filter the deliveries", fields, is_filtered.then_some(clear)))
        section.panel-box {
            @if rows.items.is_empty() { (nothing(is_filtered, is_scheduled, rows.next.is_some())) } @else { (table(&rows.items, Some(&names))) }
            (ui::pager(&Pager { query, next: rows.next.as_deref(), shown: rows.items.len(), noun: "deliveries" }))
        }
    };
    let again = link(
        "/console/replays/new",
        ["state", "target_id", "type", "from", "to"].into_iter().filter_map(|name| Some((name, query.given(name)?))),
    );
    let actions = ui::button_link(&again, "", "again", "Send many again", false);
    let lede = if is_scheduled {
        html! { "What waits for a time: the one it was asked for, or its next attempt." }
    } else {
        html! { "Each event for each subscription that wanted it, with every attempt." }
    };
    Ok(Page::new("Deliveries", "/console/deliveries").lede(lede).actions(actions).show(&seat, content))
}

/// The views of deliveries.
pub(super) fn tabs(current: &str) -> Markup {
    let all = [
        ("All", "/console/deliveries".to_owned()),
        ("Scheduled", "/console/deliveries?scheduled=true".to_owned()),
        ("Replays", "/console/replays".to_owned()),
    ];
    ui::tabs("Deliveries", current, &all)
}

fn nothing(is_filtered: bool, is_scheduled: bool, has_more: bool) -> Markup {
    let next = html! { a.button href="/console/deliveries" { "All deliveries" } };
    match (is_filtered, has_more) {
        (_, true) => {
            ui::empty("search", "Nothing found yet", "The newest deliveries were searched. The next page goes on further back.", next)
        }
        (true, _) => ui::empty("search", "Nothing found", "No delivery of this workspace fits these filters.", next),
        _ if is_scheduled => ui::empty("wait", "Nothing is scheduled", "No delivery waits for a time.", next),
        _ => ui::empty(
            "deliveries",
            "Nothing was delivered yet",
            "A delivery is made when an event arrives that a subscription wants.",
            html! { a.button.primary href="/console/targets/new" { "Create a target" } a.button href="/console/inbox/send" { "Send an event" } },
        ),
    }
}

/// A delivery with what it carries and where it goes.
struct View {
    whole: Whole,
    target: Option<Target>,
    event: Option<Event>,
}

async fn find(api: &Api, id: &str) -> Result<Whole, Failure> {
    api.get(&format!("/deliveries/{}", segment(id))).await
}

async fn target_of(api: &Api, row: &Row) -> Result<Option<Target>, Failure> {
    match &row.target_id {
        Some(target) => api.find(&format!("/targets/{}", segment(target))).await,
        None => Ok(None),
    }
}

async fn view(api: &Api, id: &str) -> Result<View, Failure> {
    let whole = find(api, id).await?;
    let target = target_of(api, &whole.row).await?;
    let event = api.find(&format!("/events/{}", segment(&whole.row.event_id))).await?;
    Ok(View { whole, target, event })
}

async fn show(seat: Seat, Path(id): Path<String>) -> Answer {
    let view = view(&seat.api, &id).await?;
    let (row, address) = (&view.whole.row, address(&id));
    let type_name = view.event.as_ref().and_then(|event| event.type_name.as_deref());
    let content = html! {
        div.columns.main-side {
            div.stack {
                section.panel-box {
                    header { h2 { "Attempts" } (ui::live_sign()) }
                    div.body sse-connect=(format!("{address}/live")) sse-swap="part" { (part(&seat, &view.whole, view.target.as_ref())) }
                }
                @if let Some(event) = &view.event { (ui::section(if row.is_batch { "Payload of its first event" } else { "Payload" }, event::payload(event))) }
            }
            div.stack {
                (ui::section("Delivery", facts(&view)))
                @if let Some(ids) = &view.whole.event_ids { (ui::section("Events of the batch", batch(ids))) }
            }
        }
    };
    let title = type_name.map_or_else(|| "Delivery".to_owned(), |name| format!("Delivery of {name}"));
    let page = Page::new(&title, "/console/deliveries").under(&[("Deliveries", "/console/deliveries")]);
    Ok(page.lede(html! { "Received " (ui::full_time(&row.received_at)) }).show(&seat, content))
}

/// State, attempts and what can be done: the live part.
fn part(seat: &Seat, whole: &Whole, target: Option<&Target>) -> Markup {
    let address = address(&whole.row.id);
    let steps: Vec<Step> = whole.attempts.iter().map(|one| event::attempt(&whole.row.id, one)).collect();
    html! {
        div.row.apart {
            span.row {
                (ui::status(&whole.row.state))
                @if let Some(at) = &whole.row.next_attempt_at { span.small { "next attempt " (ui::ago(at)) ", at " (ui::time(at)) } }
            }
            @if is_final(&whole.row.state) { (ui::button(&seat.csrf, &format!("{address}/resend"), "", "again", "Resend")) }
            @else { (ui::button(&seat.csrf, &format!("{address}/cancel"), "danger", "stop", "Cancel")) }
        }
        @if let Some(target) = target.filter(|target| target.status != "active" && !is_final(&whole.row.state)) {
            (ui::standing(Tone::Warn, html! { "The target is " (target.status) ": this delivery is held. " a href=(target.address()) { "To the target" } }))
        }
        @if steps.is_empty() { p.muted { "No attempt yet." } } @else { (ui::timeline("Attempts", &steps)) }
    }
}

fn facts(view: &View) -> Markup {
    let whole = &view.whole;
    let mut facts = vec![
        ("Id", html! { code { (whole.row.id) } }),
        (
            "Target",
            html! { @match &view.target { Some(target) => { a href=(target.address()) { (target.name) } ", " (targets::channel_name(&target.channel)) }, None => span.muted { "deleted since" } } },
        ),
        ("Event", html! { a href=(format!("/console/inbox/{}", segment(&whole.row.event_id))) { code { (whole.row.event_id) } } }),
        ("Type", inbox::type_name(view.event.as_ref().and_then(|event| event.type_name.as_deref()))),
        ("Attempts", html! { (whole.row.attempt_count) }),
        ("Changed", ui::full_time(&whole.updated_at)),
    ];
    if let Some(at) = &whole.first_attempt_at {
        facts.push(("First attempt", ui::full_time(at)));
    }
    if let (Some(subscription), Some(target)) = (&whole.subscription_id, &view.target) {
        facts.push((
            "Because of",
            html! { a href=(format!("{}/subscriptions/{}", target.address(), segment(subscription))) { "this subscription" } },
        ));
    }
    ui::facts(&facts)
}

fn batch(ids: &[String]) -> Markup {
    html! {
        p { (ids.len()) " events" }
        ul { @for id in ids.iter().take(MOST_EVENTS) { li { a href=(format!("/console/inbox/{}", segment(id))) { code { (id) } } } } }
        @if ids.len() > MOST_EVENTS { p.muted { "and " (ids.len() - MOST_EVENTS) " more" } }
    }
}

async fn watch(State(console): State<Console>, seat: Seat, Path(id): Path<String>) -> Response {
    live::watch(&console, seat, move |seat| {
        let id = id.clone();
        async move {
            let whole = find(&seat.api, &id).await?;
            let is_over = is_final(&whole.row.state);
            // An attempt may be told of a little before it can be read.
            let has_all = whole.attempts.len() >= whole.row.attempt_count as usize;
            // A target matters to what is still open.
            let target = if is_over { None } else { target_of(&seat.api, &whole.row).await? };
            Ok(live::Part::from(part(&seat, &whole, target.as_ref())).last_if(is_over && has_all))
        }
    })
    .await
}

async fn resend(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    seat.api.act(&format!("/deliveries/{}/resend", segment(&id))).await?;
    Ok(go(&Flash::Resent.to(&address(&id))))
}

async fn cancel(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    seat.api.act(&format!("/deliveries/{}/cancel", segment(&id))).await?;
    Ok(go(&Flash::Cancelled.to(&address(&id))))
}
