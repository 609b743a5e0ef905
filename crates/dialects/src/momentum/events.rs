//! The sixteen event keys, their classes and fields, and which event of the message life cycle each of them tells.

use posthaste_domain::message;

/// A class of events: the one key of a record.
#[derive(Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name on the wire.
    pub name: &'static str,
    /// Its name for people.
    pub display_name: &'static str,
    /// What its events tell.
    pub description: &'static str,
}

/// The classes, in the order of the documentation.
pub static CLASSES: [Class; 5] = [
    Class { name: "message_event", display_name: "Message Events", description: "The life of a message until it is delivered or given up" },
    Class { name: "gen_event", display_name: "Generation Events", description: "Messages that could not be made" },
    Class { name: "track_event", display_name: "Engagement Events", description: "What recipients do with a message" },
    Class { name: "unsubscribe_event", display_name: "Unsubscribe Events", description: "Recipients who want no more messages" },
    Class { name: "ad_event", display_name: "Adaptive Delivery Events", description: "Reactions to what receiving domains answer" },
];

/// An event that webhooks can subscribe to.
#[derive(Debug)]
pub struct EventKey {
    /// Its key.
    pub key: &'static str,
    /// Its name for people.
    pub display_name: &'static str,
    /// What it tells.
    pub description: &'static str,
    /// Name of its class.
    pub class: &'static str,
    /// Its fields in their order on the wire.
    pub fields: &'static [&'static [&'static str]],
}

/// Fields of a message that could not be made, beside the base and the error.
const GENERATION: &[&str] = &[
    "campaign_id",
    "template_id",
    "template_version",
    "transmission_id",
    "subaccount_id",
    "rcpt_to",
    "raw_rcpt_to",
    "rcpt_meta",
    "rcpt_tags",
    "rcpt_subs",
    "friendly_from",
    "ip_pool",
    "routing_domain",
    "sending_ip",
];

const BASE: &[&str] = &["type", "timestamp", "customer_id", "event_id"];
const MESSAGE: &[&str] = &["campaign_id", "message_id", "template_id", "template_version", "transmission_id", "subaccount_id"];
const RECIPIENT: &[&str] = &["rcpt_to", "raw_rcpt_to", "rcpt_type", "rcpt_meta", "rcpt_tags"];
const SMS: &[&str] = &["sms_src", "sms_src_ton", "sms_src_npi", "sms_dst", "sms_dst_ton", "sms_dst_npi"];
const ERROR: &[&str] = &["error_code", "reason", "raw_reason"];

/// All keys, in the order of the documentation.
pub static EVENTS: [EventKey; 16] = [
    EventKey {
        key: "injection",
        display_name: "Injection",
        description: "The server received the message",
        class: "message_event",
        fields: &[
            BASE,
            MESSAGE,
            RECIPIENT,
            SMS,
            &[
                "friendly_from",
                "msg_from",
                "msg_size",
                "routing_domain",
                "subject",
                "ip_pool",
                "sending_ip",
                "sms_coding",
                "sms_segments",
                "sms_text",
            ],
        ],
    },
    EventKey {
        key: "delivery",
        display_name: "Delivery",
        description: "The remote server accepted the message",
        class: "message_event",
        fields: &[
            BASE,
            MESSAGE,
            RECIPIENT,
            SMS,
            &[
                "delv_method",
                "device_token",
                "friendly_from",
                "ip_address",
                "ip_pool",
                "msg_from",
                "msg_size",
                "num_retries",
                "queue_time",
                "routing_domain",
                "sending_ip",
                "subject",
                "sms_coding",
                "sms_remoteids",
                "sms_segments",
                "recv_method",
                "node_name",
                "binding",
                "binding_group",
                "conn_stage",
                "conn_name",
                "msg_spoolname",
                "msg_batchname",
            ],
        ],
    },
    EventKey {
        key: "policy_rejection",
        display_name: "Policy Rejection",
        description: "The message was refused, or not made, by policy",
        class: "message_event",
        fields: &[BASE, MESSAGE, RECIPIENT, ERROR, &["friendly_from", "msg_from", "remote_addr", "sending_ip", "bounce_class"]],
    },
    EventKey {
        key: "bounce",
        display_name: "Bounce",
        description: "The remote server refused the message for good",
        class: "message_event",
        fields: &[
            BASE,
            MESSAGE,
            RECIPIENT,
            SMS,
            ERROR,
            &[
                "bounce_class",
                "delv_method",
                "device_token",
                "friendly_from",
                "ip_address",
                "ip_pool",
                "msg_from",
                "msg_size",
                "num_retries",
                "routing_domain",
                "sending_ip",
                "subject",
                "sms_coding",
            ],
        ],
    },
    EventKey {
        key: "delay",
        display_name: "Delay",
        description: "The remote server refused the message for now",
        class: "message_event",
        fields: &[
            BASE,
            MESSAGE,
            RECIPIENT,
            SMS,
            ERROR,
            &[
                "bounce_class",
                "delv_method",
                "device_token",
                "friendly_from",
                "ip_address",
                "ip_pool",
                "msg_from",
                "msg_size",
                "num_retries",
                "queue_time",
                "routing_domain",
                "sending_ip",
                "subject",
                "sms_coding",
            ],
        ],
    },
    EventKey {
        key: "out_of_band",
        display_name: "Out of Band",
        description: "The message was accepted first and reported undelivered later",
        class: "message_event",
        fields: &[
            BASE,
            ERROR,
            &[
                "campaign_id",
                "message_id",
                "template_id",
                "template_version",
                "subaccount_id",
                "rcpt_to",
                "raw_rcpt_to",
                "bounce_class",
                "delv_method",
                "device_token",
                "ip_pool",
                "msg_from",
                "routing_domain",
                "sending_ip",
            ],
        ],
    },
    EventKey {
        key: "spam_complaint",
        display_name: "Spam Complaint",
        description: "The recipient called the message spam",
        class: "message_event",
        fields: &[
            BASE,
            MESSAGE,
            RECIPIENT,
            &["delv_method", "fbtype", "friendly_from", "ip_pool", "report_by", "report_to", "sending_ip", "subject", "user_str"],
        ],
    },
    EventKey {
        key: "sms_status",
        display_name: "SMS Status",
        description: "A carrier reported the state of an SMS",
        class: "message_event",
        fields: &[
            &["type", "timestamp", "customer_id", "subaccount_id"],
            SMS,
            &[
                "delv_method",
                "dr_latency",
                "ip_address",
                "ip_pool",
                "reason",
                "raw_reason",
                "routing_domain",
                "sending_ip",
                "sms_remoteids",
                "sms_text",
                "stat_type",
                "stat_state",
            ],
        ],
    },
    EventKey {
        key: "generation_failure",
        display_name: "Generation Failure",
        description: "The message could not be made for one recipient",
        class: "gen_event",
        fields: &[BASE, ERROR, GENERATION],
    },
    EventKey {
        key: "generation_rejection",
        display_name: "Generation Rejection",
        description: "Policy refused to make the message",
        class: "gen_event",
        fields: &[BASE, ERROR, GENERATION, &["subject", "bounce_class"]],
    },
    EventKey {
        key: "open",
        display_name: "Open",
        description: "The recipient opened the message: its tracking pixel was loaded",
        class: "track_event",
        fields: &[
            BASE,
            MESSAGE,
            RECIPIENT,
            &["delv_method", "ip_address", "user_agent", "accept_language", "node_name", "geo_ip", "sending_ip"],
        ],
    },
    EventKey {
        key: "click",
        display_name: "Click",
        description: "The recipient followed a tracked link",
        class: "track_event",
        fields: &[
            BASE,
            MESSAGE,
            RECIPIENT,
            &[
                "delv_method",
                "ip_address",
                "user_agent",
                "accept_language",
                "node_name",
                "geo_ip",
                "sending_ip",
                "target_link_url",
                "target_link_name",
            ],
        ],
    },
    EventKey {
        key: "list_unsubscribe",
        display_name: "List Unsubscribe",
        description: "The recipient used the unsubscribe button of the mail client",
        class: "unsubscribe_event",
        fields: &[BASE, MESSAGE, RECIPIENT, &["friendly_from", "mailfrom", "sending_ip"]],
    },
    EventKey {
        key: "link_unsubscribe",
        display_name: "Link Unsubscribe",
        description: "The recipient followed the unsubscribe link in the message",
        class: "unsubscribe_event",
        fields: &[BASE, MESSAGE, RECIPIENT, &["friendly_from", "mailfrom", "sending_ip", "user_agent"]],
    },
    EventKey {
        key: "ad_status",
        display_name: "Status",
        description: "A negative answer of a receiving domain fired an adaptive rule",
        class: "ad_event",
        fields: &[BASE, &["node_name", "binding", "binding_group", "routing_domain", "reason", "start", "duration"]],
    },
    EventKey {
        key: "ad_adjust",
        display_name: "Adjustment",
        description: "Adaptive delivery changed a parameter",
        class: "ad_event",
        fields: &[BASE, &["node_name", "binding", "binding_group", "routing_domain", "reason", "start", "duration"]],
    },
];

/// Place of a key in [`EVENTS`].
pub fn place(key: &str) -> Option<usize> {
    EVENTS.iter().position(|event| event.key == key)
}

/// The key that a request may write: `rejection` of the vendor's own example means `policy_rejection`.
pub fn canonical(key: &str) -> Option<&'static str> {
    let key = if key == "rejection" { "policy_rejection" } else { key };
    place(key).map(|place| EVENTS[place].key)
}

impl EventKey {
    /// Names of its fields in their order on the wire.
    pub fn field_names(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().flat_map(|group| group.iter().copied())
    }
}

/// Whether [`place_of`] needs to know more of an event than its type.
pub fn depends_on_data(type_name: &str) -> bool {
    matches!(type_name, message::FAILED | message::UNSUBSCRIBED)
}

/// Place in [`EVENTS`] of the key that tells an event; `None` if it is not for Momentum. `reason` and `client` are those of the message
/// data: the reason, and whether it names a client or a URL.
pub fn place_of(type_name: &str, reason: Option<&str>, client: bool) -> Option<usize> {
    place(match type_name {
        message::ACCEPTED => "injection",
        message::DELIVERED => "delivery",
        message::DEFERRED => "delay",
        message::OPENED => "open",
        message::CLICKED => "click",
        message::COMPLAINED => "spam_complaint",
        message::FAILED => failure(reason.unwrap_or_default()),
        message::UNSUBSCRIBED => unsubscribe(reason.unwrap_or_default(), client),
        own => own,
    })
}

/// What kind of failure a reason names. Anything else than a known word is what the remote server said: a bounce.
fn failure(reason: &str) -> &'static str {
    let is = |word: &str| same_word(reason, word);
    if is("out_of_band") {
        "out_of_band"
    } else if is("policy") || is("policy_rejection") || is("rejected") || starts_with_word(reason, "suppress") {
        "policy_rejection"
    } else {
        "bounce"
    }
}

/// A reason decides; without one, somebody who was seen with a browser followed the link.
fn unsubscribe(reason: &str, client: bool) -> &'static str {
    let is = |word: &str| same_word(reason, word);
    if is("link") || is("link_unsubscribe") {
        "link_unsubscribe"
    } else if is("list") || is("list_unsubscribe") || is("one_click") || !client {
        "list_unsubscribe"
    } else {
        "link_unsubscribe"
    }
}

/// Whether two words are the same but for case, and for what joins their parts.
fn same_word(text: &str, word: &str) -> bool {
    text.len() == word.len() && starts_with_word(text, word)
}

fn starts_with_word(text: &str, word: &str) -> bool {
    let plain = |byte: u8| if matches!(byte, b'-' | b' ') { b'_' } else { byte.to_ascii_lowercase() };
    text.len() >= word.len() && text.bytes().zip(word.bytes()).all(|(a, b)| plain(a) == b)
}

/// The event types that a webhook for these keys has to see: the keys themselves, as outside systems may post them, and the events of
/// the message life cycle that they tell.
pub fn event_types(keys: &[String]) -> Vec<String> {
    let wanted = |key: &str| keys.iter().any(|wanted| wanted == key);
    let life = message::TYPES.iter().filter(|name| match **name {
        message::FAILED => ["bounce", "policy_rejection", "out_of_band"].into_iter().any(wanted),
        message::UNSUBSCRIBED => ["list_unsubscribe", "link_unsubscribe"].into_iter().any(wanted),
        name => place_of(name, None, false).is_some_and(|place| wanted(EVENTS[place].key)),
    });
    life.map(|name| (*name).to_owned()).chain(keys.iter().cloned()).collect()
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
