//! What is kept of one origin: its idle HTTP/1.1 connections, its HTTP/2 connections, and what it was found to speak.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::Uri;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::http1::Http1;
use super::http2::{Http2, Lease};
use super::{IDLE, IDLE_PER_ORIGIN};
use crate::connector::Place;

/// One origin.
pub(crate) struct Origin {
    pub(crate) place: Place,
    /// `host` of HTTP/1.1 requests.
    host: Box<str>,
    /// Held while a connection is opened that may turn out to be one for all.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Whether the last handshake ended in HTTP/1.1 though HTTP/2 was offered.
    prefers_http1: AtomicBool,
    kept: Mutex<Kept>,
    /// Connections opened.
    pub(crate) opened: AtomicU64,
    /// Answers over a connection on which another had come before.
    pub(crate) reused: AtomicU64,
}

#[derive(Default)]
struct Kept {
    /// The most recently used at the end.
    idle: VecDeque<Idle>,
    shared: Vec<Http2>,
}

/// An idle connection and when it was last used.
struct Idle {
    since: Instant,
    http1: Box<Http1>,
}

/// A way to send one request.
pub(crate) enum Way {
    /// A connection of its own for the time being.
    Http1(Box<Http1>),
    /// A place on a shared one.
    Http2(Lease),
}

impl Origin {
    pub(crate) fn new(place: Place) -> Self {
        let default = if place.is_encrypted { 443 } else { 80 };
        let mut host = if place.host.contains(':') { format!("[{}]", place.host) } else { place.host.to_string() };
        if place.port != default {
            host.push_str(&format!(":{}", place.port));
        }
        let host = host.into_boxed_str();
        let (turn, prefers_http1, kept) = (tokio::sync::Mutex::new(()), AtomicBool::new(false), Mutex::default());
        Self { place, host, turn, prefers_http1, kept, opened: AtomicU64::new(0), reused: AtomicU64::new(0) }
    }

    /// Scheme, host and port.
    pub(crate) fn name(&self) -> String {
        format!("{}://{}", if self.place.is_encrypted { "https" } else { "http" }, self.host)
    }

    /// Whether several tries may end up on one connection: as far as one knows before it is open.
    pub(crate) fn may_share(&self) -> bool {
        self.place.offers_http2 && !self.prefers_http1.load(Ordering::Relaxed)
    }

    /// Remembers what a handshake ended in.
    pub(crate) fn speaks_http2(&self, is_http2: bool) {
        self.prefers_http1.store(!is_http2, Ordering::Relaxed);
    }

    /// A connection that is open already, and how many were found closed on the way.
    pub(crate) fn at_hand(&self) -> (Option<Way>, usize) {
        let mut kept = self.kept.lock();
        if kept.shared.is_empty() {
            let found = kept.idle.pop_back();
            let gone = usize::from(found.is_some());
            return (found.map(|idle| Way::Http1(idle.http1)), gone);
        }
        let before = kept.shared.len();
        kept.shared.retain(|http2| !http2.is_closed());
        let gone = before - kept.shared.len();
        match kept.shared.iter().find_map(Http2::lease) {
            Some(lease) => (Some(Way::Http2(lease)), gone),
            None => match kept.idle.pop_back() {
                Some(idle) => (Some(Way::Http1(idle.http1)), gone + 1),
                None => (None, gone),
            },
        }
    }

    /// Keeps an idle connection. Answers one that had to go for it.
    pub(crate) fn keep(&self, http1: Box<Http1>, now: Instant) -> Option<Box<Http1>> {
        let mut kept = self.kept.lock();
        let surplus = if kept.idle.len() >= IDLE_PER_ORIGIN { kept.idle.pop_front() } else { None };
        kept.idle.push_back(Idle { since: now, http1 });
        surplus.map(|idle| idle.http1)
    }

    /// Keeps a new connection for all and answers a place on it.
    pub(crate) fn share(&self, http2: Http2) -> Option<Lease> {
        let mut kept = self.kept.lock();
        let lease = http2.lease();
        kept.shared.push(http2);
        lease
    }

    /// Takes out what was idle for too long, or closed.
    pub(crate) fn expired(&self, now: Instant) -> Gone {
        self.take_out(now, |since| since + IDLE <= now)
    }

    /// Takes out what is idle since `limit` or longer, at most `most` connections.
    pub(crate) fn idle_since(&self, limit: Instant, now: Instant, most: usize) -> Gone {
        let mut left = most;
        self.take_out(now, |since| {
            let goes = left > 0 && since <= limit;
            left -= usize::from(goes);
            goes
        })
    }

    fn take_out(&self, now: Instant, mut goes: impl FnMut(Instant) -> bool) -> Gone {
        let mut kept = self.kept.lock();
        let mut gone = Gone::default();
        let old = kept.idle.iter().take_while(|idle| goes(idle.since)).count();
        gone.idle.extend(kept.idle.drain(..old));
        gone.shared.extend(kept.shared.extract_if(.., |http2| http2.is_closed() || http2.idle_since(now).is_some_and(&mut goes)));
        if kept.idle.is_empty() {
            kept.idle.shrink_to_fit();
        }
        gone
    }

    /// When what is idle was last used.
    pub(crate) fn idle_times(&self, now: Instant, times: &mut Vec<Instant>) {
        let mut kept = self.kept.lock();
        times.extend(kept.idle.iter().map(|idle| idle.since));
        times.extend(kept.shared.iter_mut().filter_map(|http2| http2.idle_since(now)));
    }

    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        let kept = self.kept.lock();
        kept.idle.is_empty() && kept.shared.is_empty()
    }
}

/// Connections taken out, to be closed when no lock is held.
#[derive(Default)]
pub(crate) struct Gone {
    idle: Vec<Idle>,
    shared: Vec<Http2>,
}

impl Gone {
    pub(crate) fn len(&self) -> usize {
        self.idle.len() + self.shared.len()
    }
}

/// A URL made ready for any number of requests.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) origin: Arc<Origin>,
    /// As the target's owner wrote it.
    pub(crate) absolute: Uri,
    /// What follows the method in HTTP/1.1: path and query, version, `host`.
    line: Box<[u8]>,
    /// Whether HTTP/2 may be spoken where it is offered, whatever the scheme.
    pub(crate) may_use_http2: bool,
    /// Whether this program answers it itself.
    pub(crate) is_own: bool,
}

impl Target {
    pub(crate) fn new(origin: Arc<Origin>, absolute: Uri, may_use_http2: bool, is_own: bool) -> Self {
        let path = absolute.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let line = format!(" {path} HTTP/1.1\r\nhost: {}\r\n", origin.host).into_bytes().into_boxed_slice();
        Self { origin, absolute, line, may_use_http2, is_own }
    }

    /// What follows the method in HTTP/1.1, up to the end of the `host` line.
    pub(crate) fn line(&self) -> &[u8] {
        &self.line
    }
}
