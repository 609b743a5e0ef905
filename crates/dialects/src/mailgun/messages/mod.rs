//! Sending: `POST /v3/{domain}/messages` and `messages.mime` (section 11.1 of the documents).
//!
//! Invariants: after a refusal nothing is queued and no event is written; a message is on disk before its sender hears `Queued`.

mod compose;
mod form;
mod options;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::post;
use http::{StatusCode, header};
use posthaste_domain::event::Source;
use posthaste_domain::message::Outgoing;
use posthaste_domain::resource::{Domain, Scope};
use posthaste_engine::{AcceptError, Entry, SendError};
use serde_json::json;

use super::answer::{self, Refusal, Service};
use super::{MailgunState, Shared};
use crate::body::{self, BodyError};
use form::{FormError, SendForm};

pub(super) use compose::{new_id, too_many};

/// What a form may have besides its message: names, boundaries, encoding.
const FORM_OVERHEAD: usize = 1 << 20;
/// Seconds after which a refused client may come back.
const RETRY_SECONDS: u32 = 5;

/// The two ways to send.
pub(super) fn router() -> Router<MailgunState> {
    Router::new().route("/v3/{domain}/messages", post(send)).route("/v3/{domain}/messages.mime", post(send_mime))
}

async fn send(State(state): State<MailgunState>, Path(domain): Path<String>, request: Request) -> Result<Response, Refusal> {
    let (origin, domain, form) = state.shared.receive(&domain, request).await?;
    let message = compose::from_parts(form, &domain.doc, &state.shared.settings, state.shared.engine.now_ms())?;
    state.shared.queue(origin, message).await
}

async fn send_mime(State(state): State<MailgunState>, Path(domain): Path<String>, request: Request) -> Result<Response, Refusal> {
    let (origin, domain, form) = state.shared.receive(&domain, request).await?;
    let message = compose::from_mime(form, &domain.doc, &state.shared.settings, state.shared.engine.now_ms())?;
    state.shared.queue(origin, message).await
}

/// Whose message it is.
pub(super) struct Origin {
    pub(super) workspace: i64,
    pub(super) key: String,
}

impl Shared {
    /// The domain of a path, in the words of the sending service.
    pub(super) fn sending_domain(&self, workspace: i64, name: &str) -> Result<Arc<Entry<Domain>>, Refusal> {
        let found = self.engine.find_domain(workspace, &name.to_ascii_lowercase());
        found.ok_or_else(|| Refusal::message(StatusCode::NOT_FOUND, format!("Domain not found: {name}")))
    }

    /// Key, domain and form of a sending request.
    async fn receive(&self, domain: &str, request: Request) -> Result<(Origin, Arc<Entry<Domain>>, SendForm), Refusal> {
        let (parts, mut body) = request.into_parts();
        let key = self.caller(&parts.headers, Service::Messages, Scope::Publish)?;
        let domain = self.sending_domain(key.workspace, domain)?;
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let limit = usize::try_from(self.settings.max_message_bytes).unwrap_or(usize::MAX - FORM_OVERHEAD);
        let read = SendForm::read(content_type, &mut body, limit + FORM_OVERHEAD, self.settings.message_timeout).await;
        let too_large =
            || Refusal::message(StatusCode::PAYLOAD_TOO_LARGE, format!("Message is too large: at most {limit} bytes are taken"));
        let form = match read {
            Ok(form) if form.bytes > limit => return Err(too_large()),
            Ok(form) => form,
            Err(error) => {
                // Who asked whether to send has sent nothing yet.
                if matches!(error, FormError::Body(BodyError::TooLarge)) && !parts.headers.contains_key(header::EXPECT) {
                    body::discard(&mut body).await;
                }
                return Err(match error {
                    FormError::Body(BodyError::TooLarge) => too_large(),
                    FormError::Body(BodyError::TimedOut) => Refusal::message(StatusCode::REQUEST_TIMEOUT, error.to_string()),
                    FormError::Body(BodyError::Broken) | FormError::Params(_) => Refusal::bad(error.to_string()),
                });
            }
        };
        Ok((Origin { workspace: key.workspace, key: key.id.clone() }, domain, form))
    }

    /// Takes a message and says so.
    pub(super) async fn queue(&self, origin: Origin, message: Outgoing) -> Result<Response, Refusal> {
        let id = message.id.clone();
        let source = Arc::new(Source { via: super::format::DIALECT.to_owned(), key: Some(origin.key), ip: None });
        self.engine.send_message(origin.workspace, source, message, None).await.map_err(refuse_send)?;
        Ok(answer::ok(&json!({ "id": format!("<{id}>"), "message": "Queued. Thank you." })))
    }
}

fn refuse_send(error: SendError) -> Refusal {
    match error {
        SendError::Accept(AcceptError::Overloaded | AcceptError::Closing | AcceptError::Unavailable) => Refusal::unavailable(RETRY_SECONDS),
        error => {
            tracing::error!(%error, "a message of the Mailgun API could not be taken");
            Refusal::internal()
        }
    }
}
