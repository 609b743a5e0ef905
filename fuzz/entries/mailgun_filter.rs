//! Bytes as a filter of Mailgun's Events API and a value: a byte for the kind of field, the expression and the value, parted by 0xFF.

use posthaste_dialects::mailgun::filter::{Expression, FieldKind, MAX_BYTES};

/// Every expression that can be read has an answer for every value, and its opposite has the opposite one.
pub fn check(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let kind = [FieldKind::Text, FieldKind::MessageId, FieldKind::Number][usize::from(kind % 3)];
    let mut parts = rest.splitn(2, |&byte| byte == 0xFF);
    let mut part = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (text, value) = (part(), part());
    let Ok(expression) = Expression::parse(kind, &text) else { return };
    let answer = expression.matches(&[&value]);
    let opposite = format!("NOT ({text})");
    if opposite.len() <= MAX_BYTES
        && let Ok(opposite) = Expression::parse(kind, &opposite)
    {
        assert_ne!(opposite.matches(&[&value]), answer, "{text:?} and its opposite agree on {value:?}");
    }
    if text.len() < MAX_BYTES {
        assert_eq!(Expression::parse(kind, &format!("{text} ")).map(|same| same.matches(&[&value])), Ok(answer));
    }
}
