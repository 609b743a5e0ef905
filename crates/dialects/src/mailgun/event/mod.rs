//! An event as Mailgun shows it: one renderer for webhooks and the Events API (section 9 of the documents).
//!
//! Pure: the same event gives the same bytes, in every attempt and every list. Fields that nothing is known of are left out, or have
//! the value that the documents give for unknown. Fields of Mailgun's own list that an event from outside carries are handed on.

mod agent;
mod facts;
mod json;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use posthaste_domain::event::Event;
use posthaste_domain::signature::hmac_sha256;
use serde_json::Value;

use agent::Agent;
pub(crate) use facts::{Facts, Kind, TYPES, belongs_to, is_rejection};
use json::Json;

/// Most bytes of user variables that events show.
const MAX_VARIABLES: usize = 4096;
const LOST_VARIABLES: &str = "Could not load user-variables. They were either truncated or invalid JSON";
/// Reasons that Mailgun knows; others are told as `generic`.
const REASONS: [&str; 10] = [
    "generic",
    "bounce",
    "espblock",
    "greylisted",
    "blacklisted",
    "suppress-bounce",
    "suppress-complaint",
    "suppress-unsubscribe",
    "old",
    "hardfail",
];
/// Objects that an event from outside may bring along; whatever has the name and is no object is left out.
const GIVEN_OBJECTS: [&str; 4] = ["mailing-list", "template", "batch", "primary-dkim"];
/// What list events bring along, whatever it is.
const LIST_FIELDS: [&str; 10] = [
    "mailing-list",
    "task-id",
    "member",
    "format",
    "error",
    "member-description",
    "failed-count",
    "upserted-count",
    "is-upsert",
    "subscribed",
];

/// The id of an event: 22 URL-safe characters for 16 bytes.
pub(crate) fn event_id(event: &Event) -> String {
    URL_SAFE_NO_PAD.encode(&hmac_sha256(b"mailgun event id", event.id().as_bytes())[..16])
}

/// The event object as JSON text. `base_url` is where this server is reached, without a trailing slash.
pub(crate) fn render(facts: &Facts<'_>, base_url: &str) -> String {
    let mut json = Json::new();
    json.object(|json| {
        json.name("event").text(facts.kind.word());
        json.name("id").text(&event_id(facts.event));
        json.name("timestamp").raw(format_args!("{}.{:06}", facts.at_us / 1_000_000, facts.at_us % 1_000_000));
        json.name("log-level").text(facts.kind.log_level());
        json.name("account").object(|json| json.name("id").text(&format!("{:024x}", facts.event.workspace)));
        if let Some(domain) = facts.domain() {
            json.name("domain").object(|json| json.name("name").text(&domain));
        }
        if facts.kind.is_list() {
            for name in LIST_FIELDS {
                if let Some(raw) = facts.data.raw(name) {
                    json.name(name).raw(raw.get());
                }
            }
        } else {
            message_event(json, facts, base_url);
        }
    });
    json.finish()
}

fn message_event(json: &mut Json, facts: &Facts<'_>, base_url: &str) {
    let kind = facts.kind;
    if let Some(severity) = kind.severity() {
        json.name("severity").text(severity);
        json.name("reason").text(reason(facts));
    }
    if !matches!(kind, Kind::Stored | Kind::Rejected) {
        recipient(json, facts);
    }
    if kind == Kind::Accepted {
        let method = facts.text("method").or_else(|| facts.text("transport"));
        json.name("method").text(method.as_deref().unwrap_or("http"));
        for name in ["api-key-id", "originating-ip"] {
            given_text(json, facts, name);
        }
        if let Some(routes) = facts.data.raw("routes").filter(|raw| raw.get().starts_with('[')) {
            json.name("routes").raw(routes.get());
        }
    }
    json.name("tags").texts(&facts.tags());
    json.name("campaigns").list(|_| ());
    variables(json, facts);
    message(json, facts);
    let is_transfer = matches!(kind, Kind::Accepted | Kind::Delivered | Kind::PermanentFail | Kind::TemporaryFail);
    if is_transfer && !given_object(json, facts, "envelope") {
        envelope(json, facts);
    }
    if !kind.is_user_action() && !given_object(json, facts, "flags") {
        flags(json, facts);
    }
    if (is_transfer || kind == Kind::Stored) && !given_object(json, facts, "storage") {
        storage(json, facts, base_url);
    }
    if is_transfer && kind != Kind::Accepted && !given_object(json, facts, "delivery-status") {
        delivery_status(json, facts);
    }
    if kind.is_user_action() {
        person(json, facts);
    }
    if kind == Kind::Clicked {
        json.name("url").text(&facts.data.text("url").unwrap_or_default());
    }
    if kind == Kind::Rejected && !given_object(json, facts, "reject") {
        let text = facts.text("description").unwrap_or_default();
        let reason = facts.text("reason").filter(|reason| reason != "rejected").unwrap_or(Cow::Borrowed("Rejected"));
        json.name("reject").object(|json| {
            json.name("reason").text(&reason);
            json.name("description").text(&text);
        });
    }
    for name in GIVEN_OBJECTS {
        given_object(json, facts, name);
    }
}

/// Hands on an object of Mailgun's own that came with the event; answers whether there was one.
fn given_object(json: &mut Json, facts: &Facts<'_>, name: &str) -> bool {
    let given = facts.data.raw(name).filter(|raw| raw.get().starts_with('{'));
    if let Some(raw) = given {
        json.name(name).raw(raw.get());
    }
    given.is_some()
}

fn given_text(json: &mut Json, facts: &Facts<'_>, name: &str) {
    if let Some(text) = facts.text(name) {
        json.name(name).text(&text);
    }
}

/// The reason of a failure in Mailgun's words.
fn reason(facts: &Facts<'_>) -> &'static str {
    let told = facts.text("reason").unwrap_or_default();
    match &*told {
        "out_of_band" => "bounce",
        "policy" => "espblock",
        "expired" => "old",
        told => REASONS.into_iter().find(|known| *known == told).unwrap_or("generic"),
    }
}

/// Whether the recipient's server took the message first and sent it back later.
fn is_delayed_bounce(facts: &Facts<'_>) -> bool {
    facts.kind == Kind::PermanentFail && facts.text("reason").is_some_and(|reason| reason == "out_of_band")
}

fn recipient(json: &mut Json, facts: &Facts<'_>) {
    let address = facts.recipient().unwrap_or_default();
    json.name("recipient").text(&address);
    if facts.kind == Kind::Complained {
        return;
    }
    match address.rsplit_once('@') {
        _ if facts.data.raw("recipient-domain").is_some() => given_text(json, facts, "recipient-domain"),
        Some((_, domain)) => json.name("recipient-domain").text(&domain.to_ascii_lowercase()),
        None => json.name("recipient-domain").text(""),
    }
    given_text(json, facts, "recipient-provider");
}

fn variables(json: &mut Json, facts: &Facts<'_>) {
    let raw = facts.data.raw("user-variables").or_else(|| facts.data.raw("metadata")).map_or("{}", |raw| raw.get());
    let json = json.name("user-variables");
    match raw.starts_with('{') {
        true if raw.len() <= MAX_VARIABLES => json.raw(raw),
        true => json.text(LOST_VARIABLES),
        false => json.raw("{}"),
    }
}

fn message(json: &mut Json, facts: &Facts<'_>) {
    let kind = facts.kind;
    json.name("message").object(|json| {
        json.name("headers").object(|json| {
            for name in ["to", "message-id", "from", "subject"] {
                match facts.header(name) {
                    Some(text) => json.name(name).text(&text),
                    None if kind.is_user_action() && name != "message-id" => {}
                    None => json.name(name).text(""),
                }
            }
        });
        if kind.is_user_action() {
            return;
        }
        json.name("attachments").list(|json| {
            for file in facts.attachments() {
                let text = |names: [&str; 2]| names.iter().find_map(|name| file.get(*name)?.as_str());
                json.object(|json| {
                    json.name("filename").text(text(["filename", "name"]).unwrap_or_default());
                    json.name("content-type").text(text(["content_type", "content-type"]).unwrap_or("application/octet-stream"));
                    json.name("size").raw(file.get("size").and_then(Value::as_u64).unwrap_or(0));
                });
            }
        });
        json.name("size").raw(facts.size());
        if matches!(kind, Kind::Accepted | Kind::Stored) {
            json.name("recipients").texts(&facts.recipients());
        }
        if kind == Kind::Accepted
            && let Some(at) = facts.text("scheduled_for")
        {
            json.name("scheduled-for").text(&at);
        }
    });
}

fn envelope(json: &mut Json, facts: &Facts<'_>) {
    json.name("envelope").object(|json| {
        if is_delayed_bounce(facts) {
            return;
        }
        json.name("sender").text(&facts.text("sender").unwrap_or_default());
        json.name("transport").text("smtp");
        json.name("targets").text(&facts.recipient().unwrap_or_default());
        if let Some(address) = facts.text("sending_ip").filter(|_| facts.kind != Kind::Accepted) {
            json.name("sending-ip").text(&address);
        }
    });
}

fn flags(json: &mut Json, facts: &Facts<'_>) {
    json.name("flags").object(|json| {
        json.name("is-authenticated").raw(true);
        json.name("is-routed").raw(false);
        json.name("is-system-test").raw(false);
        json.name("is-test-mode").raw(facts.data.truth("test").unwrap_or(false));
        if facts.kind.severity().is_some() {
            json.name("is-delayed-bounce").raw(is_delayed_bounce(facts));
        }
    });
}

fn storage(json: &mut Json, facts: &Facts<'_>, base_url: &str) {
    let (Some(key), Some(domain)) = (facts.text("storage_key"), facts.domain()) else { return };
    json.name("storage").object(|json| {
        json.name("url").text(&format!("{base_url}/v3/domains/{domain}/messages/{key}"));
        json.name("key").text(&key);
        json.name("region").text("local");
        json.name("env").text("production");
    });
}

/// Code and description of a failure that was decided here, by its reason.
fn own_status(reason: &str) -> Option<(i64, &'static str)> {
    match reason {
        "suppress-bounce" => Some((605, "Not delivering to previously bounced address")),
        "suppress-unsubscribe" => Some((606, "Not delivering to unsubscribed address")),
        "suppress-complaint" => Some((607, "Not delivering to a user who marked your messages as spam")),
        "old" => Some((602, "Too old")),
        _ => None,
    }
}

fn delivery_status(json: &mut Json, facts: &Facts<'_>) {
    let kind = facts.kind;
    let own = (kind == Kind::PermanentFail).then(|| own_status(reason(facts))).flatten();
    let told = facts.text("description");
    json.name("delivery-status").object(|json| {
        match own {
            Some((code, description)) => {
                json.name("code").raw(code);
                json.name("message").text(told.as_deref().unwrap_or_default());
                json.name("description").text(description);
            }
            None => {
                let known = if kind == Kind::Delivered { 250 } else { 0 };
                let code = facts.data.integer("status_code").unwrap_or(known);
                json.name("code").raw(code);
                // A reason in words of its own says more than `generic`.
                let words = || facts.text("reason").filter(|words| kind != Kind::Delivered && !REASONS.contains(&&**words));
                let fallback = if kind == Kind::Delivered { "OK" } else { "" };
                json.name("message").text(told.or_else(words).as_deref().unwrap_or(fallback));
                json.name("description").text("");
            }
        }
        if !is_delayed_bounce(facts) {
            json.name("attempt-no").raw(facts.data.integer("attempt").unwrap_or(1).max(1));
        }
        let number = |name: &str| facts.data.raw(name).filter(|raw| raw.get().starts_with(|first: char| first.is_ascii_digit()));
        json.name("session-seconds").raw(number("session_seconds").map_or("0.0", |raw| raw.get()));
        if let Some(host) = facts.text("mx_host") {
            json.name("mx-host").text(&host);
        }
        if let Some(code) = facts.text("enhanced_code").or_else(|| facts.text("error_code").filter(|code| is_enhanced(code))) {
            json.name("enhanced-code").text(&code);
        }
        for (name, field) in [("tls", "tls"), ("certificate-verified", "certificate_verified"), ("utf8", "utf8")] {
            if let Some(truth) = facts.data.truth(field) {
                json.name(name).raw(truth);
            }
        }
        if kind == Kind::TemporaryFail {
            json.name("retry-seconds").raw(facts.data.integer("retry_seconds").unwrap_or(600));
        }
    });
}

/// An enhanced status code (RFC 3463), such as `5.1.1`.
fn is_enhanced(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Who opened, clicked or unsubscribed: address, place and program.
fn person(json: &mut Json, facts: &Facts<'_>) {
    let client = facts.data.object("client");
    let known = |name: &str| client.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let address = known("ip").map(Cow::Borrowed).or_else(|| facts.text("ip"));
    json.name("ip").text(address.as_deref().unwrap_or_default());
    if !given_object(json, facts, "geolocation") {
        json.name("geolocation").object(|json| {
            for name in ["country", "region", "city"] {
                json.name(name).text(known(name).unwrap_or("Unknown"));
            }
        });
    }
    if !given_object(json, facts, "client-info") {
        let text = known("user_agent").map(Cow::Borrowed).or_else(|| facts.text("user_agent")).unwrap_or_default();
        let agent = Agent::of(&text);
        json.name("client-info").object(|json| {
            json.name("client-type").text(agent.kind);
            json.name("client-os").text(agent.os);
            json.name("device-type").text(agent.device);
            json.name("client-name").text(agent.name);
            json.name("user-agent").text(&text);
            if facts.kind != Kind::Unsubscribed {
                json.name("bot").text(agent.bot);
            }
        });
    }
}
