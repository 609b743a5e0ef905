//! `PUT /v3/domains/{domain}/webhooks/{name}/test`: sends a sample once, and tells what came back (section 6 of the documents).
//!
//! Nothing is stored and nothing is tried again; whether anything is configured does not matter.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use posthaste_domain::event::{Event, Source};
use posthaste_domain::id::Sequence;
use posthaste_domain::resource::Scope;
use posthaste_engine::{Format, FormatInput, Outcome, ResourceError, Try};
use serde_json::{Value, json};

use super::super::MailgunState;
use super::super::access::refuse_change;
use super::super::account;
use super::super::answer::{self, Refusal, Service};
use super::super::format::MailgunFormat;
use super::super::names::Name;
use super::{check_url, one};

/// Answers 200 whatever the receiver did.
pub(super) async fn send(
    State(state): State<MailgunState>,
    Path((domain, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let shared = &state.shared;
    let call = shared.open(request, Service::Webhooks, Scope::Manage).await?;
    let domain = shared.domain(call.workspace, &domain)?;
    let name = Name::of(&name).ok_or_else(Refusal::no_webhook)?;
    let url = one(&call.form.all("url"), "url")?;
    check_url(url).map_err(Refusal::reason)?;

    let account = account::ensure(&call.by, call.workspace).await.map_err(refuse_change)?;
    let event = sample(call.workspace, &domain, name, shared.engine.now_ms());
    let input = FormatInput {
        url,
        base_url: &shared.engine.settings().public_base_url,
        attempt: Try { number: 1, at_ms: shared.engine.now_ms(), nonce: rand::random() },
        account: &account.doc.settings,
        ..FormatInput::of(&event)
    };
    let format = MailgunFormat::new(&shared.settings);
    let made = format.body(&input).map_err(|error| {
        tracing::error!(%error, "a sample event could not be written");
        Refusal::internal()
    })?;
    let headers = format.headers(&input, &made);
    let sent = shared.engine.try_webhook(&json!({ "url": url }), made.body, headers, shared.settings.timeout).await;
    let report = sent.map_err(|error| match error {
        ResourceError::Invalid { reason, .. } => Refusal::reason(format!("{url} is not a valid url: {reason}")),
        error => refuse_change(error),
    })?;
    let (code, message) = match (&report.outcome, report.status) {
        // No code for a connection that failed is documented; `null` would mean success (O-6).
        (Outcome::Failed(error), _) => (json!(0), error.message.clone()),
        (_, status) => {
            let code = status.filter(|status| *status != 200).map_or(Value::Null, Value::from);
            (code, String::from_utf8_lossy(&report.response_body).into_owned())
        }
    };
    Ok(answer::ok(&json!({ "code": code, "message": message })))
}

/// An event as the webhook would send it, with an id that no other event has.
fn sample(workspace: i64, domain: &str, name: Name, now_ms: i64) -> Arc<Event> {
    let mut data = json!({
        "channel": "email",
        "message_id": format!("20130503182626.18666.16540@{domain}"),
        "recipient": "alice@example.com",
        "sender": format!("bob@{domain}"),
        "from": format!("Bob <bob@{domain}>"),
        "to": "Alice <alice@example.com>",
        "subject": format!("Test {} webhook", name.text()),
        "domain": domain,
        "tags": ["my_tag_1", "my_tag_2"],
        "metadata": {"my_var_1": "Mailgun Variable #1", "my-var-2": "awesome"},
        "size": 111,
        "attempt": 1,
    });
    let more = match name {
        Name::PermanentFail => {
            json!({"reason": "bounce", "status_code": 550, "error_code": "5.1.1", "description": "5.1.1 The email account that you tried to reach does not exist"})
        }
        Name::TemporaryFail => {
            json!({"reason": "generic", "status_code": 452, "error_code": "4.2.2", "description": "4.2.2 The email account that you tried to reach is over quota", "retry_seconds": 600})
        }
        Name::Opened | Name::Clicked | Name::Unsubscribed => json!({
            "client": {
                "ip": "192.0.2.1",
                "user_agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36",
            },
            "url": "https://example.com/",
        }),
        Name::Accepted | Name::Delivered | Name::Complained => json!({}),
    };
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    Arc::new(Event {
        // Positions of stored events are below 2^43.
        sequence: Sequence(rand::random_range(1 << 43..i64::MAX)),
        workspace,
        type_name: Some(Arc::from(name.event_type())),
        payload: data.to_string().into(),
        source: Arc::new(Source { via: "test".to_owned(), key: None, ip: None }),
        received_ms: now_ms,
    })
}
