//! Parts of pages that change by themselves: server-sent events whose data is HTML.
//!
//! A live part is an element with `hx-ext="sse" sse-connect="/console/…/live" sse-swap="NAME"` and an answer made by [`events`] or [`watch`].
//! What it shows must be on the page already when it opens: without a script the page is a still picture, and nothing is missing.
//!
//! Invariants:
//! - Whoever may not see a part any more gets no more of it: a session that ends, a member who is disabled or gets another role, ends the streams
//!   at once, and before each part the session is looked at. After [`LONGEST`] a stream ends in any case, and the browser opens it again.
//! - Streams are bounded, over all people and for each: nobody takes the places of the others. A page that gets none is as the server wrote it.
//! - What a stream holds in memory is bounded by what it sends, not by the events that it tells of.
//! - A part that cannot change any more ends its stream with the message `end`, whose data the sign of the page says. No browser asks again then.

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
use maud::{Markup, html};
use parking_lot::Mutex;
use posthaste_server::Closing;
use posthaste_server::people::{People, Room, SignedIn};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::Console;
use crate::api::Failure;
use crate::session::Seat;
use crate::ui::{self, Tone};

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
/// Most bytes of a message that is read piece by piece; a stream with a larger one ends.
const MAX_HELD: usize = 64 << 20;

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
    let reader = Reader::new(answer.into_body().into_data_stream(), row);
    let stream = futures_util::stream::unfold((reader, viewer), |(mut reader, viewer)| async move {
        let burst = viewer.meanwhile(reader.burst()).await?;
        Some((burst, (reader, viewer)))
    });
    sse(stream.filter(|out| std::future::ready(!out.is_empty())))
}

/// What a look at a part finds.
pub struct Part {
    /// `None` if it is as before.
    markup: Option<Markup>,
    is_last: bool,
}

impl Part {
    /// Nothing has changed since the last look. Sparing the work of finding that out is up to the page.
    pub fn same() -> Self {
        Self { markup: None, is_last: false }
    }

    /// The stream ends with it if nothing can change after this.
    #[must_use]
    pub fn last_if(self, is_last: bool) -> Self {
        Self { is_last, ..self }
    }
}

impl From<Markup> for Part {
    fn from(markup: Markup) -> Self {
        Self { markup: Some(markup), is_last: false }
    }
}

/// A part of a page that is looked at every two seconds, and sent when it changed. Messages have the name `part`.
///
/// Somebody watches as long as this runs: nobody, and nothing is asked.
pub async fn watch<F>(console: &Console, seat: Seat, part: impl FnMut(Seat) -> F + Send + 'static) -> Response
where
    F: Future<Output = Result<Part, Failure>> + Send,
{
    let viewer = match Viewer::admit(console, &seat) {
        Ok(viewer) => viewer,
        Err(why) => return full(why),
    };
    let mut watching = Watching { seat, part, shown: None, spoke: Instant::now(), until: Instant::now() + LONGEST, is_over: false };
    // Before the answer: a browser asks again at once for what was answered well and then ends.
    let first = match viewer.meanwhile(async { Some(watching.look().await) }).await {
        Some(Ok(first)) => first.unwrap_or_default(),
        Some(Err(failure)) => return failure.status().into_response(),
        None => return StatusCode::NO_CONTENT.into_response(),
    };
    let rest = futures_util::stream::unfold((watching, viewer), |(mut watching, viewer)| async move {
        let out = viewer.meanwhile(watching.next()).await?;
        Some((out, (watching, viewer)))
    });
    sse(futures_util::stream::once(std::future::ready(first)).chain(rest))
}

struct Watching<P> {
    seat: Seat,
    part: P,
    /// The digest of what was sent last.
    shown: Option<[u8; 32]>,
    spoke: Instant,
    until: Instant,
    is_over: bool,
}

impl<F: Future<Output = Result<Part, Failure>>, P: FnMut(Seat) -> F> Watching<P> {
    /// What there is to tell now, if anything.
    async fn look(&mut self) -> Result<Option<Bytes>, Failure> {
        let made = (self.part)(self.seat.clone()).await;
        let (part, word) = match made {
            Err(failure) if matches!(failure.status(), StatusCode::NOT_FOUND | StatusCode::GONE) => {
                (Part::from(gone(failure.status())).last_if(true), "Gone")
            }
            made => (made?, "Final"),
        };
        let mut out = BytesMut::new();
        if let Some(markup) = part.markup {
            let digest: [u8; 32] = Sha256::digest(markup.0.as_bytes()).into();
            if self.shown.replace(digest) != Some(digest) {
                out.extend_from_slice(&message("part", None, &markup));
            }
        }
        if part.is_last {
            self.is_over = true;
            out.extend_from_slice(&message("end", None, &html! { (word) }));
        }
        Ok(Some(out.freeze()).filter(|out| !out.is_empty()))
    }

    /// The next bytes; `None` at the end of the stream's time, when nothing can change any more, or when the part cannot be made.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.is_over && Instant::now() < self.until {
            tokio::time::sleep(EVERY).await;
            let out = self.look().await.inspect_err(|failure| tracing::debug!(%failure, "a live part ends")).ok()?;
            if out.is_some() || self.spoke.elapsed() >= KEEP_ALIVE {
                self.spoke = Instant::now();
                return Some(out.unwrap_or(Bytes::from_static(b": still here\n\n")));
            }
        }
        None
    }
}

/// In place of a part whose thing is not there any more.
fn gone(status: StatusCode) -> Markup {
    ui::standing(Tone::Warn, html! { (if status == StatusCode::GONE { "This has expired." } else { "This was deleted." }) })
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

/// Takes messages out of the native stream, and makes of each what is sent on.
struct Reader<R> {
    body: BodyDataStream,
    row: R,
    held: BytesMut,
    /// How many bytes of `held` are known to hold no end of a message.
    searched: usize,
    until: Instant,
}

impl<R: Fn(&str) -> Option<Markup>> Reader<R> {
    fn new(body: BodyDataStream, row: R) -> Self {
        Self { body, row, held: BytesMut::new(), searched: 0, until: Instant::now() + LONGEST }
    }

    /// What comes within [`BURST`], of many messages the last ones: a list of rows shows no more, and no browser keeps up with more.
    async fn burst(&mut self) -> Option<Bytes> {
        let (first, is_event) = self.next().await?;
        let mut burst = VecDeque::from([first]);
        let until = Instant::now() + BURST;
        while is_event && let Ok(next) = tokio::time::timeout_at(until, self.next()).await {
            // The end of the stream is met again by the next call.
            let Some((next, _)) = next else { break };
            burst.push_back(next);
            if burst.len() > MOST {
                burst.pop_front();
            }
        }
        Some(burst.make_contiguous().concat().into())
    }

    /// What is sent on of the next message, and whether that tells of an event; `None` at the end of the stream, or of its time.
    async fn next(&mut self) -> Option<(Bytes, bool)> {
        loop {
            if let Some(raw) = take(&mut self.held, &mut self.searched) {
                return Some(self.sent_on(raw.freeze()));
            }
            if self.held.len() > MAX_HELD {
                return None;
            }
            let part = tokio::time::timeout_at(self.until, self.body.next()).await.ok()??.ok()?;
            self.held.extend_from_slice(&part);
        }
    }

    /// An event is here no longer than its row takes to be made: payloads may be large.
    fn sent_on(&self, raw: Bytes) -> (Bytes, bool) {
        let text = String::from_utf8_lossy(&raw);
        let field = |name: &'static str| {
            text.lines().filter_map(move |line| line.strip_prefix(name)).map(|rest| rest.strip_prefix(' ').unwrap_or(rest))
        };
        let data: Vec<&str> = field("data:").collect();
        if data.is_empty() {
            // The head of the stream (how soon to come back) and comments go on as they are.
            return (Bytes::copy_from_slice(&raw), false);
        }
        let row = (self.row)(&data.join("\n"));
        (row.map(|row| message("event", field("id:").next(), &row)).unwrap_or_default(), true)
    }
}

/// Takes the first whole message out of what was read, with the empty line at its end. The native stream ends lines with `\n` alone.
fn take(held: &mut BytesMut, searched: &mut usize) -> Option<BytesMut> {
    let from = searched.saturating_sub(1);
    let Some(at) = held[from..].windows(2).position(|pair| pair == b"\n\n") else {
        *searched = held.len();
        return None;
    };
    *searched = 0;
    let message = held.split_to(from + at + 2);
    if held.is_empty() {
        // Room for much is given back.
        *held = BytesMut::new();
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(body: impl Into<Body>) -> Reader<impl Fn(&str) -> Option<Markup>> {
        Reader::new(body.into().into_data_stream(), |data| Some(html! { (data.chars().take(20).collect::<String>()) }))
    }

    #[tokio::test]
    async fn messages_are_taken_whole_and_written_line_by_line() {
        let mut reader = reader("retry: 1000\n\nid: a\ndata: {\ndata: \"x\":1}\n\nid: b\ndata: unfin");
        assert_eq!(reader.next().await, Some(("retry: 1000\n\n".into(), false)));
        assert_eq!(reader.next().await, Some(("event: event\nid: a\ndata: {\ndata: &quot;x&quot;:1}\n\n".into(), true)));
        assert_eq!(reader.next().await, None);
        assert_eq!(message("part", Some("7"), &html! { "a\nb" }), "event: part\nid: 7\ndata: a\ndata: b\n\n");
    }

    #[tokio::test]
    async fn a_message_may_come_in_pieces_of_any_length() {
        let text = b"id: a\ndata: 1\n\n: still here\n\nid: b\ndata: 2\n\n";
        for length in 1..text.len() {
            let pieces: Vec<_> = text.chunks(length).map(|piece| Ok::<_, Infallible>(Bytes::from_static(piece))).collect();
            let mut reader = reader(Body::from_stream(futures_util::stream::iter(pieces)));
            let mut taken = Vec::new();
            while let Some((out, _)) = reader.next().await {
                taken.push(out);
            }
            assert_eq!(taken, ["event: event\nid: a\ndata: 1\n\n", ": still here\n\n", "event: event\nid: b\ndata: 2\n\n"]);
        }
    }

    #[tokio::test]
    async fn large_events_are_rows_while_they_wait_for_others() {
        let events: String = (0..60).map(|n| format!("id: {n}\ndata: {}\n\n", "x".repeat(100 << 10))).collect();
        let mut reader = reader(events);
        let burst = reader.burst().await.expect("a burst");
        assert!(burst.len() < 4 << 10, "{} bytes", burst.len());
        assert!(burst.starts_with(b"event: event\nid: 10\n"), "the last {MOST} are kept");
        assert_eq!(reader.held.capacity(), 0);
    }
}
