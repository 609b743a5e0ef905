use proptest::prelude::*;

use super::super::{MAX_PATTERN_CHARACTERS, PatternError, TypePattern};

fn pattern(text: &str) -> TypePattern {
    TypePattern::parse(text).unwrap()
}

#[test]
fn stars_stand_for_segments() {
    for (text, name, matches) in [
        ("order.created", "order.created", true),
        ("order.created", "order.created.eu", false),
        ("order.created", "Order.created", false),
        ("Daily Backup!", "Daily Backup!", true),
        ("*", "order", true),
        ("*", "order.created.eu", true),
        ("order.*", "order.created", true),
        ("order.*", "order.created.eu", true),
        ("order.*", "order", false),
        ("order.*", "orders.created", false),
        ("*.created", "order.created", true),
        ("*.created", "eu.order.created", false),
        ("*.created", "created", false),
        ("order.*.paid", "order.eu.paid", true),
        ("order.*.paid", "order.eu.west.paid", false),
        ("order.*.paid", "order.paid", false),
        ("order.*.*", "order.a", false),
        ("order.*.*", "order.a.b", true),
        ("order.*.*", "order.a.b.c", true),
        ("*.*", "a", false),
        ("*.*", "a.b.c", true),
        ("größe.*", "größe.neu", true),
    ] {
        assert_eq!(pattern(text).matches(name), matches, "{text} on {name}");
    }
}

#[test]
fn a_pattern_says_what_is_wrong_with_it() {
    assert_eq!(TypePattern::parse(""), Err(PatternError::Empty));
    assert_eq!(TypePattern::parse("order.cr*"), Err(PatternError::StarInSegment { segment: "cr*".to_owned() }));
    assert_eq!(TypePattern::parse("**"), Err(PatternError::StarInSegment { segment: "**".to_owned() }));
    assert!(TypePattern::parse(&"é".repeat(MAX_PATTERN_CHARACTERS)).is_ok());
    assert_eq!(TypePattern::parse(&"é".repeat(256)), Err(PatternError::TooLong { length: 256 }));
}

#[test]
fn a_pattern_is_stored_as_its_text() {
    let read: TypePattern = serde_json::from_str(r#""order.*""#).unwrap();
    assert_eq!(read, "order.*".parse().unwrap());
    assert_eq!(serde_json::to_string(&read).unwrap(), r#""order.*""#);
    assert!(!read.is_exact() && pattern("order").is_exact());
    assert!(serde_json::from_str::<TypePattern>(r#""a*""#).is_err());
}

/// The meaning in one place: the last star takes what is left, every other segment one.
fn model(pattern: &[&str], name: &[&str]) -> bool {
    match (pattern, name) {
        (["*"], [_, ..]) => true,
        ([first, pattern @ ..], [found, name @ ..]) => (*first == "*" || first == found) && model(pattern, name),
        (pattern, name) => pattern.is_empty() && name.is_empty(),
    }
}

proptest! {
    #[test]
    fn every_pattern_means_the_same_as_the_model(
        segments in prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("*")], 1..5),
        name in prop::collection::vec(prop_oneof![Just("a"), Just("b")], 1..5),
    ) {
        let pattern = TypePattern::parse(&segments.join(".")).unwrap();
        prop_assert_eq!(pattern.matches(&name.join(".")), model(&segments, &name));
    }
}
