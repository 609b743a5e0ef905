//! Bulk replays: which deliveries, how many, and how far the job is.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::deliveries::tabs;
use super::targets;
use crate::api::{Api, Failure, Page as List, segment};
use crate::form::{Draft, Form};
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Head, Page, Pager, Tone, count, errors};
use crate::{Answer, Console, go, live};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/replays", get(list))
        .route("/replays/new", get(new).post(start))
        .route("/replays/{id}", get(show))
        .route("/replays/{id}/live", get(watch))
        .route("/replays/{id}/cancel", post(cancel))
}

/// Rows of the list.
const ROWS: usize = 50;
/// Targets that the form offers.
const MOST_TARGETS: usize = 1000;

#[derive(Debug, Deserialize)]
struct Replay {
    id: String,
    target_id: Option<String>,
    event_type: Option<String>,
    states: Vec<String>,
    from: Option<String>,
    to: Option<String>,
    state: String,
    total: Option<u64>,
    scanned: u64,
    resent: u64,
    created_at: String,
    updated_at: String,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Count {
    count: u64,
    is_all: bool,
}

impl Replay {
    fn address(&self) -> String {
        format!("/console/replays/{}", segment(&self.id))
    }

    /// What it sends again, in words.
    fn what(&self) -> String {
        let states = self.states.join(", ");
        match &self.event_type {
            Some(name) => format!("{states} deliveries of {name}"),
            None => format!("{states} deliveries"),
        }
    }
}

async fn list(seat: Seat) -> Answer {
    let query = &seat.query;
    let replays: List<Replay> = seat.api.get(&query.pass(&format!("/replays?limit={ROWS}"), &["cursor"])).await?;
    let heads = [Head::new("Started"), Head::new("What"), Head::new("State"), Head::num("Sent again")];
    let rows = html! {
        @for replay in &replays.items {
            tr {
                td.nowrap { a.main-link href=(replay.address()) { (ui::time(&replay.created_at)) } }
                td { (replay.what()) }
                td { (ui::status(&replay.state)) }
                td.num { (count(replay.resent)) }
            }
        }
    };
    let new = html! { a.button.primary href="/console/replays/new" { "Send many again" } };
    let content = html! {
        (tabs("Replays"))
        section.panel-box {
            @if replays.items.is_empty() {
                (ui::empty("again", "No replay yet", "After a receiver was down, a replay sends everything again that it missed.", new))
            } @else { (ui::table("replays", "Replays", &heads, rows)) }
            (ui::pager(&Pager { query, next: replays.next.as_deref(), shown: replays.items.len(), noun: "replays" }))
        }
    };
    let actions = ui::button_link("/console/replays/new", "primary", "again", "Send many again", true);
    let lede = html! { "Jobs that send past deliveries again, behind live traffic." };
    Ok(Page::new("Replays", "/console/deliveries")
        .under(&[("Deliveries", "/console/deliveries")])
        .lede(lede)
        .actions(actions)
        .show(&seat, content))
}

const STATES: [Choice<'static>; 3] = [
    Choice::new("failed", "Failed"),
    Choice::new("cancelled", "Cancelled"),
    Choice::new("delivered", "Delivered").with_hint("Receivers get these a second time, under the same ids."),
];

fn document(form: &Form) -> Value {
    let states: Vec<&str> = form.all("states").collect();
    let mut wanted = json!({ "states": states });
    for name in ["target_id", "event_type"] {
        if let Some(text) = form.given(name) {
            wanted[name] = text.into();
        }
    }
    for name in ["from", "to"] {
        if let Some(at) = form.moment(name) {
            wanted[name] = at.into();
        }
    }
    wanted
}

async fn form_page(seat: &Seat, draft: &Draft, counted: Option<Count>) -> Answer {
    let all: List<Named> = seat.api.get(&format!("/targets?limit={MOST_TARGETS}&order=asc")).await?;
    let targets: Vec<Choice<'_>> =
        std::iter::once(Choice::new("", "All targets")).chain(all.items.iter().map(|one| Choice::new(&one.id, &one.name))).collect();
    let content = html! {
        form.form method="post" action="/console/replays/new" {
            (ui::csrf(&seat.csrf)) (errors(draft))
            input type="hidden" name="counted" value=(draft.text("counted"));
            input type="hidden" name="request" value=(draft.text("request"));
            (ui::section("What to send again", html! {
                (ui::checks(draft, "states", "Deliveries that are", &STATES))
                div.pair {
                    (Field::select(draft, "target_id", "Target", &targets))
                    (Field::text(draft, "event_type", "Event type").mono().optional())
                }
                div.pair {
                    (Field::time(draft, "from", "Received from").optional())
                    (Field::time(draft, "to", "Received before").optional())
                }
            }))
            @if let Some(counted) = &counted {
                @if counted.count == 0 { (ui::notice(Tone::Info, html! { "No delivery fits: there is nothing to send again." })) }
                @else {
                    (ui::notice(Tone::Warn, html! {
                        strong { @if !counted.is_all { "More than " } (count(counted.count)) @if counted.count == 1 { " delivery" } @else { " deliveries" } }
                        " will be sent again, behind live traffic. You can watch it and stop it. Change anything above, and count again."
                    }))
                }
            }
            div.actions {
                @let is_ready = counted.as_ref().is_some_and(|counted| counted.count > 0);
                button.button.(if is_ready { "" } else { "primary" }) type="submit" { "Count them" }
                @if is_ready { button.button.primary type="submit" name="start" value="true" { (ui::icon("again")) "Start" } }
                a.button.quiet href="/console/replays" { "Cancel" }
            }
        }
    };
    let status = if draft.problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let crumbs = [("Deliveries", "/console/deliveries"), ("Replays", "/console/replays")];
    Ok(Page::new("Send many again", "/console/deliveries").under(&crumbs).narrow().status(status).show(seat, content))
}

async fn new(seat: Seat) -> Answer {
    let query = &seat.query;
    let draft = ["target_id", "from", "to"].iter().fold(Draft::new(), |draft, name| draft.set(name, query.text(name)));
    let draft = draft.set("event_type", query.text("type"));
    let is_final = |state: &&str| STATES.iter().any(|choice| choice.value == *state);
    let chosen: Vec<&str> = query.text("state").split(',').filter(is_final).collect();
    let draft = if chosen.is_empty() {
        draft.set("states", "failed")
    } else {
        chosen.into_iter().fold(draft, |draft, state| draft.and("states", state))
    };
    form_page(&seat, &draft, None).await
}

async fn start(Post { seat, form }: Post) -> Answer {
    let wanted = document(&form);
    let choice = wanted.to_string();
    // What was counted is what is started: another choice is counted first.
    if let Some(request) = form.given("request").filter(|_| form.is_ticked("start") && form.raw("counted") == choice) {
        // Sent again, by going back, it is the same replay.
        return match seat.api.post_once::<Replay>("/replays", request, &wanted).await {
            Ok(replay) => Ok(go(&Flash::Started.to(&replay.address()))),
            Err(failure) => form_page(&seat, &Draft::from(form).refused(&failure), None).await,
        };
    }
    match seat.api.post::<Count>("/replays/count", &wanted).await {
        Ok(counted) => {
            let request = format!("{:032x}", rand::random::<u128>());
            form_page(&seat, &Draft::from(form).set("counted", choice).set("request", &request), Some(counted)).await
        }
        Err(failure) => form_page(&seat, &Draft::from(form).refused(&failure), None).await,
    }
}

async fn find(api: &Api, id: &str) -> Result<Replay, Failure> {
    api.get(&format!("/replays/{}", segment(id))).await
}

/// How far it is: the live part.
fn part(seat: &Seat, replay: &Replay) -> Markup {
    let total = replay.total.map(|total| total.max(replay.scanned));
    html! {
        div.row.apart {
            (ui::status(&replay.state))
            @if replay.state == "running" { (ui::button(&seat.csrf, &format!("{}/cancel", replay.address()), "danger", "stop", "Stop")) }
        }
        @match (replay.state.as_str(), total) {
            ("running", None) => p.muted { "There were too many to count; it goes on until the end of the range." },
            ("running", Some(total)) => (ui::progress("Deliveries looked at", replay.scanned, total)),
            _ => {}
        }
        (ui::facts(&[
            ("Looked at", html! { (count(replay.scanned)) @if let Some(total) = total { " of " (count(total)) } }),
            ("Sent again", html! { (count(replay.resent)) }),
            ("Last step", ui::full_time(&replay.updated_at)),
        ]))
    }
}

async fn show(seat: Seat, Path(id): Path<String>) -> Answer {
    let replay = find(&seat.api, &id).await?;
    let target: Option<Named> = match &replay.target_id {
        Some(id) => seat.api.find(&format!("/targets/{}", segment(id))).await?,
        None => None,
    };
    let time = |at: Option<&str>| html! { @match at { Some(at) => (ui::full_time(at)), None => "any" } };
    let content = html! {
        section.panel-box {
            header { h2 { "Progress" } (ui::live_sign()) }
            div.body sse-connect=(format!("{}/live", replay.address())) sse-swap="part" { (part(&seat, &replay)) }
        }
        (ui::section("What is sent again", ui::facts(&[
            ("States", html! { (replay.states.join(", ")) }),
            ("Target", html! { @match (&replay.target_id, &target) {
                (None, _) => "all",
                (Some(_), Some(target)) => a href=(targets::address(&target.id)) { (target.name) },
                (Some(_), None) => span.muted { "deleted since" },
            } }),
            ("Event type", html! { @match &replay.event_type { Some(name) => code { (name) }, None => "any" } }),
            // Without a choice a replay begins at the first moment of all.
            ("Received from", time(replay.from.as_deref().filter(|from| !from.starts_with("1970-01-01T00:00:00")))),
            ("Received before", time(replay.to.as_deref())),
        ])))
    };
    let crumbs = [("Deliveries", "/console/deliveries"), ("Replays", "/console/replays")];
    let page = Page::new("Replay", "/console/deliveries").under(&crumbs).narrow();
    Ok(page.lede(html! { "Started " (ui::full_time(&replay.created_at)) }).show(&seat, content))
}

async fn watch(State(console): State<Console>, seat: Seat, Path(id): Path<String>) -> Response {
    live::watch(&console, seat, move |seat| {
        let id = id.clone();
        async move { find(&seat.api, &id).await.map(|replay| live::Part::from(part(&seat, &replay)).last_if(replay.state != "running")) }
    })
    .await
}

async fn cancel(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    let path = format!("/console/replays/{}", segment(&id));
    match seat.api.act(&format!("/replays/{}/cancel", segment(&id))).await {
        // It was done before it could be stopped: the page says so.
        Err(failure) if failure.status() != StatusCode::CONFLICT => Err(failure),
        Err(_) => Ok(go(&path)),
        Ok(()) => Ok(go(&Flash::Cancelled.to(&path))),
    }
}
