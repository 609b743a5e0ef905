use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{MAX_RULE_BYTES, MAX_RULE_DEPTH, MAX_RULE_VALUES, Rule, RuleError, default_rule};
use super::{fields, value};

fn rule(value: Value) -> Rule {
    Rule::parse(value).unwrap()
}

fn any_rule() -> impl Strategy<Value = Rule> {
    fields(value()).prop_filter("a rule has a key", |fields| !fields.is_empty()).prop_map(|fields| rule(Value::Object(fields)))
}

#[test]
fn a_default_rule_fires_on_event_name_and_event() {
    // MSGGO-54
    let default = default_rule("Daily Database Backup");
    assert!(default.matches(&json!({"event_name": "daily-database-backup", "size": 3})));
    // MSGGO-55
    let under_event = json!({"event": "daily-database-backup"});
    assert!(default.matches_definition(&under_event, true));
    assert!(!default.matches_definition(&under_event, false));
    assert!(!default.matches_definition(&json!({"event": "other"}), true));
    let custom = rule(json!({"event_name": "x", "status": "ok"}));
    assert!(!custom.matches_definition(&json!({"event": "x", "status": "ok"}), true));
}

#[test]
fn every_key_of_a_rule_must_agree() {
    // MSGGO-56
    let backup = rule(json!({"type": "backup", "database": "production", "status": "completed"}));
    let event = json!({"type": "backup", "database": "production", "status": "completed", "extra": [1, 2]});
    assert!(backup.matches(&event));
    for key in ["type", "database", "status"] {
        let mut other = event.clone();
        other[key] = json!("other");
        assert!(!backup.matches(&other), "{key} differs");
        other.as_object_mut().unwrap().remove(key);
        assert!(!backup.matches(&other), "{key} is missing");
    }
}

#[test]
fn any_key_identifies_an_event() {
    // MSGGO-57
    for key in ["event", "type", "id", "uid"] {
        assert!(rule(json!({key: "x"})).matches(&json!({key: "x", "n": 1})));
    }
}

#[test]
fn scalars_compare_by_text() {
    // MSGGO-59
    assert!(rule(json!({"amount": 100})).matches(&json!({"amount": "100"})));
    assert!(rule(json!({"amount": "100"})).matches(&json!({"amount": 100})));
    for (left, right, equal) in [
        (json!(100), json!(100.0), true),
        (json!(2.5), json!("2.5"), true),
        (json!(true), json!("true"), true),
        (json!(null), json!("null"), true),
        (json!(0), json!(-0.0), true),
        (json!(1e21), json!("1000000000000000000000"), true),
        (json!(u64::MAX), json!("18446744073709551615"), true),
        (json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992_u64), false),
        (json!("100"), json!("100.0"), false),
        (json!(null), json!(""), false),
        (json!(1), json!(true), false),
        (json!("A"), json!("a"), false),
        (json!([]), json!("[]"), false),
    ] {
        assert_eq!(rule(json!({"x": left})).matches(&json!({"x": right})), equal, "{left} and {right}");
        assert_eq!(rule(json!({"x": right})).matches(&json!({"x": left})), equal, "{right} and {left}");
    }
}

#[test]
fn objects_compare_as_subsets_and_arrays_whole() {
    let nested = rule(json!({"data": {"type": "x", "list": [1, {"a": 1}]}}));
    assert!(nested.matches(&json!({"data": {"type": "x", "more": 1, "list": ["1", {"a": 1, "b": 2}]}})));
    assert!(!nested.matches(&json!({"data": {"type": "x", "list": [1, {"a": 1}, 3]}})));
    assert!(!nested.matches(&json!({"data": "x"})));
    assert!(rule(json!({"data": {}})).matches(&json!({"data": {"a": 1}})));
    assert!(!rule(json!({"data": {}})).matches(&json!({"data": 1})));
    assert!(!rule(json!({"data": null})).matches(&json!({})));
    assert!(!rule(json!({"data": 1})).matches(&json!([1])));
}

#[test]
fn rules_have_limits() {
    let nest = |levels: usize| (1..levels).fold(json!({"a": 1}), |inner, _| json!({"a": inner}));
    let many = |count: usize| Value::Object((0..count).map(|at| (format!("k{at}"), json!(1))).collect());
    assert_eq!(Rule::parse(json!([1])), Err(RuleError::NotAnObject));
    assert_eq!(Rule::parse(json!("x")), Err(RuleError::NotAnObject));
    assert_eq!(Rule::parse(json!({})), Err(RuleError::Empty));
    assert!(Rule::parse(nest(MAX_RULE_DEPTH)).is_ok());
    assert_eq!(Rule::parse(nest(MAX_RULE_DEPTH + 1)), Err(RuleError::TooDeep));
    assert!(Rule::parse(many(MAX_RULE_VALUES)).is_ok());
    assert_eq!(Rule::parse(many(MAX_RULE_VALUES + 1)), Err(RuleError::TooManyValues));
    let long = json!({"a": "x".repeat(MAX_RULE_BYTES - r#"{"a":""}"#.len())});
    assert!(Rule::parse(long).is_ok());
    let longer = json!({"a": "x".repeat(MAX_RULE_BYTES + 1 - r#"{"a":""}"#.len())});
    assert_eq!(Rule::parse(longer), Err(RuleError::TooLarge { bytes: MAX_RULE_BYTES + 1 }));
}

#[test]
fn a_rule_is_stored_as_plain_json() {
    let text = r#"{"type":"backup","n":1.5}"#;
    let read: Rule = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    let refused = serde_json::from_str::<Rule>("{}").unwrap_err();
    assert_eq!(refused.to_string(), "rule: at least one key is needed");
}

#[test]
fn overlapping_rules_are_recognised() {
    let pairs = [
        (json!({"event_name": "database"}), json!({"event_name": "database", "status": "success"}), true),
        (json!({"event_name": "database"}), json!({"event_name": "backup"}), false),
        (json!({"a": 1}), json!({"b": 2}), true),
        (json!({"a": 1}), json!({"a": "1"}), true),
        (json!({"a": {"x": 1}}), json!({"a": {"y": 2}}), true),
        (json!({"a": {"x": 1}}), json!({"a": {"x": 2}}), false),
        (json!({"a": {}}), json!({"a": 1}), false),
        (json!({"a": [1]}), json!({"a": [1, 2]}), false),
    ];
    for (left, right, overlap) in pairs {
        assert_eq!(rule(left.clone()).overlaps(&rule(right.clone())), overlap, "{left} and {right}");
    }
}

/// The smallest document that holds both values, if there is one.
fn union(left: &Value, right: &Value) -> Value {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let mut both = left.clone();
            for (key, value) in right {
                let merged = left.get(key).map_or_else(|| value.clone(), |other| union(other, value));
                both.insert(key.clone(), merged);
            }
            Value::Object(both)
        }
        (Value::Array(left), Value::Array(right)) => left.iter().zip(right).map(|(left, right)| union(left, right)).collect(),
        _ => left.clone(),
    }
}

/// Drops fields of objects; each bit of `choices` decides about one.
fn thinned(value: &Value, choices: &mut u64) -> Value {
    match value {
        Value::Object(fields) => {
            let mut kept = serde_json::Map::new();
            for (key, value) in fields {
                let keep = *choices & 1 == 1;
                *choices = choices.rotate_right(1);
                if keep {
                    kept.insert(key.clone(), thinned(value, choices));
                }
            }
            Value::Object(kept)
        }
        Value::Array(items) => items.iter().map(|item| thinned(item, choices)).collect(),
        scalar => scalar.clone(),
    }
}

proptest! {
    #[test]
    fn rules_overlap_exactly_when_their_union_matches_both(left in any_rule(), right in any_rule()) {
        let both = union(&Value::from(left.clone()), &Value::from(right.clone()));
        prop_assert_eq!(left.overlaps(&right), left.matches(&both) && right.matches(&both));
        prop_assert_eq!(left.overlaps(&right), right.overlaps(&left));
    }

    #[test]
    fn what_is_left_of_an_event_matches_it_and_overlaps(event in any_rule(), left: u64, right: u64) {
        let event = Value::from(event);
        let rules = [left, right].map(|mut choices| Rule::parse(thinned(&event, &mut choices)));
        for rule in rules.iter().flatten() {
            prop_assert!(rule.matches(&event), "{:?}", rule);
        }
        if let [Ok(left), Ok(right)] = &rules {
            prop_assert!(left.overlaps(right));
        }
    }

    #[test]
    fn a_rule_matches_itself(rule in any_rule()) {
        prop_assert!(rule.matches(&Value::from(rule.clone())));
    }
}
