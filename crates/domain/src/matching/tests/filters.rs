use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Filter, FilterProblem, MAX_FILTER_BYTES, MAX_FILTER_CONDITIONS, MAX_FILTER_DEPTH, parse_document};
use super::{document, scalar};

fn filter(value: Value) -> Filter {
    Filter::parse(&value).unwrap()
}

/// Whether a condition on the field `x` holds for a value there.
fn holds(condition: Value, found: Value) -> bool {
    filter(json!({"x": condition})).matches(&json!({"x": found}))
}

fn refusal(value: Value) -> String {
    Filter::parse(&value).unwrap_err().to_string()
}

#[test]
fn each_operator_holds_and_fails() {
    for (condition, yes, no) in [
        (json!("a"), json!("a"), json!("b")),
        (json!(100), json!("100"), json!("100.0")),
        (json!(null), json!(null), json!("")),
        (json!({"$eq": [1, {"a": 2}]}), json!(["1", {"a": 2.0}]), json!([1, {"a": 2, "b": 3}])),
        (json!({"$ne": 1}), json!(2), json!(1.0)),
        (json!({"$gt": 5}), json!(5.001), json!(5)),
        (json!({"$gte": 5}), json!("5"), json!(4.999)),
        (json!({"$lt": 5}), json!(-7), json!(5)),
        (json!({"$lte": 5}), json!(5.0), json!("5.5")),
        (json!({"$gte": "2024-05"}), json!("2024-05-01"), json!("2024-04-30")),
        (json!({"$lt": "10"}), json!(9), json!("9")),
        (json!({"$in": ["eu", 7]}), json!("7"), json!("us")),
        (json!({"$nin": ["eu", 7]}), json!("us"), json!(7)),
        (json!({"$prefix": "+44"}), json!("+4479"), json!("+4579")),
        (json!({"$prefix": "44"}), json!(4479), json!(5579)),
        (json!({"$suffix": ".pdf"}), json!("a.pdf"), json!("a.pdf.exe")),
        (json!({"$contains": "mid"}), json!("amidst"), json!("dim")),
        (json!({"$contains": 2}), json!([1, "2"]), json!([1, [2]])),
        (json!({"$contains": ""}), json!(""), json!({})),
        (json!({"$gt": 1, "$lt": 3}), json!(2), json!(3)),
        (json!({"$exists": true}), json!(null), json!(null)),
    ] {
        assert!(holds(condition.clone(), yes.clone()), "{condition} on {yes}");
        if yes != no {
            assert!(!holds(condition.clone(), no.clone()), "{condition} on {no}");
        }
    }
}

#[test]
fn where_the_path_leads_nowhere_only_negations_hold() {
    for (condition, expected) in [
        (json!(null), false),
        (json!({"$eq": 1}), false),
        (json!({"$ne": 1}), true),
        (json!({"$in": [1]}), false),
        (json!({"$nin": [1]}), true),
        (json!({"$in": []}), false),
        (json!({"$exists": true}), false),
        (json!({"$exists": false}), true),
        (json!({"$lt": 1}), false),
        (json!({"$gte": 1}), false),
        (json!({"$prefix": ""}), false),
        (json!({"$contains": ""}), false),
    ] {
        assert_eq!(filter(json!({"x.y": condition})).matches(&json!({"x": 1})), expected, "{condition}");
    }
}

#[test]
fn numbers_are_compared_exactly() {
    let big = 9_007_199_254_740_993_u64;
    assert!(holds(json!({"$gt": big - 1}), json!(big)));
    assert!(!holds(json!({"$gt": big - 1}), json!(big - 1)));
    assert!(holds(json!({"$gt": big}), json!("9007199254740993.5")));
    assert!(holds(json!({"$gt": u64::MAX}), json!("18446744073709551616")));
    assert!(holds(json!({"$lt": i64::MIN}), json!("-9223372036854775809")));
    assert!(holds(json!({"$lt": 0}), json!(-0.5)) && !holds(json!({"$lt": 0}), json!(-0.0)));
    assert!(holds(json!({"$gte": 0.1}), json!("1e-1")) && !holds(json!({"$gt": 0.1}), json!("1e-1")));
    assert!(holds(json!({"$lt": 1e300}), json!(u64::MAX)));
    assert!(holds(json!({"$lt": -1}), json!("-1.5e0")) && !holds(json!({"$lt": -2}), json!("-1.5")));
    // A number beyond every double is read as its spelling and still compares by value.
    let event = parse_document(br#"{"x": 1e400, "y": -1e99999999999999999999}"#).unwrap();
    assert!(filter(json!({"x": {"$gt": 1e308}, "y": {"$lt": -1e308}})).matches(&event));
    assert!(filter(json!({"x": {"$gt": 5, "$prefix": "1e"}})).matches(&event));
    // Text that is no JSON number has no order with numbers.
    for text in ["", "-", "01", "1.", ".5", "1e", "+1", "NaN", "1 ", "0x10", "1e+", "1.e1"] {
        assert!(!holds(json!({"$gte": -1e9}), json!(text)) && !holds(json!({"$lte": 1e9}), json!(text)), "{text:?}");
    }
    assert!(!holds(json!({"$gt": 0}), json!(true)) && !holds(json!({"$gt": 0}), json!([1])));
}

#[test]
fn paths_lead_through_objects_and_lists() {
    let event = json!({
        "data": {"items": [{"sku": "A"}, {"sku": "B", "tags": [["deep"]]}]},
        "a.b": {"c[0]": 1}, "": 2, "0": 3, "$type": 4,
    });
    for (path, value) in [
        ("data.items[1].sku", json!("B")),
        ("data.items[1].tags[0][0]", json!("deep")),
        (r#"["a.b"]["c[0]"]"#, json!(1)),
        (r#"data["items"][0].sku"#, json!("A")),
        (r#"[""]"#, json!(2)),
        ("0", json!(3)),
        (r#"["$type"]"#, json!(4)),
        (r#"["\u0030"]"#, json!(3)),
    ] {
        assert!(filter(json!({path: value})).matches(&event), "{path}");
    }
    for path in ["data.items[2].sku", "data.items.sku", "data[0]", "data.items[1].sku.x", "[0]", "data.items[18446744073709551615]"] {
        assert!(filter(json!({path: {"$exists": false}})).matches(&event), "{path}");
    }
    for path in [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a[",
        "a[]",
        "a[x]",
        "a[-1]",
        "a[+1]",
        "a[0",
        "a]",
        "a[0]b",
        "a.[0]",
        "a[\"b]",
        "a[\"b\"x]",
        "[0]]",
        "a[99999999999999999999]",
        "a[0].",
    ] {
        let error = Filter::parse(&json!({path: 1})).unwrap_err();
        assert!(matches!(error.problem, FilterProblem::BadPath { .. }), "{path}: {error}");
        assert_eq!(error.path, format!("filter.{path}"));
    }
}

#[test]
fn combinators_combine() {
    let either = filter(json!({"type": "order", "$or": [{"amount": {"$gt": 100}}, {"vip": true, "$not": {"country": "XX"}}]}));
    assert!(either.matches(&json!({"type": "order", "amount": 101})));
    assert!(either.matches(&json!({"type": "order", "vip": "true"})));
    assert!(!either.matches(&json!({"type": "order", "vip": true, "country": "XX"})));
    assert!(!either.matches(&json!({"type": "refund", "amount": 101})));
    let both = filter(json!({"$and": [{"a": {"$contains": 1}}, {"a": {"$contains": 2}}]}));
    assert!(both.matches(&json!({"a": [1, 2]})) && !both.matches(&json!({"a": [1]})));
    let empty = filter(json!({}));
    assert!(empty.is_empty() && empty.matches(&json!(null)) && Filter::default() == empty);
}

#[test]
fn an_error_names_the_place() {
    for (value, expected) in [
        (json!({"$or": [{"a": 1}, {"amount": {"$gtt": 5}}]}), r#"filter.$or[1].amount.$gtt: unknown operator "$gtt"; did you mean "$gt"?"#),
        (json!({"amount": {"gte": 5}}), r#"filter.amount.gte: unknown operator "gte"; did you mean "$gte"?"#),
        (json!({"amount": {"$Exist": true}}), r#"filter.amount.$Exist: unknown operator "$Exist"; did you mean "$exists"?"#),
        (json!({"amount": {"$regex": "x"}}), r#"filter.amount.$regex: unknown operator "$regex""#),
        (
            json!({"data": {"amount": 5}}),
            r#"filter.data.amount: unknown operator "amount"; a nested field is written with a dot, as "data.amount""#,
        ),
        (json!({"a": {"$or": []}}), r#"filter.a.$or: "$or" joins whole filters and cannot stand under a field"#),
        (json!({"$ored": []}), r#"filter.$ored: unknown combinator "$ored""#),
        (json!({"$nott": {}}), r#"filter.$nott: unknown combinator "$nott"; did you mean "$not"?"#),
        (json!({"$gt": 5}), r#"filter.$gt: the operator "$gt" belongs under a field, as in {"amount": {"$gt": ...}}"#),
        (json!([1]), "filter: expected an object of conditions, found a list"),
        (json!({"$not": "x"}), "filter.$not: expected an object of conditions, found a string"),
        (json!({"$and": {}}), "filter.$and: expected a list of filters, found an object"),
        (json!({"$and": [1]}), "filter.$and[0]: expected an object of conditions, found a number"),
        (json!({"$or": []}), "filter.$or: at least one condition is needed"),
        (json!({"$or": [{}]}), "filter.$or[0]: at least one condition is needed"),
        (json!({"a": {}}), "filter.a: at least one condition is needed"),
        (json!({"a": [1]}), r#"filter.a: expected a scalar or an object of operators, found a list; for one of several values use "$in""#),
        (json!({"a": {"$gt": null}}), "filter.a.$gt: expected a number or a string, found null"),
        (json!({"a": {"$in": 1}}), "filter.a.$in: expected a list of scalars, found a number"),
        (json!({"a": {"$nin": [1, [2]]}}), "filter.a.$nin[1]: expected a scalar, found a list"),
        (json!({"a": {"$exists": 1}}), "filter.a.$exists: expected true or false, found a number"),
        (json!({"a": {"$prefix": 1}}), "filter.a.$prefix: expected a string, found a number"),
        (json!({"a": {"$contains": {}}}), "filter.a.$contains: expected a scalar, found an object"),
        (json!({"a..b": 1}), "filter.a..b: the path cannot be read: a name is missing before, between or after the dots"),
    ] {
        assert_eq!(refusal(value.clone()), expected, "{value}");
    }
}

#[test]
fn filters_have_limits() {
    let nest = |levels: usize, key: &str| {
        (1..levels).fold(json!({"a": 1}), |inner, _| if key == "$not" { json!({key: inner}) } else { json!({key: [inner]}) })
    };
    for key in ["$not", "$or", "$and"] {
        assert!(Filter::parse(&nest(MAX_FILTER_DEPTH, key)).is_ok(), "{key}");
        let error = Filter::parse(&nest(MAX_FILTER_DEPTH + 1, key)).unwrap_err();
        assert_eq!(error.problem, FilterProblem::TooDeep);
        assert!(error.path.ends_with(key) || error.path.ends_with("[0]"), "{error}");
    }
    assert_eq!(Filter::parse(&nest(60, "$or")).unwrap_err().to_string(), "filter: nested more than 16 levels deep");
    let operand = |levels: usize| json!({"a": {"$eq": (0..levels).fold(json!(1), |inner, _| json!([inner]))}});
    assert!(Filter::parse(&operand(MAX_FILTER_DEPTH)).is_ok());
    assert_eq!(Filter::parse(&operand(MAX_FILTER_DEPTH + 1)).unwrap_err().path, "filter.a.$eq");

    let many = |count: usize| json!({"$or": (0..count).map(|at| json!({"a": at})).collect::<Vec<_>>()});
    assert!(Filter::parse(&many(MAX_FILTER_CONDITIONS)).is_ok());
    let error = Filter::parse(&many(MAX_FILTER_CONDITIONS + 1)).unwrap_err();
    assert_eq!((error.path.as_str(), error.problem), ("filter.$or[256].a", FilterProblem::TooManyConditions));

    let long = |bytes: usize| json!({"a": "x".repeat(bytes - r#"{"a":""}"#.len())});
    assert!(Filter::parse(&long(MAX_FILTER_BYTES)).is_ok());
    let error = Filter::parse(&long(MAX_FILTER_BYTES + 1)).unwrap_err();
    assert_eq!(error.problem, FilterProblem::TooLarge { bytes: MAX_FILTER_BYTES + 1 });
}

#[test]
fn a_filter_explains_itself() {
    let explained = filter(json!({"type": "order", "$or": [{"amount": {"$gt": 5, "$lt": 9}}, {"$not": {"a.b": null}}]}));
    let findings = explained.explain(&json!({"type": "order", "amount": 9}));
    let shown: Vec<Value> = findings.iter().map(|finding| serde_json::to_value(finding).unwrap()).collect();
    assert_eq!(
        shown,
        [
            json!({"path": "type", "condition": {"$eq": "order"}, "held": true, "found": "order"}),
            json!({"path": "$or[0].amount", "condition": {"$gt": 5}, "held": true, "found": 9}),
            json!({"path": "$or[0].amount", "condition": {"$lt": 9}, "held": false, "found": 9}),
            json!({"path": "$or[1].$not.a.b", "condition": {"$eq": null}, "held": false, "found": null}),
        ]
    );
    assert_eq!(findings[3].found, None);
}

#[test]
fn a_filter_is_stored_as_it_was_written() {
    let text = r#"{"b":{"$lt":9,"$gt":5},"a":[["x"]]}"#.replace(r#"[["x"]]"#, "1.50");
    let read: Filter = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text.replace("1.50", "1.5"));
    let error = serde_json::from_str::<Filter>(r#"{"a":{"$x":1}}"#).unwrap_err();
    assert!(error.to_string().starts_with(r#"filter.a.$x: unknown operator "$x""#), "{error}");
}

/// The page for users holds examples: a filter in each `json filter` block, with the events in the `json matches` and
/// `json misses` blocks that follow it.
#[test]
fn the_examples_of_the_documentation_hold() {
    let page = include_str!("../../../../../docs/filters.md");
    let mut current = Filter::default();
    let mut examples = 0;
    for block in page.split("```json ").skip(1) {
        let (kind, rest) = block.split_once('\n').unwrap();
        let text = rest.split("```").next().unwrap();
        let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"));
        match kind {
            "filter" => current = Filter::parse(&value).unwrap_or_else(|error| panic!("{error}")),
            "matches" => assert!(current.matches(&value), "{text}"),
            "misses" => assert!(!current.matches(&value), "{text}"),
            other => panic!("unknown block {other}"),
        }
        examples += 1;
    }
    assert!(examples >= 10);
}

/// Filters of one condition on the fields of the random documents.
fn any_condition() -> impl Strategy<Value = Value> {
    let path = prop::sample::select(vec!["a", "b", "type", "a.b", "a[0]", "b.a", "event"]);
    let condition = prop_oneof![
        scalar(),
        (prop::sample::select(vec!["$eq", "$ne", "$contains"]), scalar()).prop_map(|(name, operand)| json!({name: operand})),
        (prop::sample::select(vec!["$gt", "$gte", "$lt", "$lte"]), 0..3_i64).prop_map(|(name, operand)| json!({name: operand})),
        (prop::sample::select(vec!["$in", "$nin"]), prop::collection::vec(scalar(), 0..3)).prop_map(|(name, list)| json!({name: list})),
        any::<bool>().prop_map(|there| json!({"$exists": there})),
        ("[ab]{0,1}").prop_map(|part| json!({"$prefix": part})),
    ];
    (path, condition).prop_map(|(path, condition)| json!({path: condition}))
}

/// Filters that nest.
fn any_filter() -> impl Strategy<Value = Value> {
    any_condition().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|filters| json!({"$and": filters})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|filters| json!({"$or": filters})),
            inner.prop_map(|filter| json!({"$not": filter})),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn combinators_obey_their_laws(left in any_filter(), right in any_filter(), event in document()) {
        let check = |value: Value| filter(value).matches(&event);
        let (a, b) = (check(left.clone()), check(right.clone()));
        prop_assert_eq!(check(json!({"$and": [left, right]})), a && b);
        prop_assert_eq!(check(json!({"$or": [left, right]})), a || b);
        prop_assert_eq!(check(json!({"$not": left})), !a);
        // De Morgan, through the filters themselves.
        prop_assert_eq!(
            check(json!({"$not": {"$or": [left, right]}})),
            check(json!({"$and": [{"$not": left}, {"$not": right}]}))
        );
    }

    #[test]
    fn negated_operators_are_negations(operand in scalar(), list in prop::collection::vec(scalar(), 0..4), event in document()) {
        let check = |condition: Value| filter(json!({"a": condition})).matches(&event);
        prop_assert_eq!(check(json!({"$ne": operand})), !check(json!({"$eq": operand})));
        prop_assert_eq!(check(json!({"$nin": list})), !check(json!({"$in": list})));
        let one_by_one = list.iter().any(|item| check(json!({"$eq": item})));
        prop_assert_eq!(check(json!({"$in": list})), one_by_one);
    }

    #[test]
    fn order_of_decimals_is_that_of_integers(left in any::<i64>(), right in any::<i64>(), zeros in 0..4_usize) {
        // The same integer spelled with a fraction and an exponent.
        let spelled = format!("{left}{}.0e-{zeros}", "0".repeat(zeros));
        prop_assert_eq!(holds(json!({"$gt": right}), json!(spelled)), left > right);
        prop_assert_eq!(holds(json!({"$lte": right}), json!(spelled)), left <= right);
        prop_assert_eq!(holds(json!({"$lt": right}), json!(left)), left < right);
    }

    #[test]
    fn a_conjunction_holds_when_all_its_findings_do(conditions in prop::collection::vec(any_condition(), 1..4), event in document()) {
        let count = conditions.len();
        let filter = filter(json!({"$and": conditions}));
        let findings = filter.explain(&event);
        prop_assert_eq!(findings.len(), count);
        prop_assert_eq!(findings.iter().all(|finding| finding.held), filter.matches(&event));
    }

    #[test]
    fn a_filter_survives_storage(value in any_filter(), event in document()) {
        let first = filter(value);
        let again: Filter = serde_json::from_str(&serde_json::to_string(&first).unwrap()).unwrap();
        prop_assert_eq!(again.matches(&event), first.matches(&event));
        prop_assert_eq!(again, first);
    }
}
