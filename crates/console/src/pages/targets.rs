//! Targets: the list with how each fares, and one target whole.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use futures_util::future::join_all;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::deliveries::{self, Row};
use super::subscriptions::{self, Subscription};
use crate::api::{Api, Failure, Page as List, segment};
use crate::form::Draft;
use crate::query::link;
use crate::session::Seat;
use crate::ui::{self, Chart, ChartKind, Choice, Field, Head, Page, Pager, Series, Tone, count};
use crate::{Answer, Console, live};

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/targets", get(list)).route("/targets/{id}", get(show)).route("/targets/{id}/live", get(watch))
}

/// Rows of the list.
const ROWS: usize = 50;
/// Deliveries whose response times are drawn.
const TIMES: usize = 100;
/// Deliveries that the page of a target lists.
const LOG: usize = 15;
/// Subscriptions that the page of a target shows.
const SUBSCRIPTIONS: usize = 100;

/// A target as the API shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Target {
    pub id: String,
    pub name: String,
    pub channel: String,
    pub settings: Value,
    pub policy: Option<Value>,
    pub status: String,
    pub status_reason: Option<String>,
    pub health: Health,
    pub signing: Vec<Signing>,
    pub managed_by: Option<ManagedBy>,
    pub created_at: String,
    pub updated_at: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Health {
    state: String,
    queued: u64,
    in_flight: u32,
    oldest_at: Option<String>,
    last_success_at: Option<String>,
    last_failure_at: Option<String>,
    rate_limited_until: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Signing {
    pub scheme: String,
    pub public_key: Option<String>,
    pub created_at: String,
    pub expires_at: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ManagedBy {
    dialect: String,
    id: Option<String>,
}

#[derive(Deserialize)]
struct Outcomes {
    status: String,
}

impl Target {
    /// The address of its page.
    pub fn address(&self) -> String {
        address(&self.id)
    }

    /// Where it goes, on one line.
    pub fn place(&self) -> String {
        let text = |name: &str| self.settings.get(name).and_then(Value::as_str).map(str::to_owned);
        let list = |name: &str| {
            let items = self.settings.get(name)?.as_array()?;
            Some(items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
        };
        let masked = |name: &str| text(name).map(|_| "an incoming webhook".to_owned());
        let found = text("url").or_else(|| text("to")).or_else(|| list("to")).or_else(|| text("channel")).or_else(|| masked("webhook_url"));
        found.unwrap_or_default()
    }

    /// Whether it is changed through a vendor's API, and where the console does so.
    fn elsewhere(&self) -> Option<(&str, String)> {
        let managed = self.managed_by.as_ref()?;
        let dialect = managed.dialect.as_str();
        // Those of Mailgun belong to a domain, which has no page of its own there.
        let page = match (dialect, managed.id.as_deref()) {
            ("momentum" | "messagemedia", Some(id)) => format!("/console/webhooks/{dialect}/{}", segment(id)),
            ("momentum" | "messagemedia" | "mailgun" | "msgine", _) => format!("/console/webhooks/{dialect}"),
            _ => "/console/webhooks".to_owned(),
        };
        Some((dialect_name(dialect), page))
    }
}

/// The name of a dialect as its vendor writes it, or of a format.
pub(super) fn dialect_name(dialect: &str) -> &str {
    match dialect {
        "momentum" => "Momentum",
        "mailgun" => "Mailgun",
        "msgine" => "MsGine",
        "messagemedia" => "MessageMedia",
        "msggo" => "MsgGO",
        "standard" => "Standard Webhooks",
        "raw" => "Raw: the payload alone",
        other => other,
    }
}

/// The address of a target's page.
pub(super) fn address(id: &str) -> String {
    format!("/console/targets/{}", segment(id))
}

/// A target by its id.
pub(super) async fn find(api: &Api, id: &str) -> Result<Target, Failure> {
    api.get(&format!("/targets/{}", segment(id))).await
}

/// How the deliveries of the last day ended, in the words of Momentum's page (Momentum 9): `pending`, `ok` or `failed`.
pub(super) fn outcome(status: &str) -> Markup {
    match status {
        "ok" => ui::badge(Tone::Ok, "ok", "OK"),
        "failed" => ui::badge(Tone::Bad, "bad", "Failed"),
        _ => ui::badge(Tone::Plain, "wait", "Pending"),
    }
}

/// The kinds of targets.
pub(super) const CHANNELS: [Choice<'static>; 5] = [
    Choice::new("webhook", "Webhook"),
    Choice::new("slack", "Slack"),
    Choice::new("discord", "Discord"),
    Choice::new("email", "E-mail"),
    Choice::new("sms", "SMS"),
];

/// A channel's name for people.
pub(super) fn channel_name(channel: &str) -> &str {
    CHANNELS.iter().find(|choice| choice.value == channel).map_or(channel, |choice| choice.label)
}

const FILTERS: [&str; 3] = ["search", "status", "channel"];
const STATUSES: [Choice<'static>; 4] =
    [Choice::new("", "Any"), Choice::new("active", "Active"), Choice::new("paused", "Paused"), Choice::new("disabled", "Disabled")];

async fn list(seat: Seat) -> Answer {
    let query = &seat.query;
    let path = query.pass(&format!("/targets?limit={ROWS}"), &["search", "status", "channel", "cursor"]);
    let (targets, refused) = match seat.api.get::<List<Target>>(&path).await {
        Ok(targets) => (targets, None),
        Err(failure) if failure.is_about_a_filter() => (List { items: Vec::new(), next: None }, Some(failure)),
        Err(failure) => return Err(failure),
    };
    let asked = join_all(targets.items.iter().map(|target| status_of(&seat.api, target))).await;
    let mut rows = Vec::with_capacity(targets.items.len());
    for (target, status) in targets.items.iter().zip(asked) {
        rows.push((target, status?));
    }
    let is_filtered = query.any(&FILTERS);
    let mut draft = FILTERS.iter().fold(Draft::new(), |draft, name| draft.set(name, query.text(name)));
    if let Some(failure) = &refused {
        draft = draft.refused(failure);
    }
    let channels: Vec<Choice<'_>> = std::iter::once(Choice::new("", "Any")).chain(CHANNELS).collect();
    let fields = html! {
        (Field::input(&draft, "search", "Name", "search").search())
        (Field::select(&draft, "status", "Status", &STATUSES).submits())
        (Field::select(&draft, "channel", "Channel", &channels).submits())
    };
    let heads = [
        Head::new("Name"),
        Head::new("Outcome"),
        Head::new("State"),
        Head::num("Waiting"),
        Head::opt("Last success"),
        Head::opt("Last failure"),
    ];
    let content = html! {
        (ui::filters("Filter the targets", fields, is_filtered.then_some("/console/targets")))
        section.panel-box {
            @if rows.is_empty() { (nothing(is_filtered)) } @else {
                (ui::table("targets", "Targets", &heads, html! { @for (target, status) in &rows { (row(target, status)) } }))
            }
            (ui::pager(&Pager { query, next: targets.next.as_deref(), shown: targets.items.len(), noun: "targets" }))
        }
        p.small.muted {
            "Outcome: " strong { "Pending" } " until something was sent, " strong { "Failed" } " while a delivery of the last 24 hours failed, else " strong { "OK" } ". "
            "State: " strong { "active" } ", " strong { "probing" } " (in trouble: one try at a time), " strong { "paused" } " by somebody, or " strong { "disabled" } " after failing for days or a 410."
        }
    };
    let actions = ui::button_link("/console/targets/new", "primary", "plus", "New target", true);
    let lede = html! { "Where messages go, and how each place fares." };
    Ok(Page::new("Targets", "/console/targets").lede(lede).actions(actions).show(&seat, content))
}

async fn status_of(api: &Api, target: &Target) -> Result<String, Failure> {
    let outcomes: Option<Outcomes> = api.find(&format!("/targets/{}/outcomes", segment(&target.id))).await?;
    Ok(outcomes.map_or_else(String::new, |outcomes| outcomes.status))
}

fn nothing(is_filtered: bool) -> Markup {
    match is_filtered {
        true => ui::empty(
            "search",
            "Nothing found",
            "No target fits these filters.",
            html! { a.button href="/console/targets" { "All targets" } },
        ),
        false => ui::empty(
            "targets",
            "No target yet",
            "A target is a webhook, a Slack or Discord channel, an e-mail address or a phone number that gets the events you choose.",
            html! { a.button.primary href="/console/targets/new" { "Create a target" } },
        ),
    }
}

fn when(at: Option<&str>) -> Markup {
    html! { @match at { Some(at) => (ui::ago(at)), None => "–" } }
}

fn row(target: &Target, status: &str) -> Markup {
    html! {
        tr {
            td {
                a.main-link href=(target.address()) { (target.name) }
                div.small.muted { (channel_name(&target.channel)) @if let Some((name, _)) = target.elsewhere() { ", made through " (name) } }
                div.clip { (target.place()) }
            }
            td.nowrap { (outcome(status)) }
            td.nowrap { (ui::status(&target.health.state)) @if let Some(reason) = &target.status_reason { div.small.muted { (reason) } } }
            td.num { (count(target.health.queued)) }
            td.opt.nowrap { (when(target.health.last_success_at.as_deref())) }
            td.opt.nowrap { (when(target.health.last_failure_at.as_deref())) }
        }
    }
}

/// What changes by itself on the page of a target.
async fn part(seat: &Seat, id: &str) -> Result<Markup, Failure> {
    let target = find(&seat.api, id).await?;
    let status = status_of(&seat.api, &target).await?;
    let path = link(&format!("/deliveries?limit={TIMES}"), [("target_id", id)]);
    let log: List<Row> = seat.api.get(&path).await?;
    let (health, address) = (&target.health, target.address());
    let all = link("/console/deliveries", [("target_id", id)]);
    Ok(html! {
        @if let Some(notice) = trouble(&target) { (notice) }
        div.columns {
            section.panel-box {
                header {
                    h2 { "Health" }
                    @if target.status == "active" { (ui::button_link(&format!("{address}/pause"), "slim", "pause", "Pause", false)) }
                    @else { (ui::button(&seat.csrf, &format!("{address}/resume"), "slim primary", "play", "Resume")) }
                }
                div.body { (ui::facts(&[
                ("State", ui::status(&health.state)),
                ("Outcome", html! { (outcome(&status)) " " span.small.muted { "of the last 24 hours" } }),
                ("Waiting", html! { (count(health.queued)) " deliveries" @if let Some(at) = &health.oldest_at { ", the oldest received " (ui::ago(at)) } }),
                ("Under way", html! { (health.in_flight) }),
                ("Last success", when(health.last_success_at.as_deref())),
                ("Last failure", when(health.last_failure_at.as_deref())),
                ])) }
            }
            (ui::section("Response times", times(&log.items)))
        }
        section.panel-box {
            header { h2 { "Delivery log" } span.row { a.small href=(all) { "All deliveries" } a.small href=(link("/console/replays/new", [("target_id", id)])) { "Send many again" } } }
            @if log.items.is_empty() {
                (ui::empty("deliveries", "Nothing was sent yet", "Send a test, or an event that one of the subscriptions wants.",
                    html! { a.button href=(format!("{}/test", target.address())) { "Send a test" } a.button href="/console/inbox/send" { "Send an event" } }))
            } @else {
                (deliveries::table(&log.items[..log.items.len().min(LOG)], None))
            }
        }
    })
}

/// What stands above everything else when a target needs somebody.
fn trouble(target: &Target) -> Option<Markup> {
    let reason = html! { @if let Some(reason) = &target.status_reason { " (" (reason) ")" } };
    let health = &target.health;
    match (health.state.as_str(), &health.rate_limited_until) {
        ("disabled", _) => Some(ui::standing(
            Tone::Bad,
            html! { "This target is disabled" (reason) ": new events make no delivery for it. Resume it once it works again." },
        )),
        ("paused", _) => {
            Some(ui::standing(Tone::Warn, html! { "This target is paused" (reason) ": its deliveries are held, and nothing is lost." }))
        }
        ("probing", _) => Some(ui::standing(
            Tone::Warn,
            html! { "This target is in trouble: one try at a time goes out until it answers well again. The log below says what it answers." },
        )),
        (_, Some(until)) => {
            Some(ui::standing(Tone::Info, html! { "The limit of its rate is reached: deliveries wait until " (ui::time(until)) "." }))
        }
        _ => None,
    }
}

/// How long the last attempts took, the oldest first.
fn times(log: &[Row]) -> Markup {
    let attempts: Vec<_> =
        log.iter().rev().filter_map(|row| row.last_attempt.as_ref()).filter(|attempt| attempt.duration_ms > 0.0).collect();
    if attempts.len() < 2 {
        return html! { p.muted { "Drawn once some deliveries were attempted." } };
    }
    let at: Vec<String> = attempts.iter().map(|attempt| attempt.at.clone()).collect();
    let values = attempts.iter().map(|attempt| attempt.duration_ms).collect();
    let series = [Series { name: "Response time", values, colour: 0 }];
    let title = format!("Response times of the last {} deliveries", at.len());
    Chart { title: &title, kind: ChartKind::Lines, times: &at, series: &series, format: ui::duration_ms }.show()
}

async fn show(seat: Seat, Path(id): Path<String>) -> Answer {
    let target = find(&seat.api, &id).await?;
    let address = target.address();
    let path = link(&format!("/subscriptions?limit={SUBSCRIPTIONS}&order=asc"), [("target_id", target.id.as_str())]);
    let subscriptions: List<Subscription> = seat.api.get(&path).await?;
    let content = html! {
        @if let Some((name, page)) = target.elsewhere() {
            (ui::notice(Tone::Info, html! { "Made through the " (name) " API. " a href=(page) { "Change it there" } ", so that its owner sees the same." }))
        }
        div.columns.main-side {
            div.stack {
                div.stack sse-connect=(format!("{address}/live")) sse-swap="part" { (part(&seat, &target.id).await?) }
                section.panel-box {
                    header { h2 { "Subscriptions" } a.button.slim href=(format!("{address}/subscriptions/new")) { (ui::icon("plus")) "Add" } }
                    (subscriptions::table(&target, &subscriptions.items))
                    @if subscriptions.next.is_some() { footer { p.small.muted { "The first " (SUBSCRIPTIONS) " are shown; the API lists all." } } }
                }
            }
            div.stack {
                (ui::section("Target", facts(&target)))
                @if !target.signing.is_empty() { (ui::section("Signing secrets", signing(&target))) }
                (ui::section("Danger", html! {
                    p.small.muted { "Deleting cancels what waits and removes its subscriptions. The log stays." }
                    div { (ui::confirm(&seat.csrf, &format!("{address}/delete"), "Delete target", &format!("Delete {}?", target.name), DELETE)) }
                }))
            }
        }
    };
    let actions = html! {
        (ui::live_sign())
        (ui::button_link(&format!("{address}/test"), "", "send", "Test", false))
        (ui::button_link(&format!("{address}/edit"), "", "edit", "Edit", false))
    };
    let page = Page::new(&target.name, "/console/targets").under(&[("Targets", "/console/targets")]).actions(actions);
    Ok(page.lede(html! { (channel_name(&target.channel)) ": " (target.place()) }).show(&seat, content))
}

/// What deleting a target means.
pub(super) const DELETE: &str =
    "What waits for it is cancelled, and its subscriptions go too. Attempts that are under way may still arrive.";

fn facts(target: &Target) -> Markup {
    let json = |what: &str, value: &Value| ui::json(what, &value.to_string());
    html! {
        (ui::facts(&[
            ("Id", html! { code { (target.id) } }),
            ("Created", ui::full_time(&target.created_at)),
            ("Changed", ui::full_time(&target.updated_at)),
        ]))
        (ui::fold(false, html! { "Settings" }, json("settings", &target.settings)))
        @match &target.policy {
            Some(policy) => (ui::fold(false, html! { "Policy" }, json("policy", policy))),
            None => p.small.muted { "No policy of its own: time limits and retries are those of each subscription's format." },
        }
    }
}

fn signing(target: &Target) -> Markup {
    html! {
        @for key in &target.signing {
            div {
                div { strong { (if key.scheme == "v1a" { "Ed25519" } else { "HMAC-SHA256" }) } span.muted.small { ", made " (ui::ago(&key.created_at)) } }
                @if let Some(at) = &key.expires_at { div.small { "Signs beside the new one until " (ui::time(at)) } }
                @if let Some(public) = &key.public_key { (ui::secret("public key", public)) }
            }
        }
        div { a.button href=(format!("{}/secret", target.address())) { (ui::icon("lock")) "Show or rotate" } }
    }
}

async fn watch(State(console): State<Console>, seat: Seat, Path(id): Path<String>) -> Response {
    live::watch(&console, seat, move |seat| {
        let id = id.clone();
        async move { part(&seat, &id).await.map(Into::into) }
    })
    .await
}
