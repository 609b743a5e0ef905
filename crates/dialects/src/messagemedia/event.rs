//! The nine events, and which of them an event of this server is (MessageMedia 5).

use posthaste_domain::message;
use serde_json::Value;

/// An event that a webhook can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// An SMS came in.
    ReceivedSms,
    /// A recipient opted out.
    OptOutSms,
    /// An MMS came in.
    ReceivedMms,
    /// A message is being processed or waits.
    EnrouteDr,
    /// Handed to a carrier.
    SubmittedDr,
    /// Delivery is confirmed.
    DeliveredDr,
    /// Its validity ran out.
    ExpiredDr,
    /// Refused for good.
    RejectedDr,
    /// It failed.
    FailedDr,
}

use EventKind::{DeliveredDr, EnrouteDr, ExpiredDr, FailedDr, OptOutSms, ReceivedMms, ReceivedSms, RejectedDr, SubmittedDr};

/// Every status code with the event it belongs to.
const CODES: [(u16, EventKind); 30] = [
    (101, EnrouteDr),
    (102, EnrouteDr),
    (151, EnrouteDr),
    (200, SubmittedDr),
    (210, SubmittedDr),
    (211, SubmittedDr),
    (212, SubmittedDr),
    (213, SubmittedDr),
    (220, DeliveredDr),
    (221, DeliveredDr),
    (320, ExpiredDr),
    (401, ExpiredDr),
    (301, RejectedDr),
    (302, RejectedDr),
    (303, RejectedDr),
    (304, RejectedDr),
    (305, RejectedDr),
    (402, RejectedDr),
    (403, RejectedDr),
    (410, RejectedDr),
    (411, RejectedDr),
    (412, RejectedDr),
    (413, RejectedDr),
    (414, RejectedDr),
    (330, FailedDr),
    (331, FailedDr),
    (332, FailedDr),
    (333, FailedDr),
    (400, FailedDr),
    (405, FailedDr),
];

impl EventKind {
    /// All nine, as the reference lists them.
    pub const ALL: [Self; 9] = [ReceivedSms, OptOutSms, ReceivedMms, EnrouteDr, SubmittedDr, DeliveredDr, ExpiredDr, RejectedDr, FailedDr];

    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            ReceivedSms => "RECEIVED_SMS",
            OptOutSms => "OPT_OUT_SMS",
            ReceivedMms => "RECEIVED_MMS",
            EnrouteDr => "ENROUTE_DR",
            SubmittedDr => "SUBMITTED_DR",
            DeliveredDr => "DELIVERED_DR",
            ExpiredDr => "EXPIRED_DR",
            RejectedDr => "REJECTED_DR",
            FailedDr => "FAILED_DR",
        }
    }

    /// The event of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The types of this server's events that can be this one.
    pub fn types(self) -> &'static [&'static str] {
        match self {
            ReceivedSms | ReceivedMms => &[message::RECEIVED],
            OptOutSms => &[message::UNSUBSCRIBED],
            EnrouteDr => &[message::ACCEPTED, message::DEFERRED],
            SubmittedDr => &[message::SENT],
            DeliveredDr => &[message::DELIVERED],
            ExpiredDr | RejectedDr | FailedDr => &[message::FAILED],
        }
    }

    /// `$status` of a delivery report.
    pub fn status(self) -> Option<&'static str> {
        Some(match self {
            EnrouteDr => "enroute",
            SubmittedDr => "submitted",
            DeliveredDr => "delivered",
            ExpiredDr => "expired",
            RejectedDr => "rejected",
            FailedDr => "failed",
            ReceivedSms | OptOutSms | ReceivedMms => return None,
        })
    }
}

/// What an event is in MessageMedia's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which of the nine.
    pub kind: EventKind,
    /// `$statusCode`; 0 for what is no delivery report.
    pub code: u16,
}

/// What an event is, if it is one of the nine: by its type and its fields `channel`, `status_code` and `reason`. Mail has the same life as a
/// text message and is told in the same words.
///
/// A status code of MessageMedia's own table decides between failed, rejected and expired; without one the reason does.
pub fn told(type_name: &str, field: impl Fn(&str) -> Option<String>) -> Option<Told> {
    let is_mms = field("channel").is_some_and(|channel| channel.eq_ignore_ascii_case("mms"));
    let given = field("status_code").and_then(|code| code.parse::<u16>().ok());
    let listed = given.and_then(|code| CODES.into_iter().find(|(listed, _)| *listed == code));
    let (kind, usual) = match type_name {
        message::RECEIVED => return Some(Told { kind: if is_mms { ReceivedMms } else { ReceivedSms }, code: 0 }),
        message::UNSUBSCRIBED => return Some(Told { kind: OptOutSms, code: 0 }),
        message::ACCEPTED | message::DEFERRED => (EnrouteDr, 101),
        message::SENT => (SubmittedDr, 200),
        message::DELIVERED => (DeliveredDr, 220),
        message::FAILED => match listed {
            Some((code, kind)) if matches!(kind, FailedDr | RejectedDr | ExpiredDr) => (kind, code),
            _ => by_reason(field("reason").unwrap_or_default().as_str()),
        },
        _ => return None,
    };
    let code = listed.filter(|(_, of)| *of == kind).map_or(usual, |(code, _)| code);
    Some(Told { kind, code })
}

fn by_reason(reason: &str) -> (EventKind, u16) {
    match reason {
        "expired" => (ExpiredDr, 320),
        "rejected" => (RejectedDr, 402),
        "policy" => (RejectedDr, 304),
        _ if reason.starts_with("suppress-") => (RejectedDr, 302),
        "old" | "generic" => (FailedDr, 330),
        _ => (FailedDr, 400),
    }
}

/// A field of a parsed document as text, if it is a text or a number.
pub(super) fn field_of(document: &Value, name: &str) -> Option<String> {
    match document.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told_of(type_name: &str, fields: Value) -> Option<(&'static str, u16)> {
        told(type_name, |name| field_of(&fields, name)).map(|told| (told.kind.name(), told.code))
    }

    #[test]
    fn every_code_belongs_to_one_event() {
        let mut codes: Vec<u16> = CODES.iter().map(|(code, _)| *code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
        for (code, kind) in CODES {
            for type_name in kind.types() {
                assert_eq!(told_of(type_name, json!({ "channel": "sms", "status_code": code })), Some((kind.name(), code)));
                assert_eq!(told_of(type_name, json!({ "channel": "SMS", "status_code": code.to_string() })), Some((kind.name(), code)));
            }
        }
    }

    // MESSAGEMEDIA-75, the part of it that is the table's.
    #[test]
    fn without_a_code_of_the_table_the_usual_one_stands() {
        for (type_name, extra, wanted) in [
            ("message.accepted", json!({}), ("ENROUTE_DR", 101)),
            ("message.deferred", json!({ "status_code": 451 }), ("ENROUTE_DR", 101)),
            ("message.sent", json!({ "status_code": "220" }), ("SUBMITTED_DR", 200)),
            ("message.delivered", json!({ "status_code": "000" }), ("DELIVERED_DR", 220)),
            ("message.failed", json!({}), ("FAILED_DR", 400)),
            ("message.failed", json!({ "reason": "bounce", "status_code": 550 }), ("FAILED_DR", 400)),
            ("message.failed", json!({ "reason": "generic" }), ("FAILED_DR", 330)),
            ("message.failed", json!({ "reason": "expired" }), ("EXPIRED_DR", 320)),
            ("message.failed", json!({ "reason": "expired", "status_code": 401 }), ("EXPIRED_DR", 401)),
            ("message.failed", json!({ "reason": "rejected" }), ("REJECTED_DR", 402)),
            ("message.failed", json!({ "reason": "policy" }), ("REJECTED_DR", 304)),
            ("message.failed", json!({ "reason": "suppress-unsubscribe" }), ("REJECTED_DR", 302)),
            ("message.failed", json!({ "reason": "bounce", "status_code": 411 }), ("REJECTED_DR", 411)),
            ("message.received", json!({}), ("RECEIVED_SMS", 0)),
            ("message.received", json!({ "channel": "mms" }), ("RECEIVED_MMS", 0)),
            ("message.unsubscribed", json!({}), ("OPT_OUT_SMS", 0)),
        ] {
            let mut fields = json!({ "channel": "sms" });
            fields.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            assert_eq!(told_of(type_name, fields), Some(wanted), "{type_name} {extra}");
        }
        for (type_name, fields) in [("message.opened", json!({ "channel": "sms" })), ("order.created", json!({ "channel": "sms" }))] {
            assert_eq!(told_of(type_name, fields), None, "{type_name}");
        }
    }
}
