//! Messages: e-mail and SMS that the workspace sent, and the life of each.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use crate::api::{Api, Failure, Page as List, segment};
use crate::form::Draft;
use crate::query::link;
use crate::session::Seat;
use crate::ui::{self, Field, Head, Page, Pager, Step, Tone};
use crate::{Answer, Console, live};

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/messages", get(list)).route("/messages/{id}", get(show)).route("/messages/{id}/live", get(watch))
}

pub(super) const HERE: &str = "/console/messages";
/// Recipients that one page shows with their status.
const MOST: usize = 200;

/// A message as the API shows it.
#[derive(Deserialize)]
pub(super) struct Message {
    pub id: String,
    pub channel: String,
    pub from: String,
    pub subject: Option<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub metadata: serde_json::Map<String, Value>,
    pub test: bool,
    deliver_at: Option<String>,
    created_at: String,
    size: u64,
    via: String,
    pub text: Option<String>,
    pub html: Option<String>,
    cost: Option<Cost>,
    #[serde(default)]
    pub to: Vec<String>,
    pub email: Option<Email>,
    pub callback_url: Option<String>,
    #[serde(default)]
    recipients: Vec<Recipient>,
    #[serde(default)]
    events: Vec<Event>,
}

/// What only e-mail has.
#[derive(Deserialize)]
pub(super) struct Email {
    pub to: Vec<String>,
    pub cc: Vec<String>,
    pub bcc: Vec<String>,
    pub reply_to: Option<String>,
    pub individual: bool,
    pub composed: bool,
    pub amp_html: Option<String>,
    pub headers: Vec<Header>,
    pub attachments: Vec<Attachment>,
    pub track: Track,
}

#[derive(Deserialize)]
pub(super) struct Header {
    pub name: String,
}

#[derive(Deserialize)]
pub(super) struct Attachment {
    pub filename: String,
}

#[derive(Deserialize)]
pub(super) struct Track {
    pub opens: bool,
    pub clicks: bool,
    pub unsubscribe: bool,
}

#[derive(Deserialize)]
struct Cost {
    amount: String,
    currency: String,
}

#[derive(Deserialize)]
struct Recipient {
    address: String,
    status: String,
    reason: Option<String>,
    since: String,
    opened: bool,
    clicked: bool,
    unsubscribed: bool,
    complained: bool,
}

#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    type_name: String,
    received_at: String,
    data: Value,
}

const HEADS: [Head<'static>; 4] = [Head::new("Sent"), Head::new("To"), Head::new("What"), Head::opt("From")];

async fn list(seat: Seat) -> Answer {
    let query = &seat.query;
    let channel = if query.text("channel") == "sms" { "sms" } else { "email" };
    let path = link(&query.pass("/messages?limit=50", &["from", "to", "cursor"]), [("channel", channel)]);
    let (found, refused) = match seat.api.get::<List<Message>>(&path).await {
        Ok(found) => (found, None),
        Err(failure) if failure.is_about_a_filter() => (List { items: Vec::new(), next: None }, Some(failure)),
        Err(failure) => return Err(failure),
    };
    let is_filtered = query.any(&["from", "to"]);
    let mut draft = Draft::new().set("from", query.text("from")).set("to", query.text("to"));
    if let Some(failure) = &refused {
        draft = draft.refused(failure);
    }
    let here = link(HERE, [("channel", channel)]);
    let new = link("/console/messages/new", [("channel", channel)]);
    let fields = html! {
        input type="hidden" name="channel" value=(channel);
        (Field::time(&draft, "from", "Sent from"))
        (Field::time(&draft, "to", "Sent before"))
    };
    let tabs = [("E-mail", link(HERE, [("channel", "email")])), ("SMS", link(HERE, [("channel", "sms")]))];
    let content = html! {
        (ui::tabs("Channel", if channel == "sms" { "SMS" } else { "E-mail" }, &tabs))
        (ui::filters("Filter the messages", fields, is_filtered.then_some(here.as_str())))
        section.panel-box {
            @if found.items.is_empty() && is_filtered {
                (ui::empty("search", "Nothing found", "No message was sent in this time.", html! { a.button href=(here) { "All messages" } }))
            } @else if found.items.is_empty() && query.given("cursor").is_none() {
                (ui::empty("messages", if channel == "sms" { "No text messages yet" } else { "No e-mail yet" },
                    "Messages that are sent here or by an API appear with everything that becomes of them.",
                    html! { a.button.primary href=(new) { "Send a message" } }))
            } @else {
                (ui::table("messages", "Messages", &HEADS, html! { @for message in &found.items { (row(message)) } }))
            }
            (ui::pager(&Pager { query, next: found.next.as_deref(), shown: found.items.len(), noun: "messages" }))
        }
    };
    let lede = html! { "E-mail and SMS that this workspace sends itself, and what becomes of each." };
    let actions = ui::button_link(&new, "primary", "send", "Send a message", true);
    Ok(Page::new("Messages", HERE).lede(lede).actions(actions).show(&seat, content))
}

pub(super) fn address(id: &str) -> String {
    format!("{HERE}/{}", segment(id))
}

fn recipients_text(to: &[String]) -> String {
    match to {
        [] => "Nobody".to_owned(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

fn row(message: &Message) -> Markup {
    html! {
        tr {
            td.nowrap { a.main-link href=(address(&message.id)) { (ui::time(&message.created_at)) } }
            td { (recipients_text(&message.to)) }
            td {
                @if let Some(subject) = message.subject.as_deref().filter(|subject| !subject.is_empty()) { (subject) }
                @else { div.clip { (message.text.as_deref().unwrap_or("No text")) } }
                @if message.test { " " (ui::badge(Tone::Info, "info", "Test")) }
                @if let Some(at) = &message.deliver_at { " " span.small.muted { "for " (ui::time(at)) } }
            }
            td.opt { (message.from) }
        }
    }
}

async fn read(api: &Api, id: &str) -> Result<Message, Failure> {
    api.get(&format!("/messages/{}", segment(id))).await
}

async fn show(seat: Seat, Path(id): Path<String>) -> Answer {
    let message = read(&seat.api, &id).await?;
    let base = address(&message.id);
    let content = html! {
        div.columns.main-side {
            div.stack sse-connect=(format!("{base}/live")) sse-swap="part" { (life(&message)) }
            div.stack {
                (ui::section("Message", facts(&message)))
                @if !message.metadata.is_empty() { (ui::section("Metadata", ui::json("metadata", &Value::Object(message.metadata.clone()).to_string()))) }
            }
        }
        (ui::section("Content", html! {
            @if let Some(text) = &message.text { (ui::code("text", text)) }
            @if let Some(source) = &message.html { (ui::fold(message.text.is_none(), html! { "HTML, as source" }, ui::code("HTML", source))) }
            @if message.text.is_none() && message.html.is_none() { p.muted { "The client composed the whole mail; its parts are not shown." } }
        }))
    };
    let actions = html! {
        (ui::live_sign())
        (ui::button_link(&link("/console/messages/new", [("like", message.id.as_str())]), "primary", "again", "Send again…", false))
    };
    let subject = message.subject.as_deref().filter(|subject| !subject.is_empty());
    let title = subject.unwrap_or(if message.channel == "sms" { "Text message" } else { "E-mail without a subject" });
    let page = Page::new(title, HERE).under(&[("Messages", HERE)]).actions(actions);
    Ok(page.lede(html! { "To " (recipients_text(&message.to)) ", taken " (ui::full_time(&message.created_at)) }).show(&seat, content))
}

fn facts(message: &Message) -> Markup {
    let mut facts = vec![
        ("Id", html! { code { (message.id) } }),
        ("Channel", html! { (if message.channel == "sms" { "SMS" } else { "E-mail" }) }),
        ("From", html! { (message.from) }),
        ("Sent through", html! { @match message.via.as_str() { "api" => "Native API or console", other => (other) } }),
        ("Size", html! { (ui::bytes(message.size)) }),
        (
            "Cost",
            match &message.cost {
                Some(cost) => html! { (cost.amount) " " (cost.currency) },
                None => html! { span.muted { "No price: only MsGine's API has them" } },
            },
        ),
    ];
    if let Some(at) = &message.deliver_at {
        facts.push(("Not before", ui::full_time(at)));
    }
    if !message.tags.is_empty() {
        facts.push(("Tags", html! { (message.tags.join(", ")) }));
    }
    if message.test {
        facts.push(("Test", html! { "Goes through everything and is never really sent" }));
    }
    ui::facts(&facts)
}

async fn watch(State(console): State<Console>, seat: Seat, Path(id): Path<String>) -> Response {
    live::watch(&console, seat, move |seat| {
        let id = id.clone();
        async move { read(&seat.api, &id).await.map(|message| life(&message).into()) }
    })
    .await
}

/// The live part: each recipient's status, and everything that happened.
fn life(message: &Message) -> Markup {
    let heads = [Head::new("Recipient"), Head::new("Status"), Head::new("Since")];
    let rows = html! { @for recipient in message.recipients.iter().take(MOST) { (recipient_row(recipient)) } };
    let steps: Vec<Step> = message.events.iter().map(step).collect();
    let hidden = message.recipients.len().saturating_sub(MOST);
    html! {
        section.panel-box {
            header { h2 { "Recipients" } }
            (ui::table("recipients", "Recipients", &heads, rows))
            @if hidden > 0 { footer { p.muted { "and " (hidden) " more; the API lists all" } } }
        }
        (ui::section("What happened", html! {
            @if steps.is_empty() { p.muted { "The events of this message are no longer kept." } }
            @else { (ui::timeline("Life of the message", &steps)) }
        }))
    }
}

fn recipient_row(recipient: &Recipient) -> Markup {
    let marks = [
        (recipient.opened, Tone::Ok, "Opened"),
        (recipient.clicked, Tone::Ok, "Clicked"),
        (recipient.unsubscribed, Tone::Warn, "Unsubscribed"),
        (recipient.complained, Tone::Bad, "Complained"),
    ];
    html! {
        tr {
            td { code { (recipient.address) } }
            td { div.row {
                (ui::status(&recipient.status))
                @for (_, tone, word) in marks.iter().filter(|(is_so, ..)| *is_so) { (ui::badge(*tone, "ok", word)) }
                @if let Some(reason) = &recipient.reason { span.small.muted { (reason) } }
            } }
            td.nowrap { (ui::time(&recipient.since)) }
        }
    }
}

/// One event of its life, in words.
fn step(event: &Event) -> Step {
    let kind = event.type_name.strip_prefix("message.").unwrap_or(&event.type_name);
    let (tone, words) = match kind {
        "accepted" => (Tone::Info, "Taken"),
        "sent" => (Tone::Info, "The carrier took it"),
        "delivered" => (Tone::Ok, "Delivered"),
        "deferred" => (Tone::Warn, "Refused for now; it is tried again"),
        "failed" => (Tone::Bad, "Failed for good"),
        "opened" => (Tone::Ok, "Opened"),
        "clicked" => (Tone::Ok, "A link was followed"),
        "unsubscribed" => (Tone::Warn, "Unsubscribed"),
        "complained" => (Tone::Bad, "Called spam"),
        other => (Tone::Plain, other),
    };
    let text = |name: &str| event.data.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let code = event.data.get("status_code").filter(|code| code.is_number());
    let what = html! {
        div {
            strong { (words) }
            @if let Some(recipient) = text("recipient") { ": " code { (recipient) } }
            @if let Some(reason) = text("reason") { span.muted { " – " (reason) } }
            @if let Some(code) = code { span.muted { ", code " (code.to_string()) } }
        }
        @if let Some(description) = text("description") { div.small { (description) } }
        @if let Some(url) = text("url") { div.small { code { (url) } } }
        div.small { a href=(format!("/console/inbox/{}", segment(&event.id))) { "Event and its deliveries" } }
    };
    Step { tone, what, at: Some(event.received_at.clone()) }
}
