//! Messages as the API shows them (MsGine 4): no envelope, whole seconds, exact costs.

use posthaste_domain::message::{MessageChannel, Outgoing};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::account::Price;
use super::format::seconds;
use super::input::Generation;
use super::money::Money;
use super::status::{Progress, Status};

/// Names of the facts that an outgoing message keeps for this dialect.
const PRICE: &str = "price";
const CURRENCY: &str = "currency";

/// What an outgoing message remembers of its price: a later change of prices does not change what was charged.
pub fn facts(price: &Price) -> Map<String, Value> {
    Map::from_iter([(PRICE.to_owned(), Value::from(price.price.text())), (CURRENCY.to_owned(), Value::from(price.currency.as_str()))])
}

/// What a message costs; nothing if it was not sent through this dialect.
pub fn cost(message: &Outgoing) -> Money {
    let price = message.extra.get(PRICE).and_then(Value::as_str).and_then(Money::parse);
    price.unwrap_or_default().times(message.recipients.len())
}

/// The currency of a message's cost, if it has one.
pub fn currency(message: &Outgoing) -> Option<&str> {
    message.extra.get(CURRENCY).and_then(Value::as_str)
}

/// A message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageView<'a> {
    id: &'a str,
    sid: String,
    channel: &'static str,
    to: Vec<&'a str>,
    from: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    content: &'a str,
    /// Generation 1 repeats the content (O-5).
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    status: Status,
    cost: Box<RawValue>,
    currency: &'a str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<String>,
}

impl<'a> MessageView<'a> {
    /// A message as far as it has come. `currency` is for one that was not sent through this dialect.
    pub fn new(message: &'a Outgoing, progress: Progress, generation: Generation, currency: &'a str) -> Self {
        let html = message.email.as_ref().and_then(|email| email.html.as_deref());
        let content = message.text.as_deref().or(html).unwrap_or_default();
        let is_two = generation == Generation::Two;
        let from = message.email.as_ref().map_or(message.sender.as_str(), |email| &email.from);
        Self {
            id: &message.id,
            sid: super::sid(&message.id),
            channel: message.channel.name(),
            to: message.recipients.iter().map(|recipient| recipient.address.as_str()).collect(),
            from,
            subject: message.subject.as_deref().filter(|_| message.channel == MessageChannel::Email),
            content,
            message: Some(content).filter(|_| !is_two),
            status: progress.status,
            cost: cost(message).json(),
            currency: self::currency(message).unwrap_or(currency),
            created_at: seconds(message.created_ms),
            updated_at: progress.updated_ms.map(seconds),
            scheduled_at: message.deliver_at_ms.filter(|_| is_two).map(seconds),
            sent_at: progress.sent_ms.filter(|_| is_two).map(seconds),
        }
    }
}

/// A page of the history. The list stands under both names that clients read (MsGine 4.2).
#[derive(Serialize)]
pub struct PageView<'a> {
    /// What the pages say.
    pub messages: &'a [MessageView<'a>],
    /// What the Go client reads.
    pub items: &'a [MessageView<'a>],
    /// Messages on all pages.
    pub total: u64,
    /// This page, from 1.
    pub page: u64,
    /// Number of pages.
    pub pages: u64,
}

#[cfg(test)]
mod tests {
    use posthaste_domain::message::Recipient;

    use super::*;

    fn sms(price: &str, currency: &str) -> Outgoing {
        let price = Price { price: Money::parse(price).expect("a price"), currency: currency.to_owned() };
        Outgoing {
            id: "msg_1".into(),
            channel: MessageChannel::Sms,
            dialect: "msgine".into(),
            sender: "MyApp".into(),
            recipients: ["+256701521269", "+256701234567", "+256709876543"].map(Recipient::of).to_vec(),
            subject: None,
            text: Some("Hello".into()),
            email: None,
            domain: None,
            tags: Vec::new(),
            metadata: Map::new(),
            test: false,
            deliver_at_ms: None,
            callback_url: None,
            extra: facts(&price),
            created_ms: 1_705_314_600_789,
        }
    }

    const PENDING: Progress = Progress { status: Status::Pending, updated_ms: None, sent_ms: None };

    // MSGINE-8, MSGINE-9, MSGINE-10, MSGINE-12: the documented object.
    #[test]
    fn a_new_message_is_shown_as_documented() {
        let message = sms("0.05", "USD");
        let shown = serde_json::to_string(&MessageView::new(&message, PENDING, Generation::One, "EUR")).expect("serialises");
        let expected = r#"{"id":"msg_1","sid":"SM","channel":"sms","to":["+256701521269","+256701234567","+256709876543"],"from":"MyApp","content":"Hello","message":"Hello","status":"pending","cost":0.15,"currency":"USD","createdAt":"2024-01-15T10:30:00Z"}"#;
        let (before, after) = shown.split_once(r#""sid":"SM"#).expect("a sid");
        assert_eq!(format!(r#"{before}"sid":"SM{}"#, &after[16..]), expected);
        let message = sms("30", "UGX");
        let shown = serde_json::to_string(&MessageView::new(&message, PENDING, Generation::Two, "EUR")).expect("serialises");
        assert!(shown.contains(r#""cost":90,"currency":"UGX""#) && !shown.contains(r#""message""#), "{shown}");
    }

    #[test]
    fn times_appear_when_they_apply() {
        let progress = Progress { status: Status::Sent, updated_ms: Some(1_705_314_615_000), sent_ms: Some(1_705_314_615_000) };
        let message = Outgoing { deliver_at_ms: Some(1_705_314_610_000), ..sms("1", "USD") };
        for (generation, fields) in [(Generation::One, &["updatedAt"][..]), (Generation::Two, &["updatedAt", "scheduledAt", "sentAt"])] {
            let shown = serde_json::to_value(MessageView::new(&message, progress, generation, "USD")).expect("serialises");
            for field in ["updatedAt", "scheduledAt", "sentAt"] {
                assert_eq!(shown.get(field).is_some(), fields.contains(&field), "{shown}");
            }
            assert_eq!(shown["updatedAt"], "2024-01-15T10:30:15Z");
        }
    }
}
