//! What an attempt to send a message means, said in events.

use posthaste_domain::delivery::{Attempt, DeliveryState};
use posthaste_domain::message::{self, MessageChannel, Outgoing};
use posthaste_domain::sms::segment;
use serde_json::{Map, Value, json};

use super::told;
use crate::accept::Incoming;

/// Characters of a carrier's words that an event repeats.
const MAX_DESCRIPTION: usize = 500;

/// An attempt that was made.
pub(crate) struct Told<'a> {
    /// Its record.
    pub attempt: &'a Attempt,
    /// The delivery's state after it.
    pub state: DeliveryState,
    /// When it is tried again, if it is.
    pub due_ms: i64,
    /// The carrier's id of the message, if it gave one.
    pub carrier_id: Option<&'a str>,
    /// Whether another try could have helped.
    pub gave_up: bool,
    /// Now.
    pub now_ms: i64,
}

/// The event that tells an attempt's outcome; none where it means nothing.
pub(crate) fn events_of_attempt(message: &Outgoing, recipient: usize, outcome: &Told<'_>) -> Option<Incoming> {
    let attempt = outcome.attempt;
    let mut data = message.data(recipient);
    data.insert("attempt".to_owned(), json!(attempt.number));
    put(&mut data, "status_code", attempt.status.map(Value::from));
    put(&mut data, "carrier_id", outcome.carrier_id.map(Value::from));
    let type_name = match (outcome.state, message.channel) {
        (DeliveryState::Delivered, MessageChannel::Email) => {
            put(&mut data, "description", words(&attempt.response_body).map(Value::from));
            message::DELIVERED
        }
        (DeliveryState::Delivered, MessageChannel::Sms) => {
            data.remove("status_code");
            data.insert("segments".to_owned(), json!(segment(message.text.as_deref().unwrap_or_default()).parts.len()));
            message::SENT
        }
        (DeliveryState::Scheduled, _) => {
            failure(&mut data, attempt);
            data.insert("retry_seconds".to_owned(), json!((outcome.due_ms - outcome.now_ms).max(0) / 1000));
            message::DEFERRED
        }
        (DeliveryState::Failed, channel) => {
            failure(&mut data, attempt);
            let reason = match (outcome.gave_up, attempt.status, channel) {
                (true, ..) => "old",
                (false, Some(status), MessageChannel::Email) => refusal(status, attempt.message.as_deref().unwrap_or_default()),
                (false, Some(_), MessageChannel::Sms) => "rejected",
                (false, None, _) => "generic",
            };
            data.insert("reason".to_owned(), json!(reason));
            message::FAILED
        }
        (DeliveryState::Queued | DeliveryState::Cancelled, _) => return None,
    };
    Some(told(type_name, data, outcome.now_ms))
}

/// What a mail server means by refusing a mail for good. Only what is about the mailbox is a `bounce`: then nothing more is sent to it.
/// That is what an enhanced code (RFC 3463) says in so many words; without one 550, 551 and 553 do, unless the text speaks of something
/// else. 5.7 is `policy`.
fn refusal(status: u16, said: &str) -> &'static str {
    // What stands before the answer is the relay's name.
    let said = said.split_once(format!(" answered {status}").as_str()).map_or(said, |(_, answer)| answer);
    let enhanced = said.split_whitespace().find_map(|word| {
        let mut parts = word.trim_matches(|c: char| !c.is_ascii_digit()).split('.');
        let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_code = class == "5" && is_number(subject) && is_number(detail) && parts.next().is_none();
        is_code.then_some((subject, detail))
    });
    match (status, enhanced) {
        (_, Some(("7", _))) => "policy",
        (530 | 535 | 552 | 554, _) => "generic",
        (500..=599, Some(("1", "1" | "2" | "3" | "6" | "10") | ("2", "1"))) => "bounce",
        (550 | 551 | 553, None) if !is_about_something_else(said) => "bounce",
        _ => "generic",
    }
}

/// Whether a refusal without an enhanced code speaks of the sender or of this server and not of the mailbox.
fn is_about_something_else(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    ["relay", "auth", "sender", "spam", "policy", "block", "blacklist"].iter().any(|word| said.contains(word))
}

/// The event of a recipient to whom nothing is sent.
pub(super) fn suppressed(message: &Outgoing, recipient: usize, reason: &str, now_ms: i64) -> Incoming {
    let (code, description) = match reason {
        "suppress-unsubscribe" => (606, "Not delivering to an address that unsubscribed"),
        "suppress-complaint" => (607, "Not delivering to an address that complained"),
        _ => (605, "Not delivering to previously bounced address"),
    };
    let mut data = message.data(recipient);
    data.insert("reason".to_owned(), json!(reason));
    data.insert("status_code".to_owned(), json!(code));
    data.insert("description".to_owned(), json!(description));
    told(message::FAILED, data, now_ms)
}

fn failure(data: &mut Map<String, Value>, attempt: &Attempt) {
    put(data, "error_code", attempt.error.as_deref().map(Value::from));
    put(data, "description", attempt.message.as_deref().map(Value::from));
}

fn put(data: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        data.insert(name.to_owned(), value);
    }
}

/// The first words of an answer.
fn words(body: &[u8]) -> Option<String> {
    let text: String = String::from_utf8_lossy(body).trim().chars().take(MAX_DESCRIPTION).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accept::IncomingKind;
    use bytes::Bytes;
    use posthaste_domain::delivery::Fault;
    use posthaste_domain::message::Recipient;

    fn sms() -> Outgoing {
        Outgoing {
            id: "m-1".into(),
            channel: MessageChannel::Sms,
            dialect: "api".into(),
            sender: "Shop".into(),
            recipients: vec![Recipient::of("+15550100")],
            subject: None,
            text: Some("hi".into()),
            email: None,
            domain: None,
            tags: Vec::new(),
            metadata: Map::new(),
            test: false,
            deliver_at_ms: None,
            callback_url: None,
            extra: Map::new(),
            created_ms: 0,
        }
    }

    fn told_of(channel: MessageChannel, state: DeliveryState, status: Option<u16>, gave_up: bool) -> (String, Value) {
        let attempt = Attempt {
            number: 2,
            at_ms: 5,
            duration_us: 1,
            error: (state != DeliveryState::Delivered).then(|| "smtp_rejected".into()),
            message: (state != DeliveryState::Delivered).then(|| "no such user".into()),
            fault: Some(Fault::Theirs),
            status,
            request: "".into(),
            response: "".into(),
            response_body: Bytes::from_static(b"2.0.0 Ok\n"),
        };
        let message = Outgoing { channel, ..sms() };
        let outcome = Told { attempt: &attempt, state, due_ms: 61_000, carrier_id: Some("c-9"), gave_up, now_ms: 1_000 };
        let event = events_of_attempt(&message, 0, &outcome).expect("an event");
        let IncomingKind::Named(name) = event.kind else { panic!("named") };
        (name.to_string(), serde_json::from_slice(&event.payload).expect("JSON"))
    }

    #[test]
    fn only_a_bad_mailbox_is_a_bounce() {
        for (status, said, reason) in [
            (550, "5.1.1 no such user", "bounce"),
            (550, "no such user at 10.0.0.1", "bounce"),
            (553, "the relay said: 553 5.1.2 bad domain", "bounce"),
            (550, "5.7.1 refused", "policy"),
            (554, "5.7.0 refused", "policy"),
            (554, "5.1.1 no such user", "generic"),
            (552, "5.2.2 mailbox full", "generic"),
            (550, "5.1.10 null MX", "bounce"),
            (556, "5.1.10 null MX", "bounce"),
            (501, "5.1.3 bad syntax of the recipient", "bounce"),
            (551, "[5.1.6] moved", "bounce"),
            (550, "5.2.1 mailbox disabled", "bounce"),
            (550, "5.1.7 bad sender", "generic"),
            (553, "5.1.8 bad domain of the sender", "generic"),
            (550, "5.2.2 mailbox full", "generic"),
            (550, "5.2.3 too long", "generic"),
            (550, "5.0.0 no", "generic"),
            (530, "authentication required", "generic"),
            (535, "5.7.8 wrong", "policy"),
            (554, "no such user", "generic"),
            (550, "Relaying denied", "generic"),
            (550, "this server's mail relay answered 550 relaying denied", "generic"),
            (550, "this server's mail relay answered 550 no such user", "bounce"),
            (551, "auth.example answered 551 5.1.1 no such user", "bounce"),
            (553, "Sender rejected", "generic"),
            (550, "Looks like SPAM", "generic"),
            (550, "your address is on a blacklist", "generic"),
            (451, "5.1.1 odd", "generic"),
        ] {
            assert_eq!(refusal(status, said), reason, "{status} {said}");
        }
    }

    #[test]
    fn each_outcome_has_its_event() {
        use DeliveryState::{Delivered, Failed, Scheduled};
        let (name, data) = told_of(MessageChannel::Sms, Delivered, None, false);
        assert_eq!((name.as_str(), &data["carrier_id"], &data["attempt"]), ("message.sent", &json!("c-9"), &json!(2)));
        assert_eq!(data["segments"], 1);
        let (name, data) = told_of(MessageChannel::Email, Delivered, Some(250), false);
        assert_eq!((name.as_str(), &data["status_code"], &data["description"]), ("message.delivered", &json!(250), &json!("2.0.0 Ok")));
        let (name, data) = told_of(MessageChannel::Email, Scheduled, Some(451), false);
        assert_eq!((name.as_str(), &data["retry_seconds"], &data["error_code"]), ("message.deferred", &json!(60), &json!("smtp_rejected")));
        for (channel, status, gave_up, reason) in [
            (MessageChannel::Email, Some(550), false, "bounce"),
            (MessageChannel::Email, Some(451), true, "old"),
            (MessageChannel::Sms, Some(11), false, "rejected"),
            (MessageChannel::Sms, None, false, "generic"),
        ] {
            let (name, data) = told_of(channel, Failed, status, gave_up);
            assert_eq!((name.as_str(), &data["reason"]), ("message.failed", &json!(reason)));
            assert_eq!(data["occurred_at"], "1970-01-01T00:00:01.000Z");
        }
    }
}
