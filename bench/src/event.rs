//! The events of the bench: a document of fixed size that differs from its neighbours in two runs of digits, its number and its time.
//!
//! ```text
//! {"n":"000000000042","t":"000000123456","event":"bench.load","pad":"xxxx…"}
//!       number             microseconds since the run began
//! ```
//!
//! So a request is formatted once, and a received body is recognised and compared without parsing. Of an event about a message the runs
//! of digits are its `message_id`, which the record of a Momentum batch and the event of a Mailgun webhook have as well, and everything that
//! stands behind it there is known.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::api::EVENT_TYPE;
use crate::server::KEY;

const DIGITS: usize = 12;
const KEY_HEADER: &str = "Idempotency-Key: ";
/// Type of the events about a message.
const MESSAGE_TYPE: &str = "message.delivered";
/// What stands behind the digits of such an event.
const MESSAGE: &str = concat!(
    r#"","channel":"email","recipient":"Jane.Doe@Example.com","sender":"news@shop.example","subject":"Your order has been shipped","#,
    r#""tags":["orders","shipping"],"metadata":{"order":"4711","customer":"c-17"},"attempt":1,"size":18432,"status_code":250,"#,
    r#""description":"2.0.0 OK","transport":"http"}"#
);

/// The way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    /// `POST /posthaste/v1/events`.
    Native,
    /// `POST /inbox`, the MsgGO way: one event per request.
    Inbox,
}

/// What stands around the documents of a request.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The way in.
    pub via: Via,
    /// The key to publish with.
    pub key: &'a str,
    /// Type of the events, unless it is that of the documents.
    pub event_type: Option<&'a str>,
    /// When to deliver, as RFC 3339; at once if absent. Native only.
    pub deliver_at: Option<&'a str>,
    /// Whether a request has the number of its first event as its `Idempotency-Key`.
    pub has_key: bool,
}

impl Envelope<'static> {
    /// Of the first workspace.
    pub fn new(via: Via) -> Self {
        Self { via, key: KEY, event_type: None, deliver_at: None, has_key: false }
    }
}

/// What documents look like, sent and received.
#[derive(Clone, Debug)]
pub struct Tail {
    type_name: &'static str,
    /// What stands before the first digits of a document that is sent.
    open: &'static [u8],
    /// The end of that, by which a document is recognised.
    mark: &'static [u8],
    between: &'static [u8],
    /// Everything of a document after its digits, as it is sent.
    sent: Arc<[u8]>,
    /// The same as it is received.
    received: Arc<[u8]>,
}

impl Tail {
    /// For documents of `bytes` bytes, or the least that is possible.
    pub fn new(bytes: usize) -> Self {
        let (open, between) = (b"{\"n\":\"", b"\",\"t\":\"");
        let fixed = format!("\",\"event\":\"{EVENT_TYPE}\",\"pad\":\"\"}}");
        let before = open.len() + between.len() + 2 * DIGITS;
        let pad = "x".repeat(bytes.saturating_sub(before + fixed.len()));
        let sent: Arc<[u8]> = format!("\",\"event\":\"{EVENT_TYPE}\",\"pad\":\"{pad}\"}}").into_bytes().into();
        Self { type_name: EVENT_TYPE, open, mark: open, between, received: Arc::clone(&sent), sent }
    }

    /// For `message.delivered`, received as records of a Momentum batch.
    pub fn momentum() -> Self {
        let received = concat!(
            r#"","rcpt_to":"jane.doe@example.com","raw_rcpt_to":"Jane.Doe@Example.com","rcpt_meta":{"order":"4711","customer":"c-17"},"#,
            r#""rcpt_tags":["orders","shipping"],"delv_method":"esmtp","friendly_from":"news@shop.example","msg_from":"news@shop.example","#,
            r#""msg_size":"18432","num_retries":"0","routing_domain":"example.com","subject":"Your order has been shipped","#,
            r#""recv_method":"rest"}}}"#
        );
        Self::of_message(b"\"message_id\":\"", received)
    }

    /// For `message.delivered`, received as the events of a Mailgun webhook.
    pub fn mailgun() -> Self {
        let received = concat!(
            r#"","from":"news@shop.example","subject":"Your order has been shipped"},"attachments":[],"size":18432},"#,
            r#""envelope":{"sender":"news@shop.example","transport":"smtp","targets":"Jane.Doe@Example.com"},"#,
            r#""flags":{"is-authenticated":true,"is-routed":false,"is-system-test":false,"is-test-mode":false},"#,
            r#""delivery-status":{"code":250,"message":"2.0.0 OK","description":"","attempt-no":1,"session-seconds":0.0}}}"#
        );
        Self::of_message(b"\"message-id\":\"", received)
    }

    fn of_message(mark: &'static [u8], received: &str) -> Self {
        let [sent, received] = [MESSAGE, received].map(|text| Arc::from(text.as_bytes()));
        Self { type_name: MESSAGE_TYPE, open: b"{\"message_id\":\"", mark, between: b"-", sent, received }
    }
}

/// A request for one or more events, ready to be stamped and sent.
#[derive(Clone)]
pub struct Request {
    bytes: Vec<u8>,
    /// Where the number of each event begins.
    slots: Vec<usize>,
    /// Bytes between number and time.
    between: usize,
    /// Where the digits of the `Idempotency-Key` begin.
    key_slot: Option<usize>,
}

impl Request {
    /// Formats a request. More than one event makes an array, which only the native API takes.
    pub fn new(server: SocketAddr, envelope: Envelope<'_>, tail: &Tail, events: usize) -> Self {
        let Envelope { via, key, event_type, deliver_at, has_key } = envelope;
        let mut opening = format!("{{\"type\":\"{}\",", event_type.unwrap_or(tail.type_name));
        if let Some(time) = deliver_at {
            opening.push_str(&format!("\"deliver_at\":\"{time}\","));
        }
        opening.push_str("\"data\":");
        let mut document = Vec::new();
        document.extend_from_slice(tail.open);
        document.extend_from_slice(&[b'0'; DIGITS]);
        document.extend_from_slice(tail.between);
        document.extend_from_slice(&[b'0'; DIGITS]);
        document.extend_from_slice(&tail.sent);

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
                body.extend_from_slice(opening.as_bytes());
            }
            slots.push(body.len() + tail.open.len());
            body.extend_from_slice(&document);
            if via == Via::Native {
                body.push(b'}');
            }
        }
        if events > 1 {
            body.push(b']');
        }

        let (path, key) = match via {
            Via::Native => ("/posthaste/v1/events", format!("Authorization: Bearer {key}")),
            Via::Inbox => ("/inbox", format!("X-MsgGO-Key: {key}")),
        };
        let opening = format!("POST {path} HTTP/1.1\r\nHost: {server}\r\n{key}\r\n{KEY_HEADER}");
        let key_slot = has_key.then_some(opening.len());
        let mut bytes = if has_key { format!("{opening}{:0DIGITS$}\r\n", 0) } else { opening.replace(KEY_HEADER, "") }.into_bytes();
        bytes.extend_from_slice(format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
        slots.iter_mut().for_each(|slot| *slot += bytes.len());
        bytes.extend_from_slice(&body);
        Self { bytes, slots, between: tail.between.len(), key_slot }
    }

    /// Events in the request.
    pub fn events(&self) -> u64 {
        self.slots.len() as u64
    }

    /// The bytes to send for the events from number `first` on, published at `at_us`.
    pub fn stamp(&mut self, first: u64, at_us: u64) -> &[u8] {
        for (number, &slot) in (first..).zip(&self.slots) {
            write_digits(&mut self.bytes[slot..slot + DIGITS], number);
            let time = slot + DIGITS + self.between;
            write_digits(&mut self.bytes[time..time + DIGITS], at_us);
        }
        if let Some(slot) = self.key_slot {
            write_digits(&mut self.bytes[slot..slot + DIGITS], first);
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
        let mark = tail.mark;
        let start = at + body[at..].windows(mark.len()).position(|window| window == mark)? + mark.len();
        at = start;
        let Some((number, at_us, end)) = digits_at(body, start, tail.between) else { return Some(Found::Damaged) };
        if !body[end..].starts_with(&tail.received) {
            return Some(Found::Damaged);
        }
        at = end + tail.received.len();
        Some(Found::Whole { number, at_us })
    })
}

fn digits_at(body: &[u8], start: usize, between: &[u8]) -> Option<(u64, u64, usize)> {
    let number = read_digits(body.get(start..start + DIGITS)?)?;
    let time = start + DIGITS + between.len();
    if body.get(start + DIGITS..time)? != between {
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
            let mut request = Request::new(SERVER, Envelope::new(via), &tail, events);
            let bytes = request.stamp(41, 1_234_567).to_vec();
            let frame = Frame::of(&bytes).expect("readable").expect("complete");
            assert_eq!(frame.total(), bytes.len());
            let body = &bytes[frame.head..];
            serde_json::from_slice::<serde_json::Value>(body).expect("JSON");
            let expected: Vec<Found> = (0..events as u64).map(|i| Found::Whole { number: 41 + i, at_us: 1_234_567 }).collect();
            assert_eq!(find(body, &tail).collect::<Vec<_>>(), expected);
        }
        let inbox = Request::new(SERVER, Envelope::new(Via::Inbox), &tail, 1);
        assert!(inbox.bytes.windows(23).any(|w| w == b"Content-Length: 300\r\n\r\n"), "a document has the size that was asked for");
    }

    #[test]
    fn a_key_is_the_number_of_the_first_event() {
        let envelope = Envelope { has_key: true, ..Envelope::new(Via::Native) };
        let mut request = Request::new(SERVER, envelope, &Tail::new(120), 2);
        for number in [41, 7] {
            let bytes = request.stamp(number, 2).to_vec();
            let frame = Frame::of(&bytes).expect("readable").expect("complete");
            assert_eq!(frame.total(), bytes.len());
            let head = String::from_utf8_lossy(&bytes[..frame.head]).into_owned();
            assert!(head.contains(&format!("\r\nIdempotency-Key: {number:012}\r\n")), "{head}");
            assert!(find(&bytes[frame.head..], &Tail::new(120)).eq([number, number + 1].map(|number| Found::Whole { number, at_us: 2 })));
        }
    }

    #[test]
    fn an_envelope_says_what_it_is_told() {
        let envelope = Envelope { event_type: Some("a.b"), deliver_at: Some("2030-01-01T00:00:00Z"), ..Envelope::new(Via::Native) };
        let bytes = Request::new(SERVER, envelope, &Tail::new(120), 1).stamp(1, 2).to_vec();
        let body = &bytes[Frame::of(&bytes).expect("readable").expect("complete").head..];
        let sent: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        assert_eq!((&sent["type"], &sent["deliver_at"]), (&"a.b".into(), &"2030-01-01T00:00:00Z".into()));
    }

    #[test]
    fn a_momentum_record_is_found_by_its_message_id() {
        let tail = Tail::momentum();
        let mut request = Request::new(SERVER, Envelope::new(Via::Native), &tail, 2);
        let bytes = request.stamp(7, 8).to_vec();
        let body = &bytes[Frame::of(&bytes).expect("readable").expect("complete").head..];
        let sent: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        assert_eq!((&sent[1]["type"], &sent[1]["data"]["message_id"]), (&"message.delivered".into(), &"000000000008-000000000008".into()));
        let record = format!(
            r#"[{{"msys":{{"message_event":{{"type":"delivery","message_id":"000000000007-000000000008{}]"#,
            String::from_utf8_lossy(&tail.received)
        );
        serde_json::from_str::<serde_json::Value>(&record).expect("JSON");
        assert_eq!(find(record.as_bytes(), &tail).collect::<Vec<_>>(), [Found::Whole { number: 7, at_us: 8 }]);
    }

    #[test]
    fn a_mailgun_event_is_found_by_its_message_id() {
        let tail = Tail::mailgun();
        let body = format!(
            r#"{{"signature":{{}},"event-data":{{"message":{{"headers":{{"to":"Jane.Doe@Example.com","message-id":"000000000007-000000000008{}"#,
            String::from_utf8_lossy(&tail.received)
        );
        serde_json::from_str::<serde_json::Value>(&body).expect("JSON");
        assert_eq!(find(body.as_bytes(), &tail).collect::<Vec<_>>(), [Found::Whole { number: 7, at_us: 8 }]);
    }

    #[test]
    fn a_changed_byte_is_damage() {
        let tail = Tail::new(100);
        let bytes = Request::new(SERVER, Envelope::new(Via::Inbox), &tail, 1).stamp(7, 8).to_vec();
        let start = bytes.windows(tail.mark.len()).position(|w| w == tail.mark).expect("there");
        for at in start + tail.mark.len()..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] = b'~';
            assert_eq!(find(&changed, &tail).next(), Some(Found::Damaged), "byte {at}");
        }
        assert_eq!(find(b"{}", &tail).next(), None);
    }
}
