//! The events of the bench: a document of fixed size that differs from its neighbours in two runs of digits, its number and its time.
//!
//! ```text
//! {"n":"000000000042","t":"000000123456","event":"bench.load","pad":"xxxx…"}
//!       number             microseconds since the run began
//! ```
//!
//! So a request is formatted once, and a received body is recognised and compared without parsing.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::api::EVENT_TYPE;
use crate::server::KEY;

const MARK: &[u8] = b"{\"n\":\"";
const BETWEEN: &[u8] = b"\",\"t\":\"";
const DIGITS: usize = 12;

/// The way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    /// `POST /posthaste/v1/events`.
    Native,
    /// `POST /inbox`, the MsgGO way: one event per request.
    Inbox,
}

/// Everything of a document after its digits.
#[derive(Clone, Debug)]
pub struct Tail(Arc<[u8]>);

impl Tail {
    /// For documents of `bytes` bytes, or the least that is possible.
    pub fn new(bytes: usize) -> Self {
        let fixed = format!("\",\"event\":\"{EVENT_TYPE}\",\"pad\":\"\"}}");
        let before = MARK.len() + BETWEEN.len() + 2 * DIGITS;
        let pad = "x".repeat(bytes.saturating_sub(before + fixed.len()));
        Self(format!("\",\"event\":\"{EVENT_TYPE}\",\"pad\":\"{pad}\"}}").into_bytes().into())
    }
}

/// A request for one or more events, ready to be stamped and sent.
#[derive(Clone)]
pub struct Request {
    bytes: Vec<u8>,
    /// Where the number of each event begins.
    slots: Vec<usize>,
}

impl Request {
    /// Formats a request. More than one event makes an array, which only the native API takes.
    pub fn new(server: SocketAddr, via: Via, tail: &Tail, events: usize) -> Self {
        let mut document = Vec::new();
        document.extend_from_slice(MARK);
        document.extend_from_slice(&[b'0'; DIGITS]);
        document.extend_from_slice(BETWEEN);
        document.extend_from_slice(&[b'0'; DIGITS]);
        document.extend_from_slice(&tail.0);

        let mut body = Vec::new();
        let mut slots = Vec::with_capacity(events);
        if events > 1 {
            body.push(b'[');
        }
        for index in 0..events {
            if index > 0 {
                body.push(b',');
            }
            if via == Via::Native {
                body.extend_from_slice(format!("{{\"type\":\"{EVENT_TYPE}\",\"data\":").as_bytes());
            }
            slots.push(body.len() + MARK.len());
            body.extend_from_slice(&document);
            if via == Via::Native {
                body.push(b'}');
            }
        }
        if events > 1 {
            body.push(b']');
        }

        let (path, key) = match via {
            Via::Native => ("/posthaste/v1/events", format!("Authorization: Bearer {KEY}")),
            Via::Inbox => ("/inbox", format!("X-MsgGO-Key: {KEY}")),
        };
        let mut bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: {server}\r\n{key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        slots.iter_mut().for_each(|slot| *slot += bytes.len());
        bytes.extend_from_slice(&body);
        Self { bytes, slots }
    }

    /// Events in the request.
    pub fn events(&self) -> u64 {
        self.slots.len() as u64
    }

    /// The bytes to send for the events from number `first` on, published at `at_us`.
    pub fn stamp(&mut self, first: u64, at_us: u64) -> &[u8] {
        for (number, &slot) in (first..).zip(&self.slots) {
            write_digits(&mut self.bytes[slot..slot + DIGITS], number);
            let time = slot + DIGITS + BETWEEN.len();
            write_digits(&mut self.bytes[time..time + DIGITS], at_us);
        }
        &self.bytes
    }
}

/// What was found of one event in a received body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The document, byte for byte.
    Whole {
        /// Its number.
        number: u64,
        /// When it was published.
        at_us: u64,
    },
    /// Something that begins like a document of the bench and goes on differently.
    Damaged,
}

/// All events in a received body, in order.
pub fn find<'a>(body: &'a [u8], tail: &'a Tail) -> impl Iterator<Item = Found> + 'a {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + body[at..].windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
        at = start;
        let Some((number, at_us, end)) = digits_at(body, start) else { return Some(Found::Damaged) };
        if !body[end..].starts_with(&tail.0) {
            return Some(Found::Damaged);
        }
        at = end + tail.0.len();
        Some(Found::Whole { number, at_us })
    })
}

fn digits_at(body: &[u8], start: usize) -> Option<(u64, u64, usize)> {
    let number = read_digits(body.get(start..start + DIGITS)?)?;
    let time = start + DIGITS + BETWEEN.len();
    if body.get(start + DIGITS..time)? != BETWEEN {
        return None;
    }
    Some((number, read_digits(body.get(time..time + DIGITS)?)?, time + DIGITS))
}

fn write_digits(slot: &mut [u8], mut value: u64) {
    for digit in slot.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn read_digits(slot: &[u8]) -> Option<u64> {
    slot.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Frame;

    const SERVER: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 80));

    #[test]
    fn what_is_stamped_is_found() {
        let tail = Tail::new(300);
        for (via, events) in [(Via::Native, 1), (Via::Inbox, 1), (Via::Native, 3)] {
            let mut request = Request::new(SERVER, via, &tail, events);
            let bytes = request.stamp(41, 1_234_567).to_vec();
            let frame = Frame::of(&bytes).expect("readable").expect("complete");
            assert_eq!(frame.total(), bytes.len());
            let body = &bytes[frame.head..];
            serde_json::from_slice::<serde_json::Value>(body).expect("JSON");
            let expected: Vec<Found> = (0..events as u64).map(|i| Found::Whole { number: 41 + i, at_us: 1_234_567 }).collect();
            assert_eq!(find(body, &tail).collect::<Vec<_>>(), expected);
        }
        let inbox = Request::new(SERVER, Via::Inbox, &tail, 1);
        assert!(inbox.bytes.windows(23).any(|w| w == b"Content-Length: 300\r\n\r\n"), "a document has the size that was asked for");
    }

    #[test]
    fn a_changed_byte_is_damage() {
        let tail = Tail::new(100);
        let bytes = Request::new(SERVER, Via::Inbox, &tail, 1).stamp(7, 8).to_vec();
        let start = bytes.windows(MARK.len()).position(|w| w == MARK).expect("there");
        for at in start + MARK.len()..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] = b'~';
            assert_eq!(find(&changed, &tail).next(), Some(Found::Damaged), "byte {at}");
        }
        assert_eq!(find(b"{}", &tail).next(), None);
    }
}
