//! Server-sent events, as much of them as the event stream uses: `id`, `data` over several lines, comments.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Client, ClientError};

/// Largest message that is taken: far above the largest event of any server.
const MAX_MESSAGE: usize = 256 << 20;

/// An event as the native API shows it. The payload stays byte for byte.
#[derive(Debug, Deserialize)]
pub struct ShownEvent<'a> {
    /// Public id.
    pub id: &'a str,
    /// Position in the journal.
    pub sequence: i64,
    /// Its type; `None` when it matched none.
    #[serde(rename = "type", borrow)]
    pub type_name: Option<std::borrow::Cow<'a, str>>,
    /// Where it came from.
    #[serde(borrow)]
    pub source: ShownSource<'a>,
    /// Time of receipt, RFC 3339.
    pub received_at: &'a str,
    /// The payload.
    #[serde(borrow)]
    pub data: &'a RawValue,
}

/// Where an event came from.
#[derive(Debug, Deserialize)]
pub struct ShownSource<'a> {
    /// `api`, `inbox`, `system`, …
    #[serde(borrow)]
    pub via: std::borrow::Cow<'a, str>,
}

/// One message of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// Where a reader that comes back goes on.
    pub id: Option<String>,
    /// The data lines, joined.
    pub data: Bytes,
}

/// Takes messages out of bytes as they come.
#[derive(Debug, Default)]
pub struct Parser {
    line: BytesMut,
    data: BytesMut,
    has_data: bool,
    id: Option<String>,
}

impl Parser {
    /// Takes bytes in; answers the messages that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut complete = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.ends_with(b"\n") {
                let line = self.line.split().freeze();
                complete.extend(self.line_done(line.trim_ascii_end()));
            }
        }
        complete
    }

    /// Bytes held back.
    fn held(&self) -> usize {
        self.line.len() + self.data.len()
    }

    fn line_done(&mut self, line: &[u8]) -> Option<Message> {
        if line.is_empty() {
            let data = self.data.split().freeze();
            let id = self.id.take();
            return std::mem::take(&mut self.has_data).then_some(Message { id, data });
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..])),
            None => (line, &[][..]),
        };
        match field {
            b"data" => {
                if self.has_data {
                    self.data.extend_from_slice(b"\n");
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"id" => self.id = Some(String::from_utf8_lossy(value).into_owned()),
            _ => {}
        }
        None
    }
}

/// The event stream of a server. It ends when the connection does; [`EventStream::cursor`] says where to go on.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    parser: Parser,
    ready: std::collections::VecDeque<Message>,
    cursor: Option<String>,
}

impl EventStream {
    /// Opens it: events of the given types (all, if there are none), from the cursor on or from now on.
    pub async fn open(client: &Client, types: &[String], cursor: Option<String>) -> Result<Self, ClientError> {
        let mut query: Vec<String> = Vec::new();
        if !types.is_empty() {
            query.push(format!("type={}", crate::client::encode(&types.join(","))));
        }
        if let Some(cursor) = &cursor {
            query.push(format!("cursor={}", crate::client::encode(cursor)));
        }
        let separator = if query.is_empty() { "" } else { "?" };
        let response = client.stream(&format!("/events/stream{separator}{}", query.join("&")), "text/event-stream").await?;
        Ok(Self { body: response.into_body(), parser: Parser::default(), ready: std::collections::VecDeque::new(), cursor })
    }

    /// The next message; `None` when the stream ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                self.cursor = message.id.clone().or(self.cursor.take());
                return Some(message);
            }
            // A connection that breaks and a server that closes are the same to a reader: it comes back.
            let frame = self.body.frame().await?.ok()?;
            if let Ok(bytes) = frame.into_data() {
                self.ready.extend(self.parser.feed(&bytes));
            }
            if self.parser.held() > MAX_MESSAGE {
                return None;
            }
        }
    }

    /// Where to go on after the last message that was taken.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"retry: 1000\n\nid: a\ndata: {\ndata: \"x\":1}\n\n: still here\n\nid: b\r\ndata: 2\r\n\r\nid: c\ndata: unfinished";

    #[test]
    fn messages_are_whole_however_the_bytes_are_cut() {
        let expected = [("a", "{\n\"x\":1}"), ("b", "2")];
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let found: Vec<Message> = STREAM.chunks(size).flat_map(|chunk| parser.feed(chunk)).collect();
            let found: Vec<_> =
                found.iter().map(|m| (m.id.as_deref().unwrap_or(""), std::str::from_utf8(&m.data).expect("text"))).collect();
            assert_eq!(found, expected, "cut into {size}");
        }
    }

    #[test]
    fn events_are_read_with_their_payload_untouched() {
        let text = r#"{"id":"evt_1","sequence":3,"type":"a\"b","source":{"via":"api","key":"key_1"},"received_at":"2026-01-01T00:00:00.000Z","data":{"n":1.0}}"#;
        let event: ShownEvent<'_> = serde_json::from_str(text).expect("valid");
        assert_eq!((event.type_name.as_deref(), event.data.get()), (Some("a\"b"), r#"{"n":1.0}"#));
    }
}
