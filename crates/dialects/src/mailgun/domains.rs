//! `GET /v3/domains`: which domains there are. They are made by the native API (O-14).

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::get;
use posthaste_domain::clock::rfc3339;
use posthaste_domain::resource::{Domain, Scope};
use posthaste_engine::Entry;
use serde_json::{Value, json};

use super::MailgunState;
use super::answer::{self, Refusal, Service};

/// Domains of a page at most, and by default.
const MAX_PAGE: usize = 1000;
const PAGE: usize = 100;

/// The list, and one.
pub(super) fn router() -> Router<MailgunState> {
    Router::new().route("/v3/domains", get(list)).route("/v3/domains/{domain}", get(show))
}

fn shown(domain: &Entry<Domain>) -> Value {
    json!({
        "id": domain.id,
        "name": domain.doc.name,
        "created_at": rfc3339(domain.created_ms),
        "state": "active",
        "type": "custom",
        "spam_action": "disabled",
        "wildcard": false,
        "is_disabled": false,
        "web_prefix": "email",
        "web_scheme": "https",
    })
}

async fn list(State(state): State<MailgunState>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Messages, Scope::Read).await?;
    let number = |name: &str, usual: usize| match call.query.first(name) {
        None => Ok(usual),
        Some(text) => text.trim().parse().map_err(|_| Refusal::bad(format!("{name} parameter is not a number"))),
    };
    let (limit, skip) = (number("limit", PAGE)?.min(MAX_PAGE), number("skip", 0)?);
    let all = state.shared.engine.list::<Domain>(call.workspace);
    let items: Vec<Value> = all.iter().skip(skip).take(limit).map(|domain| shown(domain)).collect();
    Ok(answer::ok(&json!({ "total_count": all.len(), "items": items })))
}

async fn show(State(state): State<MailgunState>, Path(name): Path<String>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Messages, Scope::Read).await?;
    let domain = state.shared.engine.find_domain(call.workspace, &name.to_ascii_lowercase()).ok_or_else(Refusal::no_domain)?;
    Ok(answer::ok(&json!({ "domain": shown(&domain), "receiving_dns_records": [], "sending_dns_records": [] })))
}
