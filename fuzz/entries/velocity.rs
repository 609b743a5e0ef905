//! Bytes as a Velocity template and the value of a variable, parted by 0xFF.

use posthaste_domain::velocity::{Form, Limits, Template, Value, Variables};

const LIMITS: Limits = Limits { max_output_bytes: 8 << 10, max_steps: 10_000, max_work: 64 << 10 };

/// Whatever parses must render within its bounds or fail; what is put into a URL is percent-encoded.
pub fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |&byte| byte == 0xFF);
    let mut part = || std::str::from_utf8(parts.next().unwrap_or_default());
    let (Ok(source), Ok(value)) = (part(), part()) else { return };
    let mut variables = Variables::default();
    variables.set("mtId", "877c19ef");
    variables.set("moContent", value);
    variables.set("metadata", Value::map(vec![("key1".into(), value.into()), ("key2".into(), "2".into())]));

    let encoded = Template::parse("/$moContent").expect("a good template").render(&variables, Form::Url, &LIMITS);
    if let Ok(encoded) = encoded {
        assert!(encoded[1..].bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)), "{encoded}");
    }
    match Template::parse(source) {
        Ok(template) => {
            for form in [Form::Raw, Form::Url] {
                let Ok(text) = template.render(&variables, form, &LIMITS) else { continue };
                assert!(text.len() <= LIMITS.max_output_bytes, "{} bytes", text.len());
                if !source.contains(['$', '#', '\\']) {
                    assert_eq!(text, source);
                }
            }
        }
        Err(error) => assert!(error.line >= 1 && error.column >= 1 && error.line <= source.split('\n').count(), "{error}"),
    }
}
