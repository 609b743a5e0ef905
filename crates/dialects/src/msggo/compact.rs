//! A JSON document as JavaScript's `JSON.stringify` prints it, as far as that changes no value (MsgGO 7.1).
//!
//! The documented Node receiver verifies over `JSON.stringify` of what it parsed, so PHP's `\/`, Python's `\u00e9` and `25.0` would all
//! fail there if they were sent as they came. Invariant: the result stands for the same document; numbers that a double cannot hold
//! keep their spelling.

/// Drops white space, unescapes what needs no escape, and drops the trailing zeros of fractions. Never panics; text that is not JSON
/// comes out as other text that is not JSON.
pub fn compact(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(&first) = rest.first() {
        let (token, behind) = rest.split_at(token_length(rest));
        match first {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'"' => write_string(token, &mut out),
            b'-' | b'0'..=b'9' => out.extend_from_slice(shortest(token)),
            _ => out.extend_from_slice(token),
        }
        rest = behind;
    }
    out
}

/// Bytes of the string, the number or the single byte at the front; at least one.
fn token_length(rest: &[u8]) -> usize {
    let is_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    match rest.first() {
        Some(b'"') => {
            let mut escaped = false;
            let close = rest.iter().skip(1).position(|&byte| {
                let closes = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                closes
            });
            close.map_or(rest.len(), |at| at + 2)
        }
        Some(b'-' | b'0'..=b'9') => rest.iter().take_while(|byte| is_number(byte)).count(),
        _ => 1,
    }
}

/// A lone surrogate has no unescaped form; such a string stays as it was written.
fn write_string(literal: &[u8], out: &mut Vec<u8>) {
    if !literal.contains(&b'\\') {
        out.extend_from_slice(literal);
        return;
    }
    match serde_json::from_slice::<String>(literal) {
        Ok(text) => serde_json::to_writer(&mut *out, &text).expect("writing a string to memory cannot fail"),
        Err(_) => out.extend_from_slice(literal),
    }
}

/// `25.0` is `25`, `2.50` is `2.5`, `-0` is `0`. Exponents stay: their printed form depends on their size.
fn shortest(number: &[u8]) -> &[u8] {
    let plain = !number.iter().any(|byte| matches!(byte, b'e' | b'E'));
    let trimmed = if plain && number.contains(&b'.') {
        let end = number.iter().rposition(|&byte| byte != b'0').map_or(0, |at| at + 1);
        number[..end].strip_suffix(b".").unwrap_or(&number[..end])
    } else {
        number
    };
    if trimmed == b"-0" { b"0" } else { trimmed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(raw: &str) -> String {
        String::from_utf8(compact(raw.as_bytes())).unwrap()
    }

    // MSGGO-62: expected values are what Node prints for JSON.stringify(JSON.parse(…)).
    #[test]
    fn documents_of_php_and_python_are_printed_as_node_prints_them() {
        for (sent, printed) in [
            (r#"{"url":"https:\/\/example.com\/","name":"Andr\u00e9"}"#, r#"{"url":"https://example.com/","name":"André"}"#),
            (r#"{"amount": 25.0, "rate": 2.50, "none": -0.0, "big": 100.00}"#, r#"{"amount":25,"rate":2.5,"none":0,"big":100}"#),
            (r#"["\ud83d\ude80","\u001F","\u0041\n\"\\","a b"]"#, "[\"🚀\",\"\\u001f\",\"A\\n\\\"\\\\\",\"a b\"]"),
            ("{\n \"k\\u00fc\" : [ true , null,0,10, 0.10 ] }\n", r#"{"kü":[true,null,0,10,0.1]}"#),
            (r#""ends with \\""#, r#""ends with \\""#),
        ] {
            assert_eq!(text(sent), printed, "{sent}");
        }
    }

    #[test]
    fn what_a_double_cannot_hold_keeps_its_spelling() {
        for sent in ["12345678901234567890123", "1e400", "1E5", "0.1000000000000000055511151231257827", r#""\ud800""#] {
            assert_eq!(text(sent), sent);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(raw in prop::collection::vec(any::<u8>(), 0..100)) {
            compact(&raw);
        }

        #[test]
        fn the_value_stays_the_same(value in prop_oneof![
            "\\PC{0,9}".prop_map(serde_json::Value::from),
            (-1e6..1e6).prop_map(|number: f64| serde_json::Value::from((number * 8.0).round() / 8.0)),
            any::<i64>().prop_map(serde_json::Value::from),
        ]) {
            let sent = serde_json::json!({ "a": [value, { "b\n": value }] });
            let pretty = serde_json::to_string_pretty(&sent).unwrap();
            let printed: serde_json::Value = serde_json::from_str(&text(&pretty)).unwrap();
            let close = |value: &serde_json::Value| value["a"][0].as_f64();
            prop_assert_eq!(close(&printed), close(&sent));
            prop_assert_eq!(printed["a"][0].as_str(), sent["a"][0].as_str());
            prop_assert_eq!(text(&text(&pretty)), text(&pretty));
        }
    }
}
