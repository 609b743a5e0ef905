//! `/t/{token}`: what the links of mails lead to.
//!
//! Invariants:
//! - A token is good only if this server made it, so a redirect leads nowhere but where the sender of the mail wrote, and nobody can act
//!   for somebody else.
//! - Looking is not acting: `HEAD` is answered and tells nothing, and a `GET` never unsubscribes (mail scanners follow every link).
//! - The recipient comes first: a picture is shown and a link leads on even if the event could not be stored.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use posthaste_domain::message::{Deed, Ticket};
use posthaste_engine::Actor;

use crate::AppState;
use crate::input::read_body;
use crate::pages::{document, escape, form_html, html};

/// A transparent picture of one by one pixel (PNG, base 64).
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAC0lEQVR42mNgAAIAAAUAAen63NgAAAAASUVORK5CYII=";
/// What a mail program posts to unsubscribe with one click (RFC 8058 section 3.1).
const ONE_CLICK: &[u8] = b"List-Unsubscribe=One-Click";
/// Bytes of a body that are read: a form without fields.
const MAX_BODY: usize = 4 << 10;

/// `/t/{token}`.
pub(crate) fn router() -> Router<AppState> {
    Router::new().route("/t/{token}", get(visit).post(unsubscribe))
}

fn ticket(state: &AppState, path: Result<Path<String>, PathRejection>) -> Option<Ticket> {
    let Path(token) = path.ok()?;
    Ticket::read(&token, &state.engine.settings().page_secret)
}

fn actor(state: &AppState, request: &Request) -> Actor {
    let user_agent = request.headers().get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let ip = state.client_ip(request.headers(), request.extensions()).map(|ip| ip.to_string());
    Actor { ip, user_agent, one_click: false }
}

async fn visit(State(state): State<AppState>, path: Result<Path<String>, PathRejection>, request: Request) -> Response {
    let Some(ticket) = ticket(&state, path) else { return unknown() };
    if request.method() != Method::HEAD && ticket.deed != Deed::Unsubscribe {
        let told = state.engine.take_action(&ticket, actor(&state, &request)).await;
        if let Err(error) = told {
            tracing::warn!(%error, message = ticket.message_id, "what a recipient did could not be stored");
        }
    }
    match &ticket.deed {
        Deed::Open => {
            let picture = STANDARD.decode(PIXEL).expect("the picture is base 64");
            (quiet(), [(header::CONTENT_TYPE, HeaderValue::from_static("image/png"))], picture).into_response()
        }
        Deed::Click(url) => (StatusCode::FOUND, quiet(), [(header::LOCATION, location(url))]).into_response(),
        Deed::Unsubscribe => form_html(document(
            "Unsubscribe",
            &format!(
                "<h1>Unsubscribe</h1><p>Shall <b>{}</b> get no more mail from <b>{}</b>?</p>\
                 <form method=\"post\"><button>Unsubscribe</button></form>",
                escape(&ticket.recipient),
                escape(sender(&ticket))
            ),
        )),
    }
}

async fn unsubscribe(State(state): State<AppState>, path: Result<Path<String>, PathRejection>, request: Request) -> Response {
    let Some(ticket) = ticket(&state, path) else { return unknown() };
    if ticket.deed != Deed::Unsubscribe {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, HeaderValue::from_static("GET,HEAD"))]).into_response();
    }
    let mut actor = actor(&state, &request);
    // A body that is too large or never ends is no reason to keep somebody subscribed.
    let (parts, body) = request.into_parts();
    let body = read_body(&parts.headers, body, MAX_BODY, state.settings.body_time).await.unwrap_or_default();
    actor.one_click = body.windows(ONE_CLICK.len()).any(|window| window == ONE_CLICK);
    match state.engine.take_action(&ticket, actor).await {
        Ok(()) => html(document(
            "Unsubscribed",
            &format!(
                "<h1>Unsubscribed</h1><p><b>{}</b> gets no more mail from <b>{}</b>.</p>",
                escape(&ticket.recipient),
                escape(sender(&ticket))
            ),
        )),
        Err(error) => {
            tracing::error!(%error, message = ticket.message_id, "a recipient could not unsubscribe");
            let page = document("Not now", "<h1>Not now</h1><p>This could not be stored. Please try again in a moment.</p>");
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, HeaderValue::from_static("10"))], html(page)).into_response()
        }
    }
}

fn sender(ticket: &Ticket) -> &str {
    if ticket.domain.is_empty() { "this sender" } else { &ticket.domain }
}

fn unknown() -> Response {
    let page = document("Not found", "<h1>Not found</h1><p>This link is not complete, or it was not made here.</p>");
    (StatusCode::NOT_FOUND, html(page)).into_response()
}

/// Nobody in between keeps the answer, and the link itself goes nowhere.
fn quiet() -> HeaderMap {
    let fixed = HeaderValue::from_static;
    HeaderMap::from_iter([
        (header::CACHE_CONTROL, fixed("no-store, private")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (http::HeaderName::from_static("x-robots-tag"), fixed("noindex")),
    ])
}

/// A URL as a header: what is not visible ASCII is percent-encoded, as browsers do with a link.
fn location(url: &str) -> HeaderValue {
    let mut text = String::with_capacity(url.len());
    for byte in url.bytes() {
        if byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    HeaderValue::from_str(&text).expect("visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_url_is_a_header() {
        assert_eq!(location("https://x.example/a?b=c#d"), "https://x.example/a?b=c#d");
        assert_eq!(location("https://é.example/a b\r\nX: y"), "https://%C3%A9.example/a%20b%0D%0AX:%20y");
        assert!(STANDARD.decode(PIXEL).expect("base 64").starts_with(b"\x89PNG"));
    }
}
