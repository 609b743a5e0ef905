use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::document::{
    MAX_DOCUMENT_DEPTH, NotAnObject, build_object, count_characters, minify, parse_document, top_level_fields, valid_json,
};

#[test]
fn whatever_the_grammar_allows_is_json() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for text in [
        "{}",
        " [1 , 2]\r\n",
        "1e400",
        "-0",
        "1E+5",
        r#""\ud800""#,
        r#"{"a":1,"a":2}"#,
        r#""\u0000""#,
        "null",
        r#""é😀""#,
        &deep,
        "123456789012345678901234567890.5e-999999999999",
    ] {
        assert_eq!(valid_json(text.as_bytes()), Ok(()), "{}", &text[..text.len().min(40)]);
    }
    for text in [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\"}",
        "{'a':1}",
        "01",
        "1.",
        ".5",
        "+1",
        "NaN",
        "nul",
        "1 2",
        "\"\n\"",
        r#""\x""#,
        r#""\u12""#,
        "\u{feff}{}",
    ] {
        assert!(valid_json(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn an_error_says_where_and_why() {
    let error = valid_json(b"{\n  \"a\": 1,\n  \"b\": x\n}").unwrap_err();
    assert_eq!((error.line, error.column, error.reason.as_str()), (3, 8, "expected value"));
    assert_eq!(error.to_string(), "expected value at line 3 column 8");
    let error = valid_json(b"{\n\"a\xff\"}").unwrap_err();
    assert_eq!((error.line, error.column, error.reason.as_str()), (2, 3, "the text is not UTF-8"));
}

#[test]
fn minifying_touches_whitespace_outside_strings_only() {
    let text = b" { \"a b\" : [ 1.0 , 1e400 ,\t\"x \\\" y \\\\\" ] ,\r\n \"a b\":\"\\u00e9 \xc3\xa9\" } ";
    assert_eq!(minify(text), b"{\"a b\":[1.0,1e400,\"x \\\" y \\\\\"],\"a b\":\"\\u00e9 \xc3\xa9\"}");
}

#[test]
fn characters_are_counted_as_stringify_prints_them() {
    for (text, count) in [
        ("{ }", 2),
        (r#"{"a": 1}"#, 7),
        (r#""é""#, 3),
        (r#""\u00e9""#, 3),
        (r#""\u0041\/""#, 4),
        (r#""😀""#, 3),
        (r#""\ud83d\ude00""#, 3),
        (r#""\uD83D\uDE00x""#, 4),
        (r#""\ud83d""#, 8),
        (r#""\ud83d\ud83d\ude00""#, 9),
        (r#""\ude00\u0041""#, 9),
        (r#""\n\t\b\f\r""#, 12),
        (r#""\u000a""#, 4),
        (r#""\u0001""#, 8),
        (r#""\u0022\u005c\"\\""#, 10),
        (r#""\u007f\u2028""#, 4),
        ("1.50", 4),
        (r#"[ "a b" , true ]"#, 12),
    ] {
        assert_eq!(count_characters(text.as_bytes()), count, "{text}");
    }
    let wide = format!("{{\"x\":\"{}\"}}", "é".repeat(9_900));
    assert_eq!(count_characters(wide.as_bytes()), 9_908);
}

#[test]
fn fields_are_cut_out_byte_for_byte() {
    let text = br#" { "a" : 1.0 , "b\u00e9" : { "x" : [ "}" , 2 ] } , "a" : "\u0041" , "\ud800" : 1e400 , "last":null} "#;
    let fields = top_level_fields(text).unwrap();
    let expected: Vec<(&str, &[u8])> =
        vec![("a", b"1.0"), ("bé", br#"{ "x" : [ "}" , 2 ] }"#), ("a", br#""\u0041""#), ("\u{fffd}", b"1e400"), ("last", b"null")];
    let found: Vec<(&str, &[u8])> = fields.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    assert_eq!(found, expected);
    assert_eq!(top_level_fields(b" { } "), Ok(vec![]));
    let brackets = top_level_fields(br#"{"a":[],"b":{},"c":[[{}],"]"],"d":-1}"#).unwrap();
    let values: Vec<&[u8]> = brackets.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [&b"[]"[..], b"{}", br#"[[{}],"]"]"#, b"-1"]);
}

#[test]
fn what_is_not_an_object_has_no_fields() {
    for (text, found) in [("[1]", "an array"), ("1", "a number"), ("\"x\"", "a string"), ("true", "a boolean"), (" null", "null")] {
        assert_eq!(top_level_fields(text.as_bytes()), Err(NotAnObject::OtherKind { found }));
    }
    assert!(matches!(top_level_fields(b"{\"a\":}"), Err(NotAnObject::Invalid(error)) if error.column == 6));
}

#[test]
fn objects_are_joined_from_escaped_keys_and_verbatim_values() {
    let object = build_object([("a\"b", &b"1.0"[..]), ("é\n", b"[ 1 ]")].into_iter());
    assert_eq!(object, "{\"a\\\"b\":1.0,\"é\\n\":[ 1 ]}".as_bytes());
    assert_eq!(build_object(std::iter::empty()), b"{}");
}

#[test]
fn odd_documents_can_still_be_matched() {
    let read = |text: &str| parse_document(text.as_bytes());
    assert_eq!(
        read(r#" {"a": 1e400, "b": -1e999, "c": [1e400, 2.5, true, false, null, {}]} "#),
        Some(json!({"a": "1e400", "b": "-1e999", "c": ["1e400", 2.5, true, false, null, {}]}))
    );
    assert_eq!(read(r#"{"a":1,"b":2,"a":3}"#), Some(json!({"a": 3, "b": 2})));
    assert_eq!(
        read(r#"{"a":"x\ud800y","\udc00":"\ud83d\ude00","a":"\udc00\ud800\u0041\n"}"#),
        Some(json!({"a": "\u{fffd}\u{fffd}A\n", "\u{fffd}": "😀"}))
    );
    assert_eq!(read("18446744073709551615"), Some(json!(u64::MAX)));
    assert_eq!(read("-9223372036854775808"), Some(json!(i64::MIN)));
    for text in ["", "{", "{\"a\":1e400", "\"\u{1}\""] {
        assert_eq!(read(text), None, "{text:?}");
    }
    assert_eq!(parse_document(b"\"\xff\""), None);
}

#[test]
fn documents_are_followed_to_a_depth() {
    let nest = |depth: usize, core: &str| format!("{}{core}{}", "[".repeat(depth), "]".repeat(depth));
    for core in ["", "1e400", "{\"a\":1}"] {
        let inner = usize::from(core.starts_with('{'));
        assert!(parse_document(nest(MAX_DOCUMENT_DEPTH - inner, core).as_bytes()).is_some(), "{core}");
        assert_eq!(parse_document(nest(MAX_DOCUMENT_DEPTH + 1 - inner, core).as_bytes()), None, "{core}");
    }
    assert_eq!(parse_document(nest(1_000_000, "").as_bytes()), None);
}

/// Any JSON value with any strings and finite numbers.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\\x00-\\x7f]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// The same text with every character of its strings as an escape.
fn escaped(compact: &str) -> String {
    let mut text = String::new();
    let mut in_string = false;
    let mut characters = compact.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                in_string = !in_string;
                text.push('"');
            }
            '\\' => {
                text.push('\\');
                let kind = characters.next();
                text.extend(kind);
                text.extend(characters.by_ref().take(if kind == Some('u') { 4 } else { 0 }));
            }
            other if in_string => other.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04X}"))),
            other => text.push(other),
        }
    }
    text
}

proptest! {
    #[test]
    fn minify_restores_the_compact_text(value in any_value()) {
        let compact = serde_json::to_string(&value).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(minify(pretty.as_bytes()), compact.as_bytes());
        prop_assert_eq!(minify(compact.as_bytes()), compact.as_bytes());
    }

    #[test]
    fn characters_equal_those_of_the_compact_text(value in any_value()) {
        let compact = serde_json::to_string(&value).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(count_characters(pretty.as_bytes()), compact.chars().count());
        prop_assert_eq!(count_characters(escaped(&compact).as_bytes()), compact.chars().count());
    }

    #[test]
    fn fields_join_to_the_object_they_were_cut_from(value in any_value()) {
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        match top_level_fields(&pretty) {
            Ok(fields) => {
                let joined = build_object(fields.iter().map(|(key, value)| (key.as_str(), *value)));
                prop_assert_eq!(minify(&joined), serde_json::to_vec(&value).unwrap());
            }
            Err(error) => prop_assert!(!value.is_object(), "{}", error),
        }
    }

    #[test]
    fn the_lenient_reader_agrees_with_the_strict_one(value in any_value()) {
        let compact = serde_json::to_string(&value).unwrap();
        let strict: Value = serde_json::from_str(&compact).unwrap();
        // A number that no double holds sends the whole text down the lenient way.
        let odd = format!("[1e400,{}]", escaped(&serde_json::to_string_pretty(&value).unwrap().replace('\n', "\r\n\t")));
        prop_assert_eq!(parse_document(odd.as_bytes()), Some(json!(["1e400", strict])));
    }

    #[test]
    fn no_bytes_make_the_tools_panic(bytes in prop::collection::vec(prop_oneof![
        4 => prop::sample::select(b"{}[]\",:\\u0d8 e1-.tfn".to_vec()), 1 => any::<u8>()], 0..40)) {
        let valid = valid_json(&bytes).is_ok();
        let parsed = parse_document(&bytes);
        prop_assert_eq!(valid, parsed.is_some());
        prop_assert_eq!(matches!(parsed, Some(Value::Object(_))), top_level_fields(&bytes).is_ok());
        let minified = minify(&bytes);
        prop_assert_eq!(&minify(&minified), &minified);
        prop_assert_eq!(count_characters(&minified), count_characters(&bytes));
        if valid {
            prop_assert_eq!(parse_document(&minified), parsed);
        }
    }
}
