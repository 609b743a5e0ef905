//! `/posthaste/v1/carriers/{token}`: where the provider of the SMS gateway calls back (`docs/sms.md`).
//!
//! Invariants: only who knows the token of the configuration gets past the path; a callback is answered 200 when everything it says is
//! durable, and 503 otherwise, so that the provider calls again.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::join_all;
use http::{StatusCode, header};

use crate::AppState;
use crate::codes::Code;
use crate::input::read_body;
use crate::problem::Problem;

/// The path.
pub(crate) fn router() -> Router<AppState> {
    Router::new().route("/posthaste/v1/carriers/{token}", get(called_back).post(called_back))
}

async fn called_back(
    State(state): State<AppState>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let channels = state.engine.channels();
    let token = path.map(|Path(token)| token).unwrap_or_default();
    let rules = channels
        .gateway_rules()
        .filter(|rules| rules.token_is(&token))
        .ok_or_else(|| Problem::new(Code::NotFound, "no carrier calls back here"))?;
    let (parts, body) = request.into_parts();
    let body = read_body(&parts.headers, body, state.settings.max_body_bytes, state.settings.body_time).await?;
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let news = rules.read(content_type, parts.uri.query(), &body).map_err(|error| {
        tracing::warn!(%error, "a callback of the SMS gateway was not understood");
        Problem::new(Code::InvalidField, error.to_string())
    })?;
    let inbox = channels.carrier_inbox();
    let kept = join_all(news.into_iter().map(|kind| inbox.offer(kind))).await;
    if kept.contains(&false) {
        return Err(Problem::new(Code::Overloaded, "not everything could be stored, or belongs to a message that is known; call again"));
    }
    Ok(StatusCode::OK.into_response())
}
