//! Texts of refusals: addresses masked in them, and the class of a bounce.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The text with every IP address replaced, so that texts about the same thing are the same text.
pub fn masked(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut rest = 0;
    while let Some(start) = text[rest..].find(|c: char| c.is_ascii_hexdigit() || c == ':').map(|at| rest + at) {
        let length = text[start..].find(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':')).unwrap_or(text.len() - start);
        let word = &text[start..start + length];
        rest = start + length;
        // A full stop or a colon may end the sentence.
        let bare = word.trim_end_matches(['.', ':']);
        let mask = match bare.parse::<IpAddr>() {
            Ok(IpAddr::V4(Ipv4Addr { .. })) => "a.b.c.d",
            Ok(IpAddr::V6(Ipv6Addr { .. })) if bare.len() > 2 => "a:b:c:d:e:f:g:h",
            _ => continue,
        };
        // Part of a longer word is no address.
        if text[..start].chars().next_back().is_some_and(char::is_alphanumeric) || text[rest..].starts_with(char::is_alphanumeric) {
            continue;
        }
        out.push_str(&text[copied..start]);
        out.push_str(mask);
        copied = start + bare.len();
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// Number of the class of a refusal, from the reason in the message data and the status that the remote server gave.
///
/// 1 undetermined, 10 invalid recipient, 20 soft, 22 mailbox full, 23 too large, 24 timeout, 25 administrative, 51 spam, 54 relaying
/// denied, 70 transient, 90 unsubscribed.
pub fn bounce_class(key: &str, reason: &str, status: Option<u16>) -> i64 {
    match (key, reason) {
        (_, "suppress-unsubscribe") => 90,
        (_, "suppress-complaint") => 51,
        (_, "suppress-bounce") => 10,
        ("policy_rejection", _) => 25,
        ("delay", _) => 70,
        (_, "expired" | "old") => 24,
        _ => match status {
            Some(550 | 551 | 553) => 10,
            Some(552) => 22,
            Some(523) => 23,
            Some(554) => 51,
            Some(454 | 530 | 535) => 54,
            Some(400..=499) => 20,
            _ => 1,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_masked_and_nothing_else() {
        for (text, expected) in [
            ("MAIL REFUSED - IP (17.99.99.99) is in black list", "MAIL REFUSED - IP (a.b.c.d) is in black list"),
            ("from 10.0.0.1, then 10.0.0.2.", "from a.b.c.d, then a.b.c.d."),
            ("[2001:db8::5]: no", "[a:b:c:d:e:f:g:h]: no"),
            ("Ünïcode 1.2.3.4:", "Ünïcode a.b.c.d:"),
        ] {
            assert_eq!(masked(text), expected);
        }
        for same in ["550 5.1.1 no such user", "at 12:30:45", "version 1.2.3.4.5", "x1.2.3.4", "1.2.3.4x", "", "::", "face: bad"] {
            assert!(matches!(masked(same), Cow::Borrowed(_)), "{same}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "[0-9a-f:. é(]{0,60}") {
            let once = masked(&text).into_owned();
            prop_assert_eq!(masked(&once).into_owned(), once);
        }
    }

    #[test]
    fn refusals_have_classes() {
        assert_eq!(bounce_class("bounce", "bounce", Some(550)), 10);
        assert_eq!(bounce_class("bounce", "452 full", Some(452)), 20);
        assert_eq!(bounce_class("bounce", "", None), 1);
        assert_eq!(bounce_class("delay", "", Some(451)), 70);
        assert_eq!(bounce_class("policy_rejection", "suppress-unsubscribe", None), 90);
        assert_eq!(bounce_class("policy_rejection", "policy", Some(550)), 25);
    }
}
