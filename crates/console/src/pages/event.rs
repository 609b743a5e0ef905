//! One event whole: its payload, what matched and why, each delivery with its attempts; sending again, and sending a new one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{StatusCode, header};
use maud::{Markup, html};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;

use super::deliveries::is_final;
use super::inbox::{self, Attempt, Delivery, Event};
use crate::api::{Api, Failure, segment};
use crate::form::Draft;
use crate::query::link;
use crate::session::{Post, Seat};
use crate::ui::{self, Field, Flash, Page, Step, Tone, errors, submit};
use crate::{Answer, Console, go, live};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/inbox/send", get(compose).post(send))
        .route("/inbox/{id}", get(show))
        .route("/inbox/{id}/live", get(watch))
        .route("/inbox/{id}/payload", get(download))
        .route("/inbox/{id}/resend", post(resend))
        .route("/inbox/{id}/deliveries/{delivery}/resend", post(resend_one))
        .route("/inbox/{id}/deliveries/{delivery}/cancel", post(cancel_one))
}

/// Deliveries that one page shows with all their attempts.
const MOST: usize = 50;
/// Bytes of a payload that a page shows.
const SHOWN_PAYLOAD: usize = 512 << 10;

#[derive(Deserialize)]
struct Target {
    name: String,
    channel: String,
    status: String,
}

#[derive(Deserialize)]
struct Subscription {
    event_types: Vec<String>,
    filter: Option<Value>,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct EventType {
    id: String,
    name: String,
    group: Option<String>,
    rule: Option<Value>,
}

#[derive(Deserialize)]
struct Types {
    items: Vec<EventType>,
}

/// An event with what becomes of it.
struct Whole {
    event: Event,
    deliveries: Vec<Delivery>,
    targets: BTreeMap<String, Option<Target>>,
}

impl Whole {
    /// Whether all that was attempted is here. An attempt may be told of a little before it can be read.
    fn has_all(&self) -> bool {
        self.deliveries.iter().all(|delivery| delivery.attempts.len() >= delivery.attempt_count as usize)
    }

    /// Whether nothing more becomes of it by itself.
    fn is_final(&self) -> bool {
        self.has_all() && self.event.deliveries.iter().all(|delivery| is_final(&delivery.state))
    }
}

async fn event(api: &Api, id: &str) -> Result<Event, Failure> {
    api.get(&format!("/events/{}", segment(id))).await
}

async fn whole(api: &Api, event: Event) -> Result<Whole, Failure> {
    let mut deliveries: Vec<Delivery> = Vec::new();
    for delivery in event.deliveries.iter().take(MOST) {
        deliveries.push(api.get(&format!("/deliveries/{}", segment(&delivery.id))).await?);
    }
    let targets = targets(api, &deliveries.iter().collect::<Vec<_>>()).await?;
    Ok(Whole { event, deliveries, targets })
}

/// The targets of some deliveries, by their ids.
async fn targets(api: &Api, of: &[&Delivery]) -> Result<BTreeMap<String, Option<Target>>, Failure> {
    let mut targets = BTreeMap::new();
    for id in of.iter().filter_map(|delivery| delivery.target_id.clone()) {
        if let Entry::Vacant(place) = targets.entry(id) {
            let target = api.find(&format!("/targets/{}", segment(place.key()))).await?;
            place.insert(target);
        }
    }
    Ok(targets)
}

async fn show(seat: Seat, Path(id): Path<String>) -> Answer {
    let whole = whole(&seat.api, event(&seat.api, &id).await?).await?;
    let event = &whole.event;
    let address = format!("/console/inbox/{}", segment(&event.id));
    let content = html! {
        div.columns.main-side {
            div.stack {
                section.panel-box { header { h2 { "Payload" } span.muted.small { (ui::bytes(event.data.get().len() as u64)) } } div.body { (payload(event)) } }
                section.panel-box {
                    header { h2 { "Deliveries" } (ui::live_sign()) }
                    div.body sse-connect=(format!("{address}/live")) sse-swap="part" { (deliveries(&seat, &whole)) }
                }
                (ui::section("Send it again from a shell", ui::curl(&send_line(&seat, event))))
            }
            div.stack {
                (ui::section("Event", facts(event)))
                (ui::section("What matched", matched(&seat, &whole).await?))
            }
        }
    };
    let actions = html! {
        (ui::button_link(&link("/console/inbox/send", [("like", event.id.as_str())]), "", "edit", "Send a copy", false))
        @if event.deliveries.iter().any(|delivery| is_final(&delivery.state)) {
            (ui::button(&seat.csrf, &format!("{address}/resend"), "primary", "again", "Resend all"))
        }
    };
    let title = event.type_name.as_deref().unwrap_or("Event without a type");
    let page = Page::new(title, "/console/inbox").under(&[("Inbox", "/console/inbox")]).actions(actions);
    Ok(page.lede(html! { "Received " (ui::full_time(&event.received_at)) }).show(&seat, content))
}

/// The payload of an event, or its beginning.
pub(super) fn payload(event: &Event) -> Markup {
    ui::payload("payload", event.data.get(), SHOWN_PAYLOAD, &format!("/console/inbox/{}/payload", segment(&event.id)))
}

/// The payload as a file, byte for byte.
async fn download(seat: Seat, Path(id): Path<String>) -> Answer {
    let event = event(&seat.api, &id).await?;
    let name = format!("attachment; filename=\"{}.json\"", segment(&event.id));
    let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, event.data.get().to_owned()).into_response())
}

fn facts(event: &Event) -> Markup {
    let mut facts = vec![
        ("Id", html! { code { (event.id) } }),
        ("Type", inbox::type_name(event.type_name.as_deref())),
        ("Received", ui::full_time(&event.received_at)),
        ("Source", html! { (event.source.via) }),
    ];
    if let Some(key) = &event.source.key {
        facts.push(("By", html! { code { (key) } }));
    }
    if let Some(ip) = &event.source.ip {
        facts.push(("From", html! { code { (ip) } }));
    }
    ui::facts(&facts)
}

/// Why the event has its type, and why each subscription took it.
async fn matched(seat: &Seat, whole: &Whole) -> Result<Markup, Failure> {
    let event = &whole.event;
    let mut subscriptions: BTreeMap<&str, Option<Subscription>> = BTreeMap::new();
    for id in whole.deliveries.iter().filter_map(|delivery| delivery.subscription_id.as_deref()) {
        if let Entry::Vacant(place) = subscriptions.entry(id) {
            place.insert(seat.api.find(&format!("/subscriptions/{}", segment(id))).await?);
        }
    }
    let known = match event.type_name.as_deref() {
        None => None,
        Some(name) => {
            let types: Types = seat.api.get(&link("/event-types", [("search", name), ("limit", "1000")])).await?;
            types.items.into_iter().find(|known| known.name == name)
        }
    };
    let type_part = match (&known, event.type_name.as_deref()) {
        (_, None) => html! {
            p { "No event type's rule is contained in this document, so it went nowhere." }
            p { a href="/console/events" { "Define an event type for it" } }
        },
        (None, Some(name)) => {
            html! { p { "The sender named the type " code { (name) } ". No event type of this name is defined, and none needs to be." } }
        }
        (Some(known), Some(_)) => html! {
            p { "Event type " a href=(format!("/console/events/{}", segment(&known.id))) { (known.name) } @if let Some(group) = &known.group { span.muted { " in " (group) } } }
            @if event.source.via == "inbox" && let Some(rule) = &known.rule { p.small.muted { "The document contains its rule:" } (ui::json("rule", &rule.to_string())) }
        },
    };
    Ok(html! {
        (type_part)
        @for (id, subscription) in &subscriptions {
            div {
                @match subscription {
                    None => p.muted { "A subscription that was deleted since (" code { (id) } ")." },
                    Some(subscription) => {
                        p { "A subscription to " @for (at, name) in subscription.event_types.iter().enumerate() { @if at > 0 { ", " } code { (name) } }
                            @if !subscription.description.is_empty() { span.muted { " – " (subscription.description) } } }
                        @if let Some(filter) = &subscription.filter { p.small.muted { "with a filter that the payload meets:" } (ui::json("filter", &filter.to_string())) }
                    }
                }
            }
        }
        @if event.type_name.is_some() && subscriptions.is_empty() {
            p { "No subscription wants it. " a href="/console/targets" { "Attach a target" } }
        }
    })
}

fn deliveries(seat: &Seat, whole: &Whole) -> Markup {
    if whole.deliveries.is_empty() {
        return ui::empty("deliveries", "No delivery", "No subscription wanted this event when it arrived.", html! {});
    }
    let hidden = whole.event.deliveries.len() - whole.deliveries.len();
    html! {
        div {
            @for delivery in &whole.deliveries { (one_delivery(seat, whole, delivery, whole.deliveries.len() == 1)) }
            @if hidden > 0 { p.muted { "and " (hidden) " more: " a href=(link("/console/deliveries", [("type", whole.event.type_name.as_deref().unwrap_or_default())])) { "all deliveries" } } }
        }
    }
}

fn one_delivery(seat: &Seat, whole: &Whole, delivery: &Delivery, is_only: bool) -> Markup {
    let target = delivery.target_id.as_ref().and_then(|id| whole.targets.get(id)).and_then(Option::as_ref);
    let base = format!("/console/inbox/{}/deliveries/{}", segment(&whole.event.id), segment(&delivery.id));
    let name = target.map_or("A target that was deleted since", |target| target.name.as_str());
    let attempts = if delivery.attempt_count == 1 { "1 attempt".to_owned() } else { format!("{} attempts", delivery.attempt_count) };
    let summary = html! {
        (ui::status(&delivery.state)) strong { (name) }
        span.muted.small { @if let Some(target) = target { (target.channel) ", " } (attempts) }
    };
    let steps: Vec<Step> = delivery.attempts.iter().map(|one| attempt(&delivery.id, one)).collect();
    let content = html! {
        @if let Some(target) = target.filter(|target| target.status != "active" && !is_final(&delivery.state)) {
            (ui::standing(Tone::Warn, html! { "The target is " (target.status) ": this delivery is held." }))
        }
        @if steps.is_empty() { p.muted { "No attempt yet." } } @else { (ui::timeline("Attempts", &steps)) }
        @if let Some(at) = &delivery.next_attempt_at { p.small { "Next attempt: " (ui::time(at)) " (" (ui::ago(at)) ")" } }
        div.row.apart {
            span.small.muted { code { (delivery.id) } ", changed " (ui::time(&delivery.updated_at)) }
            span.row {
                @if let Some(id) = &delivery.target_id { a.button.slim href=(format!("/console/targets/{}", segment(id))) { "Target" } }
                @if is_final(&delivery.state) { (ui::button(&seat.csrf, &format!("{base}/resend"), "slim", "again", "Resend")) }
                @else { (ui::button(&seat.csrf, &format!("{base}/cancel"), "slim danger", "stop", "Cancel")) }
            }
        }
    };
    // What needs a look is open: what failed, and what has failed so far.
    let is_failing = delivery.state == "failed" || delivery.state == "queued" && delivery.attempt_count > 0;
    ui::named_fold(&delivery.id, is_only || is_failing, summary, content)
}

/// One attempt of a delivery: how it ended, what was sent and what came back.
pub(super) fn attempt(delivery: &str, attempt: &Attempt) -> Step {
    let is_good = attempt.error.is_none();
    let fault = match attempt.fault.as_deref() {
        Some("ours") => " – our fault",
        Some("theirs") => " – the receiver's fault",
        Some("network") => " – the network's fault",
        _ => "",
    };
    let what = html! {
        div {
            strong { "Attempt " (attempt.number) } ": "
            @if is_good { "accepted" } @else { (attempt.message.as_deref().or(attempt.error.as_deref()).unwrap_or("failed")) }
            @if let Some(status) = attempt.status { ", status " (status) }
            span.muted { " in " (ui::duration_ms(attempt.duration_ms)) (fault) }
        }
        @if let Some(error) = &attempt.error { div.small { a href=(format!("/posthaste/v1/errors/{}", segment(error))) { code { (error) } } } }
        (ui::named_fold(&format!("{delivery}-{}", attempt.number), false, html! { "Request and response" }, html! {
            h4 { "Request" } (ui::code("request", &attempt.request))
            h4 { "Response" } (ui::code("response", &format!("{}\n\n{}", attempt.response, attempt.response_body)))
        }))
    };
    Step { tone: if is_good { Tone::Ok } else { Tone::Bad }, what, at: Some(attempt.at.clone()) }
}

/// The line that sends the same event again. A shell reads what is in single quotes as it is.
fn send_line(seat: &Seat, event: &Event) -> String {
    let name = Value::from(event.type_name.as_deref().unwrap_or("event"));
    let body = format!("{{\"type\": {name}, \"data\": {}}}", event.data.get()).replace('\'', "'\\''");
    format!(
        "curl {}/posthaste/v1/events \\\n  -H 'Authorization: Bearer YOUR_KEY' \\\n  -H 'Content-Type: application/json' \\\n  --data-binary '{body}'",
        seat.base_url
    )
}

async fn watch(State(console): State<Console>, seat: Seat, Path(id): Path<String>) -> Response {
    let before = Arc::new(Mutex::new(None));
    live::watch(&console, seat, move |seat| {
        let (id, before) = (id.clone(), Arc::clone(&before));
        async move {
            let event = event(&seat.api, &id).await?;
            let now = Some(changing(&seat.api, &event).await?);
            if *before.lock() == now {
                return Ok(live::Part::same());
            }
            let whole = whole(&seat.api, event).await?;
            *before.lock() = now.filter(|_| whole.has_all());
            Ok(live::Part::from(deliveries(&seat, &whole)).last_if(whole.is_final()))
        }
    })
    .await
}

/// What changes whenever anything does that the page shows of an event's deliveries. Each of them whole is a call of its own, and so is each
/// target; a target matters to what is still open.
async fn changing(api: &Api, event: &Event) -> Result<Vec<String>, Failure> {
    let shown = event.deliveries.iter().take(MOST);
    let open: Vec<&Delivery> = shown.clone().filter(|delivery| !is_final(&delivery.state)).collect();
    let targets = targets(api, &open).await?;
    let of_delivery =
        |one: &Delivery| format!("{} {} {} {} {:?}", one.id, one.state, one.attempt_count, one.updated_at, one.next_attempt_at);
    let of_target = |one: &Target| format!("{} {} {}", one.name, one.channel, one.status);
    let of_targets = targets.iter().map(|(id, one)| format!("{id} {:?}", one.as_ref().map(of_target)));
    Ok(shown.map(of_delivery).chain(of_targets).collect())
}

#[derive(Deserialize)]
struct Resent {
    items: Vec<serde::de::IgnoredAny>,
}

async fn resend(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    let resent: Resent = seat.api.post_empty(&format!("/events/{}/resend", segment(&id))).await?;
    let flash = if resent.items.is_empty() { Flash::Nothing } else { Flash::Resent };
    Ok(go(&flash.to(&format!("/console/inbox/{}", segment(&id)))))
}

async fn resend_one(Path((id, delivery)): Path<(String, String)>, Post { seat, .. }: Post) -> Answer {
    seat.api.act(&format!("/deliveries/{}/resend", segment(&delivery))).await?;
    Ok(go(&Flash::Resent.to(&format!("/console/inbox/{}", segment(&id)))))
}

async fn cancel_one(Path((id, delivery)): Path<(String, String)>, Post { seat, .. }: Post) -> Answer {
    seat.api.act(&format!("/deliveries/{}/cancel", segment(&delivery))).await?;
    Ok(go(&Flash::Cancelled.to(&format!("/console/inbox/{}", segment(&id)))))
}

async fn compose(seat: Seat) -> Answer {
    let mut draft = Draft::new().set("type", seat.query.text("type")).set("data", "{\n  \n}");
    if let Some(id) = seat.query.given("like")
        && let Some(event) = seat.api.find::<Event>(&format!("/events/{}", segment(id))).await?
    {
        draft = draft.set("type", event.type_name.as_deref().unwrap_or_default()).set("data", event.data.get());
    }
    Ok(compose_page(&seat, StatusCode::OK, &draft))
}

fn compose_page(seat: &Seat, status: StatusCode, draft: &Draft) -> Response {
    let content = ui::section(
        "The event",
        html! {
            form.form method="post" action="/console/inbox/send" {
                (ui::csrf(&seat.csrf)) (errors(draft))
                (Field::text(draft, "type", "Type").hint("Which subscriptions take it is decided by this name.").mono().required().focus())
                (Field::code(draft, "data", "Payload (JSON)", 14).hint("Kept byte for byte as you write it."))
                (Field::time(draft, "deliver_at", "Deliver not before").optional())
                div.actions { (submit("Send the event")) a.button.quiet href="/console/inbox" { "Cancel" } }
            }
        },
    );
    let page = Page::new("Send event", "/console/inbox").under(&[("Inbox", "/console/inbox")]).narrow().status(status);
    page.lede(html! { "It goes the way of any event: stored, matched and delivered for real." }).show(seat, content)
}

async fn send(Post { seat, form }: Post) -> Answer {
    match inbox::publish(&seat, form.text("type"), form.raw("data"), form.moment("deliver_at").as_deref()).await {
        Ok(accepted) => Ok(go(&Flash::Sent.to(&format!("/console/inbox/{}", segment(&accepted.id))))),
        Err(failure) => Ok(compose_page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &Draft::from(form).refused(&failure))),
    }
}
