use http::Uri;
use proptest::prelude::*;

use super::*;
use crate::msggo::key;

const LIMIT: usize = 10_000;
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=------------------------d74496d66958873e";

/// A request as its client puts it on the wire.
#[derive(Clone, Copy, Debug)]
struct Wire {
    target: &'static str,
    header_key: Option<&'static str>,
    content_type: Option<&'static str>,
    body: &'static str,
}

const GET: Wire = Wire { target: "/inbox", header_key: None, content_type: None, body: "" };
/// Most rows carry their key in the header.
const HEADER: Wire = Wire { header_key: Some("K"), ..GET };

/// The key that decides and the payload.
fn read(wire: Wire) -> Result<(Option<String>, String), DocumentError> {
    let uri: Uri = wire.target.parse().unwrap();
    let query = Side::from_query(uri.query())?;
    let body = Side::from_body(wire.content_type, Bytes::from_static(wire.body.as_bytes()))?;
    let path = uri.path().strip_prefix("/inbox/");
    let key = key::first([wire.header_key, path, query.key(), body.key()]).map(str::to_owned);
    let payload = merge(&query, &body, LIMIT)?;
    Ok((key, String::from_utf8(payload.to_vec()).unwrap()))
}

fn payload(wire: Wire) -> String {
    read(wire).unwrap().1
}

// MSGGO-82: the wire form of each documented client, T1 to T20, and what must come of it.
#[test]
fn every_documented_client_is_understood() {
    let rows = [
        ("T1", Wire { target: "/inbox/K?event=deploy_done&status=success", ..GET }, r#"{"event":"deploy_done","status":"success"}"#),
        (
            "T2, MSGGO-24, MSGGO-26",
            Wire { target: "/inbox?msggo-key=K&event=user_registered&email=test@example.com", ..GET },
            r#"{"event":"user_registered","email":"test@example.com"}"#,
        ),
        (
            "T3, MSGGO-17",
            Wire { content_type: Some(FORM), body: r#"{"msggo-key":"K","event":"payment_processed","amount":100}"#, ..GET },
            r#"{"event":"payment_processed","amount":100}"#,
        ),
        (
            "T4",
            Wire { content_type: Some(FORM), body: "msggo-key=K&event=form_submission&customer_id=123", ..GET },
            r#"{"event":"form_submission","customer_id":"123"}"#,
        ),
        (
            "T5",
            Wire { content_type: Some(FORM), body: r#"{"event":"backup_completed","status":"success"}"#, ..HEADER },
            r#"{"event":"backup_completed","status":"success"}"#,
        ),
        (
            "T6, T7, MSGGO-25, MSGGO-26",
            Wire { target: "/inbox?msggo-key=K&event=contact-form&name=John%20Doe&email=john.doe@example.com", ..GET },
            r#"{"event":"contact-form","name":"John Doe","email":"john.doe@example.com"}"#,
        ),
        (
            "T8, MSGGO-23",
            Wire { content_type: Some(FORM), body: "event=new_order&product_id=XYZ123&quantity=2", ..HEADER },
            r#"{"event":"new_order","product_id":"XYZ123","quantity":"2"}"#,
        ),
        ("T9, MSGGO-18", Wire { content_type: Some(FORM), body: T9_BODY, ..HEADER }, T9_BODY),
        ("T10, T11, T12, T14, T16", Wire { target: "/inbox?msggo-key=K&event=your-event-name", ..GET }, NAMED),
        ("T11", Wire { content_type: Some(FORM), body: r#"{"msggo-key":"K","event":"your-event-name"}"#, ..GET }, NAMED),
        (
            "T13",
            Wire {
                content_type: Some("application/json"),
                body: r#"{"msggo-key": "K", "event": "your-event-name", "city": "K\u00f6ln"}"#,
                ..GET
            },
            r#"{"event":"your-event-name","city":"K\u00f6ln"}"#,
        ),
        (
            "T15",
            Wire {
                content_type: Some(MULTIPART),
                body: "--------------------------d74496d66958873e\r\nContent-Disposition: form-data; name=\"msggo-key\"\r\n\r\nK\r\n\
                    --------------------------d74496d66958873e\r\nContent-Disposition: form-data; name=\"event\"\r\n\r\nyour-event-name\r\n\
                    --------------------------d74496d66958873e--\r\n",
                ..GET
            },
            NAMED,
        ),
        (
            "T17, MSGGO-19",
            Wire { content_type: Some("text/plain;charset=UTF-8"), body: r#"{"msggo-key":"K","event":"your-event-name"}"#, ..GET },
            NAMED,
        ),
        (
            "T18",
            Wire {
                content_type: Some("application/json"),
                body: r#"{"msggo-key":"K","event_name":"user-action","action":"button_click","page":"homepage"}"#,
                ..GET
            },
            r#"{"event_name":"user-action","action":"button_click","page":"homepage"}"#,
        ),
        (
            "T19",
            Wire {
                content_type: Some("application/json"),
                body: r#"{"event_name": "user-action", "action": "button_click", "msggo-key": "K"}"#,
                ..GET
            },
            r#"{"event_name":"user-action","action":"button_click"}"#,
        ),
        (
            "T20",
            Wire { content_type: Some("application/json"), body: r#"{"event":"my-event","username":"john_doe"}"#, ..HEADER },
            r#"{"event":"my-event","username":"john_doe"}"#,
        ),
    ];
    for (row, wire, expected) in rows {
        assert_eq!(read(wire), Ok((Some("K".to_owned()), expected.to_owned())), "{row}");
    }
}

const NAMED: &str = r#"{"event":"your-event-name"}"#;
const T9_BODY: &str = "{\n\"event\": \"system_alert\",\n\"severity\": \"critical\",\n\"details\": {\n\"host\": \"server01\",\n\
    \"metric\": \"cpu_usage\",\n\"value\": \"95%\"\n}\n}";

#[test]
fn further_shapes_of_common_tools() {
    let items = "event=x&items%5B0%5D=a&items%5B1%5D=b&user%5Bname%5D=Ann";
    let nested = r#"{"event":"x","items":["a","b"],"user":{"name":"Ann"}}"#;
    for (tool, wire, expected) in [
        ("curl --json", Wire { content_type: Some("application/json"), body: NAMED, ..HEADER }, NAMED),
        ("MSGGO-20, requests data=str, Blob", Wire { body: NAMED, ..HEADER }, NAMED),
        ("MSGGO-22", Wire { content_type: Some("application/json; charset=utf-8"), body: NAMED, ..HEADER }, NAMED),
        ("a vendor type", Wire { content_type: Some("application/vnd.acme+json"), body: NAMED, ..HEADER }, NAMED),
        ("an odd type", Wire { content_type: Some("application/octet-stream"), body: NAMED, ..HEADER }, NAMED),
        ("curl -G --data-urlencode", Wire { target: "/inbox/K?event=my+event", ..GET }, r#"{"event":"my event"}"#),
        (
            "URLSearchParams",
            Wire { content_type: Some("application/x-www-form-urlencoded;charset=UTF-8"), body: "event=a%26b", ..HEADER },
            r#"{"event":"a&b"}"#,
        ),
        ("http_build_query", Wire { content_type: Some(FORM), body: items, ..HEADER }, nested),
        ("http_build_query in a query", Wire { target: "/inbox?event=x&items%5B%5D=a&items%5B%5D=b&user%5Bname%5D=Ann", ..HEADER }, nested),
        ("PowerShell", Wire { content_type: Some("Application/JSON"), body: "\u{feff}{\"event\":\"x\"}", ..HEADER }, r#"{"event":"x"}"#),
    ] {
        assert_eq!(payload(wire), expected, "{tool}");
    }
}

#[test]
fn a_body_alone_is_kept_byte_for_byte() {
    let sent = " {\"b\" : 1.0, \"a\":12345678901234567890123,\n\"b\":\"\\u00e9\" }\r\n";
    assert_eq!(payload(Wire { content_type: Some("application/json"), body: sent, ..HEADER }), sent);
    // A query that holds nothing but the key adds nothing.
    assert_eq!(payload(Wire { target: "/inbox?msggo-key=K", body: sent, ..GET }), sent);
    // As soon as something is added, it is a new document of the sender's own values.
    let merged = r#"{"c":"1","b":"\u00e9","a":12345678901234567890123}"#;
    assert_eq!(payload(Wire { target: "/inbox?c=1", body: sent, ..HEADER }), merged);
}

// MSGGO-27
#[test]
fn the_key_never_stays_in_the_event() {
    for wire in [
        Wire { target: "/inbox?msggo-key=K&event=x&msggo-key[a]=K", ..HEADER },
        Wire { body: r#"{"msggo-key":"K","event":"x","msggo-key":"K"}"#, ..HEADER },
        Wire { body: r#"{"event":"x","\u006dsggo-key":"K"}"#, ..HEADER },
        Wire { body: r#"{"event":"x","msggo-key":{"K":[1]}}"#, ..HEADER },
        Wire { content_type: Some(FORM), body: "msggo-key=K&event=x&msggo-key%5B%5D=K", ..HEADER },
        Wire {
            content_type: Some("multipart/form-data; boundary=b"),
            body: "--b\r\nContent-Disposition: form-data; name=\"event\"\r\n\r\nx\r\n\
                --b\r\nContent-Disposition: form-data; name=\"msggo-key\"\r\n\r\nK\r\n--b--\r\n",
            ..HEADER
        },
    ] {
        assert_eq!(payload(wire), r#"{"event":"x"}"#, "{wire:?}");
    }
}

#[test]
fn the_last_of_repeated_keys_counts_and_only_text_is_a_key() {
    for (body, expected) in [
        (r#"{"msggo-key":"a","msggo-key":"b"}"#, Some("b")),
        (r#"{"msggo-key":"\u004b"}"#, Some("K")),
        (r#"{"msggo-key":1}"#, None),
        (r#"{"msggo-key":""}"#, None),
        (r#"{"msggo-key":null}"#, None),
    ] {
        assert_eq!(read(Wire { body, ..GET }).unwrap().0.as_deref(), expected, "{body}");
    }
    assert_eq!(read(Wire { target: "/inbox?msggo-key=a&msggo-key=b", ..GET }).unwrap().0.as_deref(), Some("b"));
}

// MSGGO-28, MSGGO-29, MSGGO-30
#[test]
fn query_and_body_merge_and_the_body_wins() {
    let target = "/inbox?event=q&only=query&o[x]=1";
    let json = Wire { target, body: r#"{"event": "b", "n": 1, "o": {"y": 2}}"#, ..HEADER };
    assert_eq!(payload(json), r#"{"event":"b","only":"query","o":{"y": 2},"n":1}"#);
    let form = Wire { target, content_type: Some(FORM), body: "event=b&n=1&o[y]=2", ..HEADER };
    assert_eq!(payload(form), r#"{"event":"b","only":"query","o":{"y":"2"},"n":"1"}"#);
}

// MSGGO-16, MSGGO-21, MSGGO-37
#[test]
fn what_is_no_object_is_unreadable() {
    for content_type in [None, Some("application/json"), Some("text/plain")] {
        for body in ["[]", "[{}]", "1", "\"x\"", "null", "true", "{", "{}{}", "event=x", "{\"a\":}", "\u{feff}\u{feff}{}", "<event/>"] {
            assert_eq!(read(Wire { content_type, body, ..HEADER }), Err(DocumentError::Unreadable), "{body}");
        }
    }
    let array = Wire { content_type: Some(FORM), body: " [1]", ..HEADER };
    assert_eq!(read(array), Err(DocumentError::Unreadable));
    let other_boundary = Wire { content_type: Some("multipart/form-data; boundary=x"), body: "--y--", ..HEADER };
    assert_eq!(read(other_boundary), Err(DocumentError::Unreadable));
    assert_eq!(Side::from_body(None, Bytes::from_static(b"{\"a\":\"\xff\"}")).unwrap_err(), DocumentError::Unreadable);
}

// MSGGO-85
#[test]
fn a_blank_body_is_no_body() {
    for content_type in [None, Some("application/json"), Some(FORM), Some(MULTIPART), Some("text/plain")] {
        for body in ["", " \r\n\t", "\u{feff}"] {
            assert_eq!(payload(Wire { content_type, body, ..HEADER }), "{}", "{content_type:?} {body:?}");
        }
    }
}

fn measured(body: String) -> Result<Bytes, DocumentError> {
    let body = Side::from_body(Some("application/json"), Bytes::from(body)).unwrap();
    merge(&Side::default(), &body, LIMIT)
}

// MSGGO-34
#[test]
fn ten_thousand_characters_pass_and_one_more_does_not() {
    let envelope = r#"{"a":""}"#.len();
    let document = |count: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(count - envelope));
    assert!(measured(document(LIMIT)).is_ok());
    assert_eq!(measured(document(LIMIT + 1)), Err(DocumentError::TooLarge));
    // White space, escapes and the key do not count; the query does.
    assert!(measured(document(LIMIT).replace(':', " :\n  ")).is_ok());
    assert!(measured(format!(r#"{{"msggo-key":"K",{}"#, &document(LIMIT)[1..])).is_ok());
    assert!(measured(format!(r#"{{"a":"{}"}}"#, "\\u0078".repeat(LIMIT - envelope))).is_ok());
    let full = Side::from_body(None, Bytes::from(document(LIMIT))).unwrap();
    assert_eq!(merge(&Side::from_query(Some("b=")).unwrap(), &full, LIMIT), Err(DocumentError::TooLarge));
}

// MSGGO-35
#[test]
fn characters_count_and_not_bytes() {
    assert!(measured(format!(r#"{{"a":"{}"}}"#, "é".repeat(9_900))).is_ok());
    assert_eq!(measured(format!(r#"{{"a":"{}"}}"#, "é".repeat(9_993))), Err(DocumentError::TooLarge));
}

#[test]
fn too_many_fields_are_too_large() {
    let query = "a&".repeat(names::MAX_FIELDS + 1);
    assert_eq!(Side::from_query(Some(&query)).unwrap_err(), DocumentError::TooLarge);
    assert_eq!(Side::from_body(Some(FORM), Bytes::from(query)).unwrap_err(), DocumentError::TooLarge);
}

proptest! {
    #[test]
    fn arbitrary_bytes_and_types_never_panic(
        query in prop::option::of("\\PC{0,40}"),
        content_type in prop::option::of(prop_oneof![
            Just(FORM.to_owned()),
            Just("multipart/form-data; boundary=b".to_owned()),
            Just("application/json".to_owned()),
            "\\PC{0,30}",
        ]),
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..120),
            "[{}\\[\\]\":,a1 &=%\\\\u]{0,80}".prop_map(String::into_bytes),
            "(--b(\r\n)?(Content-Disposition: form-data; name=\"[a-c]\"\r\n\r\n)?[a-c]{0,3}\r\n){0,4}(--b--)?".prop_map(String::into_bytes),
        ],
    ) {
        let Ok(query) = Side::from_query(query.as_deref()) else { return Ok(()) };
        let Ok(body) = Side::from_body(content_type.as_deref(), Bytes::from(body)) else { return Ok(()) };
        let payload = merge(&query, &body, LIMIT).unwrap();
        let fields = top_level_fields(&payload).unwrap();
        prop_assert!(fields.iter().all(|(name, _)| name != KEY_FIELD));
    }
}

// Deeper documents would match nothing and make the log unreadable.
#[test]
fn nesting_is_bounded() {
    let nested = |deep: usize| Bytes::from(format!(r#"{{"event":"order","x":{}{}}}"#, "[".repeat(deep), "]".repeat(deep)));
    assert!(Side::from_body(None, nested(127)).is_ok());
    assert_eq!(Side::from_body(None, nested(128)).unwrap_err(), DocumentError::Unreadable);
    // Brackets in texts are no nesting.
    let text = format!(r#"{{"event":"order","x":"{}"}}"#, "[".repeat(500));
    assert!(Side::from_body(None, Bytes::from(text)).is_ok());
}
