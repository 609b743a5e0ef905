//! Messages as they were sent: `/v3/domains/{domain}/messages/{key}`, the address in an event's `storage` (section 11.4 of the documents).
//!
//! The key is the message id in URL-safe base 64. What is shown is the mail of the first recipient, or of the one that the query names
//! (`recipient=`), links of tracking included.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderValue, StatusCode, header};
use posthaste_channels::Mail;
use posthaste_domain::message::{Links, Recipient, address, mime};
use posthaste_domain::resource::{Domain, Scope};
use posthaste_engine::{Entry, MessageRecord};
use serde_json::{Value, json};

use super::access::Call;
use super::answer::{self, Refusal, Service};
use super::messages::{Origin, new_id, too_many};
use super::{MailgunState, Shared};

/// Reading, sending again, and files.
pub(super) fn router() -> Router<MailgunState> {
    Router::new()
        .route("/v3/domains/{domain}/messages/{key}", get(show).post(resend))
        .route("/v3/domains/{domain}/messages/{key}/attachments/{place}", get(file))
}

fn missing() -> Refusal {
    Refusal::message(StatusCode::NOT_FOUND, "Message not found")
}

/// A stored message and whose it is.
struct Stored {
    record: MessageRecord,
    domain: Arc<Entry<Domain>>,
}

impl Shared {
    async fn stored(&self, call: &Call, domain: &str, key: &str) -> Result<Stored, Refusal> {
        let domain = self.sending_domain(call.workspace, domain)?;
        let id = URL_SAFE_NO_PAD.decode(key).ok().and_then(|id| String::from_utf8(id).ok()).ok_or_else(missing)?;
        let record = self.engine.message(call.workspace, &id).await.map_err(|error| {
            tracing::error!(%error, "a stored message could not be read");
            Refusal::internal()
        })?;
        let kept_ms = i64::try_from(self.settings.stored_messages.as_millis()).unwrap_or(i64::MAX);
        let oldest_ms = self.engine.now_ms().saturating_sub(kept_ms);
        let fits = |record: &MessageRecord| {
            record.outgoing.domain.as_deref() == Some(domain.doc.name.as_str())
                && record.outgoing.email.is_some()
                && record.outgoing.created_ms >= oldest_ms
        };
        let record = record.filter(fits).ok_or_else(missing)?;
        Ok(Stored { record, domain })
    }

    /// The mail of one recipient.
    fn mail(&self, stored: &Stored, recipient: usize) -> Mail {
        let (event, settings) = (&stored.record.event, self.engine.settings());
        let accepted = event.sequence.0 + 1 + recipient as i64;
        let (base_url, secret) = (settings.public_base_url.clone(), settings.page_secret);
        let links = Links { base_url, secret, workspace: event.workspace, accepted };
        let envelope_from = stored.record.outgoing.sender.clone();
        Mail { message: Arc::new(stored.record.outgoing.clone()), recipient, links, dkim: stored.domain.doc.dkim.clone(), envelope_from }
    }
}

async fn show(
    State(state): State<MailgunState>,
    Path((domain, key)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Messages, Scope::Read).await?;
    let stored = state.shared.stored(&call, &domain, &key).await?;
    let message = &stored.record.outgoing;
    let recipient = match call.query.first("recipient") {
        None => 0,
        Some(wanted) => message.recipients.iter().position(|to| to.address.eq_ignore_ascii_case(wanted)).ok_or_else(missing)?,
    };
    let mail = state.shared.mail(&stored, recipient);
    let written = mail.mime().map_err(|error| {
        tracing::error!(%error, message = message.id, "a stored message could not be composed");
        Refusal::internal()
    })?;
    let headers = mime::headers(&written);
    let subject = mime::header(&headers, "subject").unwrap_or_default();
    let email = message.email.as_ref().ok_or_else(missing)?;
    let mut shown = json!({
        "sender": message.sender,
        "recipients": message.recipients.iter().map(|to| to.address.as_str()).collect::<Vec<_>>().join(", "),
        "from": email.from,
        "From": email.from,
        "To": email.to,
        "subject": subject,
        "Subject": subject,
        "Message-Id": format!("<{}>", message.id),
        "message-headers": headers,
    });
    let accept = call.parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.to_ascii_lowercase().contains("message/rfc2822") {
        shown["body-mime"] = String::from_utf8_lossy(&written).into();
        return Ok(answer::ok(&shown));
    }
    let letter = message.letter(recipient, &mail.links).map_err(|error| {
        tracing::error!(%error, message = message.id, "a stored message could not be composed");
        Refusal::internal()
    })?;
    let base = format!("{}/v3/domains/{}/messages/{key}/attachments", mail.links.base_url, stored.domain.doc.name);
    let files = email.attachments.iter().enumerate().map(|(place, file)| {
        let name = &file.filename;
        json!({ "filename": name, "name": name, "content-type": file.content_type, "size": file.size(), "url": format!("{base}/{place}") })
    });
    let files: Value = files.collect();
    let (text, html) = (letter.text.unwrap_or_default(), letter.html.unwrap_or_default());
    for (name, value) in [
        ("stripped-text", json!(text)),
        ("stripped-html", json!(html)),
        ("stripped-signature", json!("")),
        ("body-plain", json!(text)),
        ("body-html", json!(html)),
        ("attachments", files),
    ] {
        shown[name] = value;
    }
    Ok(answer::ok(&shown))
}

/// The bytes of an attached file.
async fn file(
    State(state): State<MailgunState>,
    Path((domain, key, place)): Path<(String, String, usize)>,
    request: Request,
) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Messages, Scope::Read).await?;
    let stored = state.shared.stored(&call, &domain, &key).await?;
    let file = stored.record.outgoing.email.as_ref().and_then(|email| email.attachments.get(place)).ok_or_else(missing)?;
    let bytes = STANDARD.decode(&file.content).map_err(|_| Refusal::internal())?;
    let fixed = HeaderValue::from_static;
    // Whatever a client attached is handed over and never shown.
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_str(&file.content_type).unwrap_or(fixed("application/octet-stream"))),
        (header::CONTENT_DISPOSITION, fixed("attachment")),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::CONTENT_SECURITY_POLICY, fixed("default-src 'none'; sandbox")),
    ];
    Ok((headers, Body::from(bytes)).into_response())
}

/// The same message again, to others.
async fn resend(
    State(state): State<MailgunState>,
    Path((domain, key)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Messages, Scope::Publish).await?;
    let stored = state.shared.stored(&call, &domain, &key).await?;
    let invalid = || Refusal::bad("to parameter is not a valid address. please check documentation");
    let mut recipients: Vec<Recipient> = Vec::new();
    let max = state.shared.settings.max_recipients;
    for (count, mailbox) in call.form.all("to").into_iter().flat_map(address::each).enumerate() {
        if count == max {
            return Err(too_many(max));
        }
        let mailbox = mailbox.map_err(|_| invalid())?;
        if !recipients.iter().any(|known| known.address.eq_ignore_ascii_case(&mailbox.address)) {
            recipients.push(Recipient { name: mailbox.name, ..Recipient::of(mailbox.address) });
        }
    }
    if recipients.is_empty() {
        return Err(if call.form.has("to") { invalid() } else { Refusal::bad("to parameter is missing") });
    }
    let now_ms = state.shared.engine.now_ms();
    let mut message = stored.record.outgoing;
    message.id = new_id(&stored.domain.doc.name, now_ms);
    message.recipients = recipients;
    message.created_ms = now_ms;
    message.deliver_at_ms = None;
    let key = state.shared.caller(&call.parts.headers, Service::Messages, Scope::Publish)?.id.clone();
    state.shared.queue(Origin { workspace: call.workspace, key }, message).await
}
