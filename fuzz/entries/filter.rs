//! Bytes as what decides where an event goes: a filter or rule, an event's document, and a name, parted by 0xFF.

use posthaste_domain::matching::{Filter, Rule, TypePattern, default_rule, parse_document, slug};
use serde_json::{Value, json};

/// What parses must decide every document, the same way twice, and its opposite the opposite way.
pub fn check(data: &[u8]) {
    let mut parts = data.splitn(3, |&byte| byte == 0xFF);
    let mut part = || parts.next().unwrap_or_default();
    let (condition, document, name) = (part(), part(), part());
    let document = parse_document(document).unwrap_or(Value::Null);
    if let Ok(condition) = serde_json::from_slice::<Value>(condition) {
        if let Ok(filter) = Filter::parse(&condition) {
            let holds = filter.matches(&document);
            drop(filter.explain(&document));
            if let Ok(opposite) = Filter::parse(&json!({ "$not": condition })) {
                assert_ne!(opposite.matches(&document), holds);
            }
            let again = Filter::parse(&Value::from(filter.clone())).expect("what was written can be read");
            assert!(again == filter && again.matches(&document) == holds);
        }
        if let Ok(rule) = Rule::parse(condition) {
            let own = Value::Object(rule.as_object().clone());
            assert!(rule.matches(&own), "a rule matches itself");
            assert!(rule.overlaps(&rule));
            assert_eq!(rule.matches_definition(&document, false), rule.matches(&document));
        }
    }
    if let Ok(name) = std::str::from_utf8(name) {
        let made = slug(name);
        assert_eq!(slug(&made), made);
        let rule = default_rule(name);
        assert!(rule.matches(&Value::Object(rule.as_object().clone())));
        if let Ok(pattern) = TypePattern::parse(name) {
            assert_eq!(pattern.to_string(), name);
        }
    }
}
