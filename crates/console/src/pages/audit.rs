//! The audit log: who changed what, when, and from what to what.

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;

use super::problem::administrators_only;
use crate::api::{Page as List, segment};
use crate::form::Draft;
use crate::query::link;
use crate::session::Seat;
use crate::ui::{self, Choice, Field, Page, Pager, Tone};
use crate::{Answer, Console};

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/audit", get(list))
}

const HERE: &str = "/console/audit";
const FILTERS: [&str; 6] = ["kind", "action", "actor", "id", "from", "to"];

#[derive(Deserialize)]
struct Entry {
    at: String,
    actor: Actor,
    action: String,
    resource: Thing,
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
    name: String,
}

#[derive(Deserialize)]
struct Thing {
    kind: String,
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Change {
    field: String,
    before: Option<String>,
    after: Option<String>,
    secret: bool,
}

const KINDS: [Choice<'static>; 13] = [
    Choice::new("", "Anything"),
    Choice::new("workspace", "Workspace"),
    Choice::new("key", "Key"),
    Choice::new("event_type", "Event type"),
    Choice::new("target", "Target"),
    Choice::new("template", "Template"),
    Choice::new("subscription", "Subscription"),
    Choice::new("bin", "Bin"),
    Choice::new("replay", "Replay"),
    Choice::new("domain", "Domain"),
    Choice::new("account", "Dialect settings"),
    Choice::new("member", "Member"),
    Choice::new("session", "Session"),
];
const ACTIONS: [Choice<'static>; 11] = [
    Choice::new("", "Any"),
    Choice::new("create", "Created"),
    Choice::new("update", "Changed"),
    Choice::new("delete", "Deleted"),
    Choice::new("pause", "Paused"),
    Choice::new("resume", "Resumed"),
    Choice::new("disable", "Disabled"),
    Choice::new("rotate", "Secret rotated"),
    Choice::new("start", "Started"),
    Choice::new("cancel", "Cancelled"),
    Choice::new("revoke", "Ended"),
];

/// The word for a value, as the filters have it; the value itself if they do not know it.
fn word<'a>(choices: &[Choice<'a>], value: &'a str) -> &'a str {
    choices.iter().find(|choice| choice.value == value).map_or(value, |choice| choice.label)
}

async fn list(seat: Seat) -> Answer {
    let query = &seat.query;
    let mut passed = FILTERS.to_vec();
    passed.push("cursor");
    let (found, refused) = match seat.api.get::<List<Entry>>(&query.pass("/audit?limit=50", &passed)).await {
        Ok(found) => (found, None),
        Err(failure) if failure.status() == StatusCode::FORBIDDEN => {
            let about = "What was changed, and by whom, is seen by administrators of the workspace.";
            return Ok(administrators_only(&seat, "Audit log", HERE, about));
        }
        Err(failure) if failure.is_about_a_filter() => (List { items: Vec::new(), next: None }, Some(failure)),
        Err(failure) => return Err(failure),
    };
    let mut draft = FILTERS.iter().fold(Draft::new(), |draft, name| draft.set(name, query.text(name)));
    if let Some(failure) = &refused {
        draft = draft.refused(failure);
    }
    let is_filtered = query.any(&FILTERS);
    let fields = html! {
        (Field::text(&draft, "actor", "By (id, or server)").mono())
        (Field::select(&draft, "kind", "What", &KINDS).submits())
        (Field::select(&draft, "action", "Done", &ACTIONS).submits())
        (Field::text(&draft, "id", "Id of the thing").mono())
        (Field::time(&draft, "from", "From"))
        (Field::time(&draft, "to", "To"))
    };
    let content = html! {
        (ui::filters("Filter the audit log", fields, is_filtered.then_some(HERE)))
        section.panel-box {
            @if found.items.is_empty() && refused.is_none() {
                @if is_filtered { (ui::empty("search", "Nothing found", "No change fits these filters.", html! { a.button href=(HERE) { "All changes" } })) }
                @else { (ui::empty("audit", "Nothing was changed yet", "Every change of configuration appears here, with who made it.", html! { a.button href="/console/targets" { "To the targets" } })) }
            } @else if !found.items.is_empty() {
                div.body { div { @for entry in &found.items { (row(&seat, entry)) } } }
            }
            (ui::pager(&Pager { query, next: found.next.as_deref(), shown: found.items.len(), noun: "changes" }))
        }
    };
    let lede = html! { "Who changed what, and from what to what. Nothing but time takes entries away." };
    Ok(Page::new("Audit log", HERE).lede(lede).show(&seat, content))
}

/// How a change is marked: what is made, taken away, switched off.
fn action_badge(action: &str) -> Markup {
    let (tone, icon) = match action {
        "create" | "start" => (Tone::Ok, "plus"),
        "delete" => (Tone::Bad, "trash"),
        "disable" | "revoke" | "cancel" => (Tone::Bad, "stop"),
        "pause" => (Tone::Warn, "pause"),
        "resume" => (Tone::Ok, "play"),
        "rotate" => (Tone::Info, "again"),
        _ => (Tone::Info, "edit"),
    };
    ui::badge(tone, icon, word(&ACTIONS, action))
}

/// Where a thing has its page.
fn page_of(thing: &Thing) -> Option<String> {
    let family = match thing.kind.as_str() {
        "key" => "keys",
        "target" => "targets",
        "template" => "templates",
        "event_type" => "events",
        "bin" => "bins",
        "domain" => "domains",
        "member" => "members",
        _ => return None,
    };
    Some(format!("/console/{family}/{}", segment(&thing.id)))
}

fn row(seat: &Seat, entry: &Entry) -> Markup {
    let who = match entry.actor.kind.as_str() {
        "server" => "The server".to_owned(),
        "key" if entry.actor.name.is_empty() => "A key without a description".to_owned(),
        "key" => format!("Key “{}”", entry.actor.name),
        _ => entry.actor.name.clone(),
    };
    let name = if entry.resource.name.is_empty() { entry.resource.id.as_str() } else { entry.resource.name.as_str() };
    let by = entry.actor.id.as_deref().unwrap_or("server");
    let summary = html! {
        (action_badge(&entry.action))
        span { span.muted { (word(&KINDS, &entry.resource.kind)) } " " strong { (name) } }
        span.small.muted { (who) ", " (ui::time(&entry.at)) }
    };
    let content = html! {
        (ui::facts(&[
            ("When", ui::full_time(&entry.at)),
            ("Who", html! { (who) " " a.small href=(link(HERE, [("actor", by)])) { "All by them" } }),
            ("What", html! {
                code { (entry.resource.id) } " "
                a.small href=(link(HERE, [("id", entry.resource.id.as_str())])) { "Its history" }
                @if entry.action != "delete" && let Some(page) = page_of(&entry.resource) { " · " a.small href=(page) { "Its page" } }
            }),
        ]))
        @if !entry.changes.is_empty() { (changes(&entry.changes)) }
    };
    let is_open = seat.query.given("id").is_some();
    ui::fold(is_open, summary, content)
}

fn changes(changes: &[Change]) -> Markup {
    let value = |change: &Change, value: &Option<String>| {
        html! {
            @match value {
                Some(value) => code { (value) },
                None if change.secret => span.muted { "secret" },
                None => span.muted { "–" },
            }
        }
    };
    let heads = [ui::Head::new("Field"), ui::Head::new("Before"), ui::Head::new("After")];
    let rows = html! {
        @for change in changes { tr { td { code { (change.field) } } td { (value(change, &change.before)) } td { (value(change, &change.after)) } } }
    };
    ui::table("", "What changed", &heads, rows)
}
