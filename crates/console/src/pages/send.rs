//! A test event for an event type: a document that its rule finds, sent the way that the inbox's documents go.

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use http::StatusCode;
use maud::{Markup, html};
use serde_json::value::RawValue;

use super::inbox::{Accepted, Event};
use super::sample;
use super::types::{self, EventType, NAV, address};
use crate::api::segment;
use crate::form::Draft;
use crate::query::link;
use crate::session::{Post, Seat};
use crate::ui::{self, Field, Page, Tone, errors, submit};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/events/{id}/send", get(compose).post(send))
}

async fn compose(seat: Seat, Path(id): Path<String>) -> Answer {
    let one = types::find(&seat, &id).await?;
    let sent: Option<Event> = match seat.query.given("event") {
        Some(event) => seat.api.find(&format!("/events/{}", segment(event))).await?,
        None => None,
    };
    let text = sent.as_ref().map_or_else(|| types::pretty(&one.rule), |event| event.data.get().to_owned());
    page(&seat, &one, StatusCode::OK, &Draft::new().set("data", text), sent.as_ref())
}

fn page(seat: &Seat, one: &EventType, status: StatusCode, draft: &Draft, sent: Option<&Event>) -> Answer {
    let path = address(&one.id);
    let content = html! {
        @if let Some(event) = sent { (outcome(one, event)) }
        (ui::section("The document", html! {
            form.form method="post" action=(format!("{path}/send")) {
                (ui::csrf(&seat.csrf)) (errors(draft))
                (Field::code(draft, "data", "Document (JSON)", 12).hint("It begins as the rule of the event type, so that the rule finds it. Add what your sender sends.").required())
                div.actions { (submit("Send event")) a.button.quiet href=(path) { "Back to the event type" } }
            }
        }))
    };
    let page = Page::new("Send event", NAV).under(&[("Events", NAV), (&one.name, &path)]).narrow().status(status);
    Ok(page
        .lede(html! { "It goes the way of every document of the inbox: stored, matched by the rules, delivered for real." })
        .show(seat, content))
}

fn outcome(one: &EventType, event: &Event) -> Markup {
    let inbox = format!("/console/inbox/{}", segment(&event.id));
    let whole = html! { a href=(inbox) { "Open it in the inbox" } };
    match event.type_name.as_deref() {
        Some(name) if name == one.name => {
            let many = match event.deliveries.len() {
                0 => "No delivery wants it.".to_owned(),
                1 => "It goes out as 1 delivery.".to_owned(),
                many => format!("It goes out as {many} deliveries."),
            };
            ui::notice(Tone::Ok, html! { "Stored " (ui::time(&event.received_at)) " as " strong { (name) } ". " (many) " " (whole) "." })
        }
        Some(name) => ui::notice(
            Tone::Warn,
            html! { "Stored, but it went to the older event type " strong { (name) } ", whose rule it matches too. " (whole) "." },
        ),
        None => ui::notice(Tone::Warn, html! { "Stored, but no rule found it, so it went nowhere. " (whole) "." }),
    }
}

async fn send(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let one = types::find(&seat, &id).await?;
    let sent = match sample::read::<Box<RawValue>>("data", form.raw("data")) {
        Ok(data) => seat.api.post_text::<Accepted>("/events/document", format!("{{\"data\":{data}}}")).await,
        Err(failure) => Err(failure),
    };
    match sent {
        Ok(accepted) => Ok(go(&link(&format!("{}/send", address(&one.id)), [("event", accepted.id.as_str())]))),
        Err(failure) => page(&seat, &one, StatusCode::UNPROCESSABLE_ENTITY, &Draft::from(form).refused(&failure), None),
    }
}
