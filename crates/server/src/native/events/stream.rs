//! `GET /events/stream`: server-sent events.
//!
//! A stream is a long poll that does not end: it reads the journal from its cursor on, so a slow reader costs no memory and a reader that
//! comes back misses nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use posthaste_domain::event::Event;
use posthaste_domain::matching::TypePattern;
use posthaste_store::{EventFilter, Order, Range};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::read::{Query, SOURCE, Sift, page, up_to, watcher_permit};
use crate::AppState;
use crate::auth::Reader;
use crate::codes::Code;
use crate::cursor::{self, List};
use crate::input::{Param, ParamKind, Params};
use crate::native::view::write_event;
use crate::problem::Problem;
use crate::serve::Closing;

/// Parameters of the stream.
pub(super) const STREAM: [Param; 4] = [
    Param::new("cursor", ParamKind::Text, "Where to go on; without it the stream begins with the next event."),
    Param::new("type", ParamKind::Text, "Only events of these types: names and wildcards (`order.*`), with commas between."),
    Param::new("search", ParamKind::Text, "Only events with this text in their document, as it was sent; ASCII letters small or capital."),
    SOURCE,
];

/// A comment is sent after so long without an event, so that middlemen keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events read at once.
const CHUNK: usize = 64;
/// Pause between two looks of one stream when events arrive that are not for it.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Most patterns in `type`.
const MAX_PATTERNS: usize = 20;

struct Stream {
    state: AppState,
    query: Query,
    patterns: Vec<TypePattern>,
    committed: watch::Receiver<i64>,
    closing: Closing,
    has_begun: bool,
    /// Whether there may be more to read at once.
    is_behind: bool,
    last_sent: Instant,
    _permit: OwnedSemaphorePermit,
}

pub(super) async fn stream(
    State(state): State<AppState>,
    Reader(caller): Reader,
    closing: Option<Extension<Closing>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), &STREAM)?;
    let patterns = patterns(&params)?;
    let committed = state.engine.committed();
    let after = match headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default()) {
        Some(text) if !text.is_empty() => cursor::decode(List::Events, Order::Asc, text)?,
        _ => params.cursor(List::Events, Order::Asc)?.unwrap_or(*committed.borrow()),
    };
    let type_name = match patterns.as_slice() {
        [only] if only.is_exact() => Some(Some(only.as_str().to_owned())),
        _ => None,
    };
    let range = Range { order: Order::Asc, after: Some(after), limit: CHUNK, from_ms: None, to_ms: None };
    let stream = Stream {
        query: Query {
            workspace: caller.workspace(),
            filter: EventFilter { type_name, text: params.text("search").map(str::to_owned), ..EventFilter::default() },
            sift: Sift { source: params.text("source").map(str::to_owned), states: Vec::new() },
            range,
        },
        patterns,
        committed,
        closing: closing.map(|Extension(closing)| closing).unwrap_or_default(),
        has_begun: false,
        is_behind: true,
        last_sent: Instant::now(),
        _permit: watcher_permit(&state)?,
        state,
    };
    let body = Body::from_stream(futures_util::stream::unfold(stream, |mut stream| async move {
        let chunk = stream.next().await?;
        Some((Ok::<Bytes, Infallible>(chunk), stream))
    }));
    let fixed = HeaderValue::from_static;
    let answer_headers = [
        (header::CONTENT_TYPE, fixed("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, fixed("no-store")),
        // Asks buffering proxies to pass messages on as they come.
        (HeaderName::from_static("x-accel-buffering"), fixed("no")),
    ];
    Ok((answer_headers, body).into_response())
}

fn patterns(params: &Params) -> Result<Vec<TypePattern>, Problem> {
    let Some(text) = params.text("type") else { return Ok(Vec::new()) };
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let refuse = |detail: String| Problem::new(Code::InvalidParameter, format!("type: {detail}")).at("type");
    if parts.len() > MAX_PATTERNS {
        return Err(refuse(format!("at most {MAX_PATTERNS} names and wildcards")));
    }
    parts.into_iter().map(|part| TypePattern::parse(part).map_err(|error| refuse(error.to_string()))).collect()
}

impl Stream {
    /// The next bytes; `None` when the server closes or the store fails.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.has_begun {
            self.has_begun = true;
            // Says at once that the stream is open, and how soon a client may come back.
            return Some(Bytes::from_static(b"retry: 1000\n\n"));
        }
        loop {
            if self.is_behind {
                let seen = *self.committed.borrow_and_update();
                let (events, next) = match page(&self.state, &self.query).await {
                    Ok(read) => up_to(seen, read),
                    Err(problem) => {
                        tracing::warn!(detail = problem.detail(), "an event stream ends because the store failed");
                        return None;
                    }
                };
                self.is_behind = next.is_some();
                // At the end of the list everything that was there is behind this reader, whether it was wanted or not.
                let last = events.last().map(|event| event.sequence.0);
                self.query.range.after = next.or(last.max(Some(seen))).max(self.query.range.after);
                let mut out = Vec::new();
                for event in events.iter().filter(|event| self.wants(event)) {
                    write_message(event, &mut out);
                }
                if !out.is_empty() {
                    self.last_sent = Instant::now();
                    return Some(out.into());
                }
                // What woke this stream was not for it: the next look comes after a pause.
                if !self.is_behind {
                    tokio::time::sleep(LOOK_PAUSE).await;
                }
                continue;
            }
            tokio::select! {
                changed = self.committed.changed() => {
                    changed.ok()?;
                    self.is_behind = true;
                }
                () = tokio::time::sleep_until(self.last_sent + KEEP_ALIVE) => {
                    self.last_sent = Instant::now();
                    return Some(Bytes::from_static(b": still here\n\n"));
                }
                () = self.closing.0.cancelled() => return None,
            }
        }
    }

    fn wants(&self, event: &Arc<Event>) -> bool {
        self.patterns.is_empty() || event.type_name.as_deref().is_some_and(|name| self.patterns.iter().any(|p| p.matches(name)))
    }
}

/// One message. A payload may hold line breaks between its tokens; each of its lines becomes a `data` line, which readers join again.
fn write_message(event: &Event, out: &mut Vec<u8>) {
    let mut json = Vec::new();
    write_event(event, None, &mut json);
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(cursor::encode(List::Events, Order::Asc, event.sequence.0).as_bytes());
    for line in json.split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"\ndata: ");
        // A carriage return would end the line for the reader. Within JSON text it can only be white space.
        out.extend(line.iter().map(|byte| if *byte == b'\r' { b' ' } else { *byte }));
    }
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use posthaste_domain::event::Source;
    use posthaste_domain::id::Sequence;

    use super::*;

    #[test]
    fn line_breaks_in_payloads_stay_inside_the_message() {
        let event = Event {
            sequence: Sequence(1),
            workspace: 1,
            type_name: None,
            payload: Bytes::from_static(b"{\r\n\"a\":\n1}"),
            source: Arc::new(Source { via: "inbox".into(), key: None, ip: None }),
            received_ms: 0,
        };
        let mut out = Vec::new();
        write_message(&event, &mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        // The last brace is the event's own.
        assert!(text.ends_with("\"data\":{ \ndata: \"a\":\ndata: 1}}\n\n"), "{text}");
        assert_eq!(text.matches("\n\n").count(), 1);
    }
}
