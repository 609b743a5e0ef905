use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{PatternIndex, Rule, RuleIndex, TypePattern, default_rule};
use super::{document, fields, value};

fn rule(value: Value) -> Rule {
    Rule::parse(value).unwrap()
}

/// What the index must find: the first definition that matches.
fn first_match(definitions: &[(usize, Rule, bool)], event: &Value) -> Option<usize> {
    definitions.iter().find(|(_, rule, is_default)| rule.matches_definition(event, *is_default)).map(|&(owner, ..)| owner)
}

fn numbered(rules: impl IntoIterator<Item = (Rule, bool)>) -> Vec<(usize, Rule, bool)> {
    rules.into_iter().enumerate().map(|(owner, (rule, is_default))| (owner, rule, is_default)).collect()
}

#[test]
fn of_two_overlapping_rules_the_oldest_handles_the_event() {
    // MSGGO-58
    let wide = rule(json!({"event_name": "database"}));
    let narrow = rule(json!({"event_name": "database", "status": "success"}));
    let event = json!({"event_name": "database", "status": "success"});
    let wide_first = RuleIndex::build(vec![("wide", wide.clone(), false), ("narrow", narrow.clone(), false)]);
    assert_eq!(wide_first.find(&event), Some("wide"));
    let narrow_first = RuleIndex::build(vec![("narrow", narrow, false), ("wide", wide, false)]);
    assert_eq!(narrow_first.find(&event), Some("narrow"));
    assert_eq!(narrow_first.find(&json!({"event_name": "database"})), Some("wide"));
    assert_eq!(narrow_first.find(&json!({"event_name": "other"})), None);
}

#[test]
fn unedited_rules_are_found_under_event_too() {
    // MSGGO-55
    let index = RuleIndex::build(vec![(1, default_rule("Backup"), true), (2, rule(json!({"event_name": "literal"})), false)]);
    assert_eq!(index.find(&json!({"event": "backup"})), Some(1));
    assert_eq!(index.find(&json!({"event_name": "backup"})), Some(1));
    assert_eq!(index.find(&json!({"event": "literal"})), None);
}

#[test]
fn an_empty_index_finds_nothing() {
    let index = RuleIndex::<u8>::build(Vec::new());
    assert!(index.is_empty());
    assert_eq!(index.find_counting(&json!({"event": "x"})), (None, 0));
}

#[test]
fn ten_thousand_definitions_cost_a_handful_of_comparisons() {
    // MSGGO-81
    let defaults = (0..10_000).map(|at| (default_rule(&format!("Event {at}")), true));
    let index = RuleIndex::build(numbered(defaults));
    assert_eq!(index.len(), 10_000);
    assert_eq!(index.find_counting(&json!({"event": "event-9999", "x": 1})), (Some(9999), 1));
    assert_eq!(index.find_counting(&json!({"event_name": "nobody"})), (None, 0));

    // All share a common key and value, and differ elsewhere.
    let common = (0..10_000).map(|at| (rule(json!({"type": "backup", "n": at})), false));
    let index = RuleIndex::build(numbered(common));
    assert_eq!(index.find_counting(&json!({"type": "backup", "n": "123"})), (Some(123), 1));
    assert_eq!(index.find_counting(&json!({"type": "backup", "n": -1})), (None, 0));

    // Every single pair is shared by a hundred rules; only the combination is rare.
    let grid = (0..10_000).map(|at| (rule(json!({"a": at / 100, "data": {"b": at % 100}})), false));
    let index = RuleIndex::build(numbered(grid));
    let (found, compared) = index.find_counting(&json!({"a": 42, "data": {"b": 7}, "c": 1}));
    assert_eq!(found, Some(4207));
    assert!(compared <= 2, "{compared}");
    assert_eq!(index.find_counting(&json!({"a": 42, "data": {"b": 100}})), (None, 0));

    // Ten thousand rules that all match: the oldest wins at once.
    let same = (0..10_000).map(|_| (rule(json!({"a": 1})), false));
    assert_eq!(RuleIndex::build(numbered(same)).find_counting(&json!({"a": 1})), (Some(0), 1));
}

#[test]
fn rules_without_scalars_are_indexed_by_shape() {
    let index = RuleIndex::build(vec![
        (1, rule(json!({"items": []})), false),
        (2, rule(json!({"items": [1, {}]})), false),
        (3, rule(json!({"items": {}})), false),
    ]);
    assert_eq!(index.find(&json!({"items": []})), Some(1));
    assert_eq!(index.find(&json!({"items": ["1", {"x": 1}]})), Some(2));
    assert_eq!(index.find(&json!({"items": {"x": 1}})), Some(3));
    assert_eq!(index.find(&json!({"items": [2, {}]})), None);
    assert_eq!(index.find(&json!([])), None);
}

#[test]
fn patterns_are_found_by_name_prefix_and_the_rest() {
    let patterns = ["order.created", "order.*", "*", "*.created", "order.*.paid", "user.*", "order.created"];
    let index = PatternIndex::build(patterns.iter().enumerate().map(|(owner, text)| (owner, TypePattern::parse(text).unwrap())));
    let mut found = vec![99];
    for (name, owners) in [
        ("order.created", vec![0, 1, 2, 3, 6]),
        ("order.eu.paid", vec![1, 2, 4]),
        ("order", vec![2]),
        ("user.a.b.c", vec![2, 5]),
        ("", vec![2]),
    ] {
        index.find(name, &mut found);
        assert_eq!(found, owners, "{name}");
    }
}

fn definitions() -> impl Strategy<Value = Vec<(usize, Rule, bool)>> {
    let custom = fields(value()).prop_filter("a rule has a key", |fields| !fields.is_empty());
    let custom = custom.prop_map(|fields| (rule(Value::Object(fields)), false));
    let default = "[ab]{1,2}".prop_map(|name| (default_rule(&name), true));
    // Some rules claim to be unedited although they are not of the default form: the model decides.
    let claimed = (super::key(), value()).prop_map(|(key, value)| (rule(json!({key: value})), true));
    prop::collection::vec(prop_oneof![6 => custom, 1 => default, 1 => claimed], 0..60).prop_map(numbered)
}

fn pattern() -> impl Strategy<Value = TypePattern> {
    prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("*"), Just("")], 1..4)
        .prop_map(|segments| segments.join("."))
        .prop_filter_map("not empty", |text| TypePattern::parse(&text).ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_rule_index_agrees_with_looking_at_every_rule(
        definitions in definitions(),
        events in prop::collection::vec(document(), 1..8),
    ) {
        let index = RuleIndex::build(definitions.clone());
        for event in &events {
            prop_assert_eq!(index.find(event), first_match(&definitions, event), "{}", event);
        }
        // Events made from rules match something for certain.
        for (_, rule, _) in &definitions {
            let event = Value::from(rule.clone());
            prop_assert_eq!(index.find(&event), first_match(&definitions, &event), "{}", event);
        }
    }

    #[test]
    fn the_pattern_index_agrees_with_trying_every_pattern(
        patterns in prop::collection::vec((0..6_u8, pattern()), 0..20),
        names in prop::collection::vec("[ab.]{0,6}", 1..8),
    ) {
        let index = PatternIndex::build(patterns.clone());
        let mut found = Vec::new();
        for name in &names {
            let mut owners: Vec<u8> = patterns.iter().filter(|(_, pattern)| pattern.matches(name)).map(|&(owner, _)| owner).collect();
            owners.sort_unstable();
            owners.dedup();
            index.find(name, &mut found);
            prop_assert_eq!(&found, &owners, "{}", name);
        }
    }
}
