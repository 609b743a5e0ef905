//! The table of events, and which event tells what.

use super::*;
use crate::momentum::fields;

fn key(type_name: &str, reason: Option<&str>, client: bool) -> Option<&'static str> {
    place_of(type_name, reason, client).map(|place| EVENTS[place].key)
}

#[test]
fn every_field_of_every_event_is_described_and_every_class_is_known() {
    for event in &EVENTS {
        assert!(CLASSES.iter().any(|class| class.name == event.class), "{}", event.key);
        let names: Vec<_> = event.field_names().collect();
        assert!(names.iter().all(|name| fields::index(name).is_some()), "{names:?}");
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len(), "{}", event.key);
        assert_eq!((names[0], names[1]), ("type", "timestamp"));
    }
    for field in fields::FIELDS {
        assert!(EVENTS.iter().any(|event| event.field_names().any(|name| name == field.name)), "{}", field.name);
    }
}

// MOMENTUM-65, MOMENTUM-66, MOMENTUM-67, MOMENTUM-68: the table; the wire is proved in tests/momentum.
#[test]
fn keys_are_in_their_classes() {
    let of = |class: &str| EVENTS.iter().filter(|e| e.class == class).map(|e| e.key).collect::<Vec<_>>().join(" ");
    assert_eq!(of("message_event"), "injection delivery policy_rejection bounce delay out_of_band spam_complaint sms_status");
    assert_eq!(of("track_event"), "open click");
    assert_eq!(of("gen_event"), "generation_failure generation_rejection");
    assert_eq!(of("unsubscribe_event"), "list_unsubscribe link_unsubscribe");
    assert_eq!(of("ad_event"), "ad_status ad_adjust");
}

#[test]
fn the_life_of_a_message_is_told_in_the_vendors_words() {
    assert_eq!(key("message.accepted", None, false), Some("injection"));
    assert_eq!(key("message.delivered", None, false), Some("delivery"));
    assert_eq!(key("message.deferred", None, false), Some("delay"));
    assert_eq!(key("message.opened", None, true), Some("open"));
    assert_eq!(key("message.clicked", None, true), Some("click"));
    assert_eq!(key("message.complained", None, false), Some("spam_complaint"));
    for other in ["message.sent", "message.received", "message", "bounces", "relay_delivery", ""] {
        assert_eq!(key(other, None, false), None, "{other}");
    }
    for event in &EVENTS {
        assert_eq!(key(event.key, Some("policy"), true), Some(event.key), "the vendor's own names stay");
    }
}

#[test]
fn failures_and_unsubscriptions_are_told_apart_by_their_reason() {
    let failed = |reason| key("message.failed", reason, false);
    for bounce in [None, Some("bounce"), Some("expired"), Some("old"), Some("generic"), Some("550 No such policy here"), Some("")] {
        assert_eq!(failed(bounce), Some("bounce"), "{bounce:?}");
    }
    for policy in ["policy", "rejected", "suppress-bounce", "suppress-unsubscribe", "suppress-complaint", "Policy_Rejection"] {
        assert_eq!(failed(Some(policy)), Some("policy_rejection"), "{policy}");
    }
    for late in ["out_of_band", "out-of-band", "Out Of Band"] {
        assert_eq!(failed(Some(late)), Some("out_of_band"), "{late}");
    }
    let left = |reason, client| key("message.unsubscribed", reason, client);
    assert_eq!((left(None, false), left(None, true)), (Some("list_unsubscribe"), Some("link_unsubscribe")));
    assert_eq!((left(Some("link"), false), left(Some("one-click"), true)), (Some("link_unsubscribe"), Some("list_unsubscribe")));
}

#[test]
fn a_webhook_sees_the_types_behind_its_keys() {
    let types = |keys: &[&str]| event_types(&keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>()).join(" ");
    assert_eq!(types(&["bounce", "delay"]), "message.deferred message.failed bounce delay");
    assert_eq!(types(&["link_unsubscribe"]), "message.unsubscribed link_unsubscribe");
    assert_eq!(types(&["ad_status"]), "ad_status");
    let all: Vec<&str> = EVENTS.iter().map(|event| event.key).collect();
    assert_eq!(types(&all).split(' ').count(), 16 + 8);
}

// MOMENTUM-44
#[test]
fn the_name_of_the_vendors_own_example_is_understood() {
    assert_eq!((canonical("rejection"), canonical("bounce"), canonical("initial_open")), (Some("policy_rejection"), Some("bounce"), None));
}
