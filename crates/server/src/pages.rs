//! The few pages for people, and the headers that keep them harmless.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use posthaste_engine::Engine;
use sha2::{Digest, Sha256};

use crate::AppState;
use crate::codes;
use crate::input::Id;
use crate::problem::Problem;

/// The style of every page of this crate.
pub(crate) const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
code,pre{font:14px/1.45 ui-monospace,monospace;background:#f4f5f7;border-radius:4px}code{padding:.1em .3em}pre{padding:.75rem;overflow:auto;white-space:pre-wrap;word-break:break-word}\
h1{font-size:1.5rem}h2{font-size:1rem;margin:1.5rem 0 .25rem}article{border-top:1px solid #d8dbe0;padding:.5rem 0}small,.dim{color:#5b6470}\
@media(prefers-color-scheme:dark){body{color:#e6e9ee;background:#15181c}code,pre{background:#22262c}article{border-color:#343a42}small,.dim{color:#9aa4b0}a{color:#8ab4ff}}";

/// `/`, `/m/{token}` and the pages of error codes.
pub(crate) fn router() -> Router<AppState> {
    Router::new().route("/", get(landing)).route("/m/{token}", get(message)).route("/posthaste/v1/errors/{code}", get(error_page))
}

/// A whole page from its body.
pub(crate) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><style>{STYLE}</style></head>\n<body>{body}</body></html>\n",
        escape(title)
    )
}

/// Text as HTML shows it.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A page of ours: no scripts, no frames, no foreign content; only our own style.
pub(crate) fn html(page: String) -> Response {
    html_under(page, &policy("'none'"))
}

/// The same for a page whose form is posted back to this server.
pub(crate) fn form_html(page: String) -> Response {
    html_under(page, &policy("'self'"))
}

fn policy(form_action: &str) -> String {
    format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action {form_action}; frame-ancestors 'none'",
        STANDARD.encode(Sha256::digest(STYLE))
    )
}

fn html_under(page: String, policy: &str) -> Response {
    let fixed = HeaderValue::from_static;
    let headers = [
        (header::CONTENT_TYPE, fixed("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_str(policy).expect("policies are ASCII")),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::X_FRAME_OPTIONS, fixed("DENY")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), fixed("same-origin")),
        (HeaderName::from_static("x-robots-tag"), fixed("noindex")),
        (header::CACHE_CONTROL, fixed("no-store")),
    ];
    (headers, page).into_response()
}

async fn landing(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some(home) = state.settings.home.filter(|_| accepts.contains("text/html")) {
        return Redirect::to(home).into_response();
    }
    html(document(
        "Posthaste",
        "<h1>Posthaste</h1><p>This server takes events over HTTP and delivers them as messages: to webhooks, chat and e-mail.</p>\
         <ul><li>The native API is under <code>/posthaste/v1</code>; its description is \
         <a href=\"/posthaste/v1/openapi.json\">openapi.json</a>.</li>\
         <li>The MsgGO inbox is at <code>/inbox</code>.</li>\
         <li>Error codes have pages under <code>/posthaste/v1/errors/</code>.</li>\
         <li>Operations: <a href=\"/healthz\">/healthz</a>, <a href=\"/readyz\">/readyz</a>, <a href=\"/metrics\">/metrics</a>.</li></ul>\
         <p>First steps: <code>posthaste --help</code>, and the README beside the program.</p>",
    ))
}

/// The full text of a message whose channel carried only a summary.
async fn message(State(engine): State<Engine>, path: Result<Path<String>, PathRejection>) -> Response {
    let page = match &path {
        Ok(Path(token)) => engine.message_page(token).await,
        Err(_) => None,
    };
    match page {
        // The page brings its own inline style; data in it is escaped where it is rendered.
        Some(page) => html_under(
            page,
            "default-src 'none'; style-src 'unsafe-inline'; img-src https: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        None => {
            let page = document("Not found", "<h1>Not found</h1><p>There is no such message, or it is no longer kept.</p>");
            (StatusCode::NOT_FOUND, html(page)).into_response()
        }
    }
}

/// The page of an error code, as Markdown text.
async fn error_page(Id(code): Id) -> Response {
    let fixed = HeaderValue::from_static;
    match codes::page(&code) {
        Some(page) => {
            let headers = [(header::CONTENT_TYPE, fixed("text/plain; charset=utf-8")), (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"))];
            (headers, page).into_response()
        }
        None => Problem::not_found("error code", &code).into_response(),
    }
}
