//! `pretty=yes`: white space for people, and not one other byte changed.

/// Spreads JSON text over lines, indented by two spaces. Text that is no JSON comes back with odd lines, never with lost bytes.
pub(crate) fn pretty(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    let mut bytes = json.iter().copied().filter(|byte| *byte != b'\n' && *byte != b'\r').peekable();
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    while let Some(byte) = bytes.next() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            out.push(byte);
            continue;
        }
        match byte {
            b'{' | b'[' if bytes.peek().is_some_and(|next| *next == byte + 2) => out.push(byte),
            b'{' | b'[' => {
                depth += 1;
                out.push(byte);
                line(&mut out, depth);
            }
            b'}' | b']' => {
                if !out.ends_with(&[byte - 2]) {
                    depth = depth.saturating_sub(1);
                    line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b'"' => {
                in_string = true;
                out.push(byte);
            }
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::pretty;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn structure_shows_and_values_stay() {
        let spread = pretty(br#"{"a":[1.000000,{}],"b":[],"c:,{":"\"}"}"#);
        let expected = "{\n  \"a\": [\n    1.000000,\n    {}\n  ],\n  \"b\": [],\n  \"c:,{\": \"\\\"}\"\n}";
        assert_eq!(String::from_utf8(spread).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn it_reads_the_same(keys in proptest::collection::vec(".{0,8}", 0..5), texts in proptest::collection::vec(".{0,8}", 0..5)) {
            let mut value = Value::Array(texts.into_iter().map(Value::String).collect());
            for key in keys {
                value = serde_json::json!({ key: [value.clone(), {}, []] });
            }
            prop_assert_eq!(serde_json::from_slice::<Value>(&pretty(value.to_string().as_bytes())).unwrap(), value);
        }
    }
}
