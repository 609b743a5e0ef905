//! Tests of matching: examples for the checklists, and properties against models that look at everything.

mod documents;
mod filters;
mod indexes;
mod naming;
mod patterns;
mod rules;

use proptest::prelude::*;
use serde_json::Value;

/// Scalars that often are equal by text though not by type.
fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3_i64).prop_map(Value::from),
        (0..3_i64).prop_map(|number| Value::from(number.to_string())),
        Just(Value::from(1.0)),
        Just(Value::from(-0.0)),
        Just(Value::from(0.5)),
        "[ab]{0,2}".prop_map(Value::from),
        Just(Value::from("true")),
        Just(Value::from("null")),
    ]
}

/// Values of few keys and lengths, so that two of them often have something in common.
fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from), fields(inner).prop_map(Value::Object)]
    })
}

fn fields(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = serde_json::Map<String, Value>> {
    prop::collection::vec((key(), inner), 0..4).prop_map(|pairs| pairs.into_iter().collect())
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![Just("event_name"), Just("event"), Just("type"), Just("a"), Just("b")].prop_map(str::to_owned)
}

/// Documents as they arrive: nearly always objects.
fn document() -> impl Strategy<Value = Value> {
    prop_oneof![9 => fields(value()).prop_map(Value::Object), 1 => value()]
}
