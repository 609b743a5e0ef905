//! Add delivery: one form that makes a target, a template and a subscription, or uses those that exist. Nothing of it stays when a part of it
//! is refused.

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::sample;
use super::targets;
use super::type_subscriptions::at_filter;
use super::types::{self, EventType, NAV, address};
use crate::api::{Api, Failure, Page as List};
use crate::form::{Draft, Form};
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Page, Tone, errors};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/events/{id}/delivery", get(compose).post(save))
}

/// Value of a choice that makes something new.
const NEW: &str = "new";
/// Choices of a list. More are chosen on the pages of targets and templates.
const OFFERED: &str = "200";
const TEXT: &str = "{{ event.name }} at {{ event.receivedAt }}:\n{{ data|json_encode }}";

#[derive(Deserialize)]
struct Named {
    id: String,
    name: String,
    #[serde(default)]
    channel: String,
}

#[derive(Deserialize)]
struct Channels {
    items: Vec<Channel>,
    formats: Vec<String>,
}

#[derive(Deserialize)]
struct Channel {
    name: String,
}

/// What there is to choose from.
struct Offer {
    targets: Vec<Named>,
    templates: Vec<Named>,
    channels: Channels,
    /// Whether there are more of either.
    is_cut: bool,
}

async fn offer(api: &Api) -> Result<Offer, Failure> {
    let targets: List<Named> = api.get(&format!("/targets?limit={OFFERED}")).await?;
    let templates: List<Named> = api.get(&format!("/templates?limit={OFFERED}")).await?;
    let is_cut = targets.next.is_some() || templates.next.is_some();
    Ok(Offer { targets: targets.items, templates: templates.items, channels: api.get("/channels").await?, is_cut })
}

async fn compose(seat: Seat, Path(id): Path<String>) -> Answer {
    let one = types::find(&seat, &id).await?;
    let offer = offer(&seat.api).await?;
    let first = offer.targets.first().map_or(NEW, |target| target.id.as_str()).to_owned();
    let draft = Draft::new().set("target", first).set("channel", "webhook").set("template.text", TEXT);
    page(&seat, &one, &offer, StatusCode::OK, &draft)
}

fn page(seat: &Seat, one: &EventType, offer: &Offer, status: StatusCode, draft: &Draft) -> Answer {
    let path = address(&one.id);
    let content = html! {
        form.form method="post" action=(format!("{path}/delivery")) {
            (ui::csrf(&seat.csrf)) (errors(draft))
            @if offer.is_cut {
                (ui::notice(Tone::Info, html! { "The newest " (OFFERED) " targets and templates are offered. For another target, add the subscription on its own page." }))
            }
            (ui::section("Target", target_fields(draft, offer)))
            (ui::section("Message", message_fields(draft, offer)))
            (ui::fold(draft.error("filter").is_some() || !draft.text("filter").is_empty(), html! { "Filter" span.muted.small { "only some events of this type" } }, html! {
                (Field::code(draft, "filter", "Condition on the payload (JSON)", 5).hint(html! { "Such as " code { r#"{"amount": {"$gt": 100}}"# } "." }).optional())
            }))
            div.actions { button.button.primary type="submit" { "Save" } a.button.quiet href=(path) { "Cancel" } }
        }
    };
    let page = Page::new("Add delivery", NAV).under(&[("Events", NAV), (&one.name, &path)]).narrow().status(status);
    Ok(page.lede(html! { "Where events of the type " strong { (one.name) } " go, and how they look there." }).show(seat, content))
}

fn target_fields(draft: &Draft, offer: &Offer) -> Markup {
    let labels: Vec<String> = offer.targets.iter().map(|target| format!("{} ({})", target.name, target.channel)).collect();
    let mut targets = vec![Choice::new(NEW, "New target")];
    targets.extend(offer.targets.iter().zip(&labels).map(|(target, label)| Choice::new(&target.id, label)));
    let channels: Vec<Choice<'_>> =
        offer.channels.items.iter().map(|channel| Choice::new(&channel.name, targets::channel_name(&channel.name))).collect();
    let has = |name: &str| offer.channels.items.iter().any(|channel| channel.name == name);
    let methods = ["POST", "PUT", "GET", "DELETE"].map(|method| Choice::new(method, method));
    html! {
        (Field::select(draft, "target", "Target", &targets).shows("target"))
        div.stack data-when-target=(NEW) {
            div.pair {
                (Field::text(draft, "target.name", "Name").placeholder("Warehouse"))
                (Field::select(draft, "channel", "Channel", &channels).shows("channel"))
            }
            @if has("webhook") { div.stack data-when-channel="webhook" {
                (Field::input(draft, "webhook.url", "Webhook URL", "url").placeholder("https://example.com/hook").mono())
                (Field::select(draft, "webhook.method", "Method", &methods))
            } }
            @if has("slack") { div.stack data-when-channel="slack" {
                (Field::input(draft, "slack.webhook_url", "Slack: incoming webhook URL", "url").hint("Or leave it empty, and give the token of a bot and a channel.").mono())
                div.pair {
                    (Field::text(draft, "slack.token", "Slack: bot token").mono())
                    (Field::text(draft, "slack.channel", "Slack: channel").placeholder("#orders"))
                }
            } }
            @if has("discord") { div.stack data-when-channel="discord" {
                (Field::input(draft, "discord.webhook_url", "Discord: webhook URL", "url").mono())
            } }
            @if has("email") { div.stack data-when-channel="email" {
                (Field::text(draft, "email.to", "E-mail: to").hint("One address, or several with commas between them.").placeholder("ann@example.com"))
                div.pair {
                    (Field::text(draft, "email.from", "E-mail: from").hint("The server's sender, if it has one and you leave this empty."))
                    (Field::text(draft, "email.smtp.url", "E-mail: relay").hint("The server's relay, if it has one and you leave this empty.").placeholder("smtp://user:password@mail.example.com").mono())
                }
            } }
            @if has("sms") { div.stack data-when-channel="sms" {
                div.pair {
                    (Field::input(draft, "sms.to", "SMS: to", "tel").placeholder("+15551230001"))
                    (Field::text(draft, "sms.from", "SMS: from").hint("The server's sender if empty."))
                }
            } }
        }
    }
}

fn message_fields(draft: &Draft, offer: &Offer) -> Markup {
    let values: Vec<(String, String)> = offer
        .templates
        .iter()
        .map(|template| (format!("template:{}", template.id), format!("Template: {}", template.name)))
        .chain(
            offer.channels.formats.iter().map(|format| (format!("format:{format}"), format!("Format: {}", targets::dialect_name(format)))),
        )
        .collect();
    let mut choices = vec![Choice::new("", "Default of the channel"), Choice::new(NEW, "New message template")];
    choices.extend(values.iter().map(|(value, label)| Choice::new(value, label)));
    html! {
        (Field::select(draft, "content", "Message template or format", &choices)
            .hint("Formats are for webhooks: they write and sign the event as a vendor's clients expect it. Templates are for people.").shows("content"))
        div.stack data-when-content=(NEW) {
            (Field::text(draft, "template.name", "Template name").placeholder("Order received"))
            (Field::code(draft, "template.text", "Content", 6).hint(html! { "Light Markdown with Twig, such as " code { "{{ data.customer }}" } ". More blocks and a preview are on the page of the template." }))
        }
    }
}

/// Settings of a new target, as its channel wants them.
fn settings(form: &Form, channel: &str) -> Value {
    let mut settings = Map::new();
    for (name, value) in form.pairs() {
        let Some(name) = name.strip_prefix(channel).and_then(|rest| rest.strip_prefix('.')) else { continue };
        let value = value.trim();
        if value.is_empty() {
            continue;
        }
        match name {
            "to" if channel == "email" => {
                let list = value.split(',').map(str::trim).filter(|one| !one.is_empty()).map(Value::from).collect();
                settings.insert("to".to_owned(), Value::Array(list));
            }
            "smtp.url" => drop(settings.insert("smtp".to_owned(), json!({"url": value}))),
            _ => drop(settings.insert(name.to_owned(), value.into())),
        }
    }
    Value::Object(settings)
}

/// The name that a field of the API has in the form.
fn field_name(field: &str, channel: &str) -> String {
    match field {
        "target_id" => "target".to_owned(),
        "template_id" | "format" => "content".to_owned(),
        "target.channel" => "channel".to_owned(),
        "target.settings.smtp" => "email.smtp.url".to_owned(),
        // What a format has against the address of the target that was chosen.
        field if field.starts_with("settings") => "target".to_owned(),
        field => match field.split_once('.') {
            Some(("target", rest)) => {
                rest.strip_prefix("settings").map_or_else(|| field.to_owned(), |setting| format!("{channel}{setting}"))
            }
            Some(("template", rest)) if rest != "name" => "template.text".to_owned(),
            _ => field.to_owned(),
        },
    }
}

/// Makes the subscription, with its target and its template if they are new: all of it, or nothing.
async fn make(api: &Api, one: &EventType, form: &Form) -> Result<(), Failure> {
    let filter: Value = match form.given("filter") {
        Some(text) => sample::read("filter", text)?,
        None => Value::Null,
    };
    let channel = form.text("channel");
    let mut wanted = json!({"event_types": [one.name], "filter": filter});
    match form.text("target") {
        NEW => wanted["target"] = json!({"name": form.text("target.name"), "channel": channel, "settings": settings(form, channel)}),
        known => wanted["target_id"] = known.into(),
    }
    match form.text("content").split_once(':') {
        Some(("template", id)) => wanted["template_id"] = id.into(),
        Some(("format", name)) => wanted["format"] = name.into(),
        _ if form.text("content") == NEW => {
            wanted["template"] =
                json!({"name": form.text("template.name"), "blocks": [{"kind": "text", "text": form.raw("template.text")}]});
        }
        _ => {}
    }
    let made = api.tell("/subscriptions", &wanted).await;
    made.map_err(|failure| failure.renamed(|field| field_name(field, channel)))
}

async fn save(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let one = types::find(&seat, &id).await?;
    match make(&seat.api, &one, &form).await {
        Ok(()) => Ok(go(&Flash::Created.to(&address(&one.id)))),
        Err(failure) => {
            let draft = at_filter(Draft::from(form), &failure);
            page(&seat, &one, &offer(&seat.api).await?, StatusCode::UNPROCESSABLE_ENTITY, &draft)
        }
    }
}
