//! `posthaste send`: publishes events.

use std::io::{IsTerminal, Read};

use bytes::Bytes;
use http::{HeaderValue, Method, header::CONTENT_TYPE};
use serde_json::value::RawValue;

use super::say_json;
use crate::client::{Client, Remote};
use crate::failure::Failure;
use crate::term::{Style, paint, say};

/// Publishes an event: `posthaste send order.created '{"id": 7}'`.
///
/// With --inbox the document goes through the MsgGO inbox, where the event type is found by rules: `posthaste send --inbox
/// '{"event": "order"}'`.
#[derive(Debug, clap::Args)]
pub struct Send {
    /// Type of the event; not with --inbox.
    #[arg(value_name = "TYPE")]
    first: Option<String>,
    /// The data as JSON; `@FILE` reads a file, `-` (or nothing, in a pipe) standard input.
    #[arg(value_name = "JSON")]
    second: Option<String>,
    /// Send the document through the MsgGO inbox.
    #[arg(long)]
    inbox: bool,
    /// Makes a repetition of this command harmless: the same key publishes once.
    #[arg(long, value_name = "KEY", conflicts_with = "inbox")]
    idempotency_key: Option<String>,
    /// Deliver no earlier than this time (RFC 3339, e.g. 2030-01-01T08:00:00Z).
    #[arg(long, value_name = "TIME", conflicts_with = "inbox")]
    deliver_at: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

impl Send {
    /// Runs it.
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let client = Client::new(&self.remote)?;
        if self.inbox {
            if self.second.is_some() {
                return Err(Failure::refused("with --inbox there is no TYPE: the document alone says what happened"));
            }
            let document = document(self.first.as_deref())?;
            return inbox(&client, self.remote.key.as_deref().unwrap_or_default(), document, json).await;
        }
        let Some(name) = self.first.filter(|name| !name.is_empty()) else {
            return Err(Failure::Refused {
                message: "the type of the event is missing".into(),
                hint: Some("posthaste send order.created '{\"id\": 7}'".into()),
            });
        };
        let data = document(self.second.as_deref())?;
        let deliver_at = self.deliver_at.as_deref();
        native(&client, Event { name: &name, data: &data, deliver_at }, self.idempotency_key.as_deref(), json).await
    }
}

#[derive(serde::Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    name: &'a str,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<&'a str>,
}

async fn native(client: &Client, event: Event<'_>, idempotency: Option<&str>, json: bool) -> Result<(), Failure> {
    let body = serde_json::to_vec(&event).expect("a name and a document always serialise");
    let mut headers = http::HeaderMap::new();
    if let Some(key) = idempotency {
        let value =
            HeaderValue::try_from(key).map_err(|_| Failure::refused("the idempotency key holds characters that a header cannot carry"))?;
        headers.insert("idempotency-key", value);
    }
    let answer = client.post_with(headers, "/events", body.into()).await?;
    if json {
        say_json(&answer);
    } else {
        let id = answer.pointer("/ids/0").or_else(|| answer.pointer("/items/0/id")).or_else(|| answer.get("id"));
        let id = id.and_then(serde_json::Value::as_str).unwrap_or_default();
        say(format!("{} {} {}", paint(Style::Good, "accepted"), event.name, paint(Style::Dim, id)));
    }
    Ok(())
}

async fn inbox(client: &Client, key: &str, document: Box<RawValue>, json: bool) -> Result<(), Failure> {
    let mut request = client.request(Method::POST, "/inbox")?;
    request.headers_mut().remove(http::header::AUTHORIZATION);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(key) = HeaderValue::try_from(key) {
        request.headers_mut().insert("x-msggo-key", key);
    }
    *request.body_mut() = Bytes::from(document.get().to_owned()).into();
    let answer = client.answer(request).await?;
    if json {
        say_json(&answer);
    } else {
        say(paint(Style::Good, "accepted"));
    }
    Ok(())
}

/// The document that an argument names; `None` reads standard input when that is no terminal.
fn document(argument: Option<&str>) -> Result<Box<RawValue>, Failure> {
    let (source, text) = match argument {
        Some("-") => ("standard input", read_stdin()?),
        None if !std::io::stdin().is_terminal() => ("standard input", read_stdin()?),
        None => {
            return Err(Failure::Refused {
                message: "the JSON document is missing".into(),
                hint: Some("give it as the last argument, as @FILE, or through a pipe".into()),
            });
        }
        Some(argument) => match argument.strip_prefix('@') {
            Some(path) => ("the file", std::fs::read_to_string(path).map_err(Failure::io(format!("cannot read {path}")))?),
            None => ("the argument", argument.to_owned()),
        },
    };
    serde_json::from_str(&text).map_err(|error| Failure::Refused {
        message: format!("{source} is not valid JSON: {error}"),
        hint: Some("in a shell, put the document in single quotes: '{\"id\": 7}'".into()),
    })
}

fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text).map_err(Failure::io("cannot read standard input"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_stays_byte_for_byte() {
        let raw = document(Some(r#"{"b": 1.10,  "a": 12345678901234567890}"#)).expect("valid");
        let body = serde_json::to_string(&Event { name: "x", data: &raw, deliver_at: None }).expect("serialises");
        assert_eq!(body, r#"{"type":"x","data":{"b": 1.10,  "a": 12345678901234567890}}"#);
    }

    #[test]
    fn broken_json_says_so_before_anything_is_sent() {
        let failure = document(Some("{id: 7}")).expect_err("refused");
        assert!(failure.to_string().starts_with("the argument is not valid JSON"), "{failure}");
    }
}
