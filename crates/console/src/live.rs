//! Parts of pages that change by themselves: server-sent events whose data is HTML.
//!
//! A live part is an element with `hx-ext="sse" sse-connect="/console/…/live" sse-swap="NAME"` and an answer made by [`events`] or [`watch`].
//! What it shows must be on the page already when it opens: without a script the page is a still picture, and nothing is missing.
//!
//! Invariants:
//! - Whoever may not see a part any more gets no more of it: a session that ends, a member who is disabled or gets another role, ends the streams
//!   at once, and before each part the session is looked at. After [`LONGEST`] a stream ends in any case, and the browser opens it again.
//! - Streams are bounded, over all people and for each: nobody takes the places of the others. A page that gets none is as the server wrote it.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use maud::Markup;
use parking_lot::Mutex;
use posthaste_server::Closing;
use posthaste_server::people::{People, Room, SignedIn};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::Console;
use crate::api::Failure;
use crate::session::Seat;

/// Live parts of pages that are open at once. Streams of events count towards the limit of the native API too.
const MAX_LIVE: usize = 512;
/// Those of one member.
const MAX_OF_ONE: usize = 16;
/// When a browser may ask again that got no place, in seconds.
const COME_BACK: HeaderValue = HeaderValue::from_static("30");
/// How long one stream lives.
const LONGEST: Duration = Duration::from_secs(600);
/// How often [`watch`] looks. Nothing is sent when nothing changed.
const EVERY: Duration = Duration::from_secs(2);
/// How long rows are gathered before they are sent together, and how many of them are.
const BURST: Duration = Duration::from_millis(150);
const MOST: usize = 50;
/// A comment is sent after so long without news, so that middlemen keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The places of the streams that are open.
#[derive(Clone)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    /// How many each member has, by its id.
    of_members: Arc<Mutex<HashMap<String, usize>>>,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(MAX_LIVE)), of_members: Arc::default() }
    }
}

/// One of the places.
struct Place {
    member: String,
    of_members: Arc<Mutex<HashMap<String, usize>>>,
    _one_of_all: OwnedSemaphorePermit,
}

impl Places {
    /// One more for a member; why there is none otherwise.
    fn take(&self, member: &str) -> Result<Place, String> {
        let Ok(permit) = Arc::clone(&self.all).try_acquire_owned() else {
            return Err(format!("{MAX_LIVE} live parts of pages are open, as many as this server has"));
        };
        let mut of_members = self.of_members.lock();
        let open = of_members.entry(member.to_owned()).or_default();
        if *open >= MAX_OF_ONE {
            return Err(format!("{MAX_OF_ONE} live parts of your pages are open, as many as one person may have; close some of them"));
        }
        *open += 1;
        Ok(Place { member: member.to_owned(), of_members: Arc::clone(&self.of_members), _one_of_all: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut of_members = self.of_members.lock();
        if let Some(open) = of_members.get_mut(&self.member) {
            *open -= 1;
            if *open == 0 {
                of_members.remove(&self.member);
            }
        }
    }
}

/// Somebody in front of a stream.
struct Viewer {
    people: People,
    who: SignedIn,
    room: Room,
    closing: Option<Closing>,
    _place: Place,
}

impl Viewer {
    /// # Errors
    /// Why there is no place.
    fn admit(console: &Console, seat: &Seat) -> Result<Self, String> {
        let place = console.live.take(&seat.signed_in.member.id)?;
        let (who, room) = (seat.signed_in.clone(), seat.workspace.clone());
        Ok(Self { people: console.app.people().clone(), who, room, closing: seat.api.closing(), _place: place })
    }

    /// What `work` makes; nothing once this person may not see it, or the server closes.
    async fn meanwhile<T>(&self, work: impl Future<Output = Option<T>>) -> Option<T> {
        let closing = async {
            match &self.closing {
                Some(closing) => closing.0.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let made = tokio::select! {
            biased;
            () = self.people.left(&self.who, &self.room) => None,
            () = closing => None,
            made = work => made,
        };
        made.filter(|_| self.people.is_still_in(&self.who, &self.room))
    }
}

fn full(why: String) -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, COME_BACK)], why + "\n").into_response()
}

/// Events as they arrive, each as the HTML that `row` makes of its JSON; `None` passes over it. `path` is the native stream with its
/// parameters (`/events/stream?type=…`); `last` the `Last-Event-ID` of the request. Messages have the name `event`.
pub async fn events(
    console: &Console,
    seat: &Seat,
    path: &str,
    last: Option<&HeaderValue>,
    row: impl Fn(&str) -> Option<Markup> + Send + 'static,
) -> Response {
    let viewer = match Viewer::admit(console, seat) {
        Ok(viewer) => viewer,
        Err(why) => return full(why),
    };
    let headers: HeaderMap = last.map(|value| (HeaderName::from_static("last-event-id"), value.clone())).into_iter().collect();
    let answer = seat.api.send(Method::GET, path, headers, None).await;
    if !answer.status().is_success() {
        return answer.status().into_response();
    }
    let reader = Reader { body: answer.into_body().into_data_stream(), held: Vec::new(), until: Instant::now() + LONGEST };
    let stream = futures_util::stream::unfold((reader, row, viewer), |(mut reader, row, viewer)| async move {
        let burst = viewer.meanwhile(reader.burst()).await?;
        let mut out = BytesMut::new();
        for Message { data, id, raw } in burst {
            match data {
                // The head of the stream (how soon to come back) and comments go on as they are.
                None => out.extend_from_slice(&raw),
                Some(data) => {
                    if let Some(markup) = row(&data) {
                        out.extend_from_slice(&message("event", id.as_deref(), &markup));
                    }
                }
            }
        }
        Some((out.freeze(), (reader, row, viewer)))
    });
    sse(stream.filter(|out| std::future::ready(!out.is_empty())))
}

/// A part of a page that is looked at every two seconds, and sent when it changed. Messages have the name `part`.
///
/// Somebody watches as long as this runs: nobody, and nothing is asked.
pub async fn watch<F>(console: &Console, seat: Seat, part: impl FnMut(Seat) -> F + Send + 'static) -> Response
where
    F: Future<Output = Result<Markup, Failure>> + Send,
{
    let viewer = match Viewer::admit(console, &seat) {
        Ok(viewer) => viewer,
        Err(why) => return full(why),
    };
    let watching = Watching { seat, part, shown: None, spoke: Instant::now(), until: Instant::now() + LONGEST };
    let stream = futures_util::stream::unfold((watching, viewer), |(mut watching, viewer)| async move {
        let out = viewer.meanwhile(watching.next()).await?;
        Some((out, (watching, viewer)))
    });
    sse(stream)
}

struct Watching<P> {
    seat: Seat,
    part: P,
    shown: Option<String>,
    spoke: Instant,
    until: Instant,
}

impl<F: Future<Output = Result<Markup, Failure>>, P: FnMut(Seat) -> F> Watching<P> {
    /// The next bytes; `None` at the end of the stream's time, or when the part cannot be made any more.
    async fn next(&mut self) -> Option<Bytes> {
        if self.shown.is_some() {
            tokio::time::sleep(EVERY).await;
        }
        while Instant::now() < self.until {
            let markup = (self.part)(self.seat.clone()).await.inspect_err(|failure| tracing::debug!(%failure, "a live part ends")).ok()?;
            if self.shown.as_deref() != Some(&markup.0) {
                self.spoke = Instant::now();
                let out = message("part", None, &markup);
                self.shown = Some(markup.0);
                return Some(out);
            }
            if self.spoke.elapsed() >= KEEP_ALIVE {
                self.spoke = Instant::now();
                return Some(Bytes::from_static(b": still here\n\n"));
            }
            tokio::time::sleep(EVERY).await;
        }
        None
    }
}

fn sse(stream: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let fixed = HeaderValue::from_static;
    let headers = [
        (header::CONTENT_TYPE, fixed("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, fixed("no-store")),
        // Asks buffering proxies to pass messages on as they come.
        (HeaderName::from_static("x-accel-buffering"), fixed("no")),
    ];
    (headers, Body::from_stream(stream.map(Ok::<_, Infallible>))).into_response()
}

/// One message. Each line of the HTML is a `data` line, which the browser joins again.
fn message(name: &str, id: Option<&str>, markup: &Markup) -> Bytes {
    let mut out = format!("event: {name}\n");
    if let Some(id) = id {
        out.push_str(&format!("id: {id}\n"));
    }
    for line in markup.0.split(['\n', '\r']) {
        out.push_str(&format!("data: {line}\n"));
    }
    out.push('\n');
    out.into()
}

/// One message of the native stream.
#[derive(Debug)]
struct Message {
    id: Option<String>,
    data: Option<String>,
    /// Its bytes, with the empty line at the end.
    raw: Bytes,
}

/// Takes messages out of the native stream.
struct Reader {
    body: BodyDataStream,
    held: Vec<u8>,
    until: Instant,
}

impl Reader {
    /// What comes within [`BURST`], of many messages the last ones: a list of rows shows no more, and no browser keeps up with more.
    async fn burst(&mut self) -> Option<VecDeque<Message>> {
        let first = self.next().await?;
        let is_event = first.data.is_some();
        let mut burst = VecDeque::from([first]);
        let until = Instant::now() + BURST;
        while is_event && let Ok(next) = tokio::time::timeout_at(until, self.next()).await {
            // The end of the stream is met again by the next call.
            let Some(next) = next else { break };
            burst.push_back(next);
            if burst.len() > MOST {
                burst.pop_front();
            }
        }
        Some(burst)
    }

    /// The next message; `None` at the end of the stream, or of its time.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = take(&mut self.held) {
                return Some(message);
            }
            let part = tokio::time::timeout_at(self.until, self.body.next()).await.ok()??.ok()?;
            self.held.extend_from_slice(&part);
        }
    }
}

/// Takes the first whole message out of what was read. The native stream ends lines with `\n` alone.
fn take(held: &mut Vec<u8>) -> Option<Message> {
    let end = held.windows(2).position(|pair| pair == b"\n\n")? + 2;
    let raw: Vec<u8> = held.drain(..end).collect();
    let text = String::from_utf8_lossy(&raw);
    let field = |name: &'static str| {
        text.lines().filter_map(move |line| line.strip_prefix(name)).map(|rest| rest.strip_prefix(' ').unwrap_or(rest))
    };
    let data: Vec<&str> = field("data:").collect();
    let message = (field("id:").next().map(str::to_owned), (!data.is_empty()).then(|| data.join("\n")));
    Some(Message { id: message.0, data: message.1, raw: raw.into() })
}

#[cfg(test)]
mod tests {
    use maud::html;

    use super::*;

    #[test]
    fn messages_are_taken_whole_and_written_line_by_line() {
        let mut held = b"retry: 1000\n\nid: a\ndata: {\ndata: \"x\":1}\n\nid: b\ndata: unfin".to_vec();
        let first = take(&mut held).expect("the head");
        assert!(first.data.is_none() && first.raw == "retry: 1000\n\n");
        let second = take(&mut held).expect("a message");
        assert_eq!((second.id.as_deref(), second.data.as_deref()), (Some("a"), Some("{\n\"x\":1}")));
        assert!(take(&mut held).is_none());
        assert_eq!(message("part", Some("7"), &html! { "a\nb" }), "event: part\nid: 7\ndata: a\ndata: b\n\n");
    }
}
