//! Addresses of e-mail as people write them: `ann@example.com`, `Ann Lee <ann@example.com>, "Lee, Bob" <bob@example.com>`.
//!
//! Strict where a header or a conversation with a mail server would break: one `@`, no space, no control character. Groups, comments and
//! quoted local parts (RFC 5322) are not read.

use std::fmt;

/// Bytes of an address at most (RFC 5321).
const MAX_ADDRESS: usize = 254;
/// Bytes of the part before the `@` at most (RFC 5321).
const MAX_LOCAL: usize = 64;
/// Bytes of a label of a domain at most (RFC 1035).
const MAX_LABEL: usize = 63;

/// An address with the name of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Display name.
    pub name: Option<String>,
    /// The address alone, its domain in lower case.
    pub address: String,
}

/// A text that is no list of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address such as ann@example.com or Ann <ann@example.com>")]
pub struct BadAddress(pub String);

impl fmt::Display for Mailbox {
    /// As a header shows it; the name is quoted where it has to be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(name) = &self.name else { return f.write_str(&self.address) };
        if name.chars().all(|c| c.is_alphanumeric() || c == ' ' || !c.is_ascii()) {
            return write!(f, "{name} <{}>", self.address);
        }
        f.write_str("\"")?;
        for c in name.chars() {
            if c == '"' || c == '\\' {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        write!(f, "\" <{}>", self.address)
    }
}

impl Mailbox {
    /// Several, as a header shows them.
    pub fn header(list: &[Self]) -> String {
        list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// Reads one address.
///
/// # Errors
/// If it is none, or more than one.
pub fn parse(text: &str) -> Result<Mailbox, BadAddress> {
    let mut list = each(text);
    match (list.next(), list.next()) {
        (Some(Err(error)), _) => Err(error),
        (Some(Ok(mailbox)), None) => Ok(mailbox),
        _ => Err(bad(text)),
    }
}

/// Reads addresses separated by commas; empty ones between commas are passed over.
///
/// # Errors
/// The first text that is no address.
pub fn parse_list(text: &str) -> Result<Vec<Mailbox>, BadAddress> {
    each(text).collect()
}

/// The same one by one: what is not asked for is not read.
pub fn each(text: &str) -> impl Iterator<Item = Result<Mailbox, BadAddress>> {
    let mut chars = text.char_indices().chain([(text.len(), ',')]);
    let (mut start, mut quoted, mut escaped, mut in_angle) = (0, false, false, false);
    std::iter::from_fn(move || {
        for (at, c) in chars.by_ref() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' if !in_angle => quoted = !quoted,
                '<' if !quoted => in_angle = true,
                '>' if !quoted => in_angle = false,
                ',' if at == text.len() || !quoted && !in_angle => {
                    let one = text[start..at].trim();
                    start = at + 1;
                    if !one.is_empty() {
                        return Some(parse_one(one));
                    }
                }
                _ => {}
            }
        }
        None
    })
}

/// Whether a text is an address, alone.
pub fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~-".contains(c) || !c.is_ascii() && c.is_alphanumeric();
    let dotted = |text: &str, allowed: &dyn Fn(char) -> bool, max: usize| {
        text.split('.').all(|part| !part.is_empty() && part.len() <= max && part.chars().all(allowed))
    };
    let label = |c: char| c.is_ascii_alphanumeric() || c == '-' || !c.is_ascii() && c.is_alphanumeric();
    text.len() <= MAX_ADDRESS
        && local.len() <= MAX_LOCAL
        && dotted(local, &atom, MAX_LOCAL)
        && dotted(domain, &label, MAX_LABEL)
        && domain.split('.').all(|part| !part.starts_with('-') && !part.ends_with('-'))
}

fn parse_one(text: &str) -> Result<Mailbox, BadAddress> {
    if text.chars().any(char::is_control) {
        return Err(bad(text));
    }
    let (name, address) = match text.strip_suffix('>') {
        Some(rest) => {
            let (name, address) = rest.rsplit_once('<').ok_or_else(|| bad(text))?;
            (display_name(name.trim()).ok_or_else(|| bad(text))?, address.trim())
        }
        None => (None, text),
    };
    if !is_address(address) {
        return Err(bad(text));
    }
    let (local, domain) = address.rsplit_once('@').ok_or_else(|| bad(text))?;
    Ok(Mailbox { name, address: format!("{local}@{}", domain.to_lowercase()) })
}

/// A display name without its quotes; `None` if they do not match or what needs them has none.
fn display_name(text: &str) -> Option<Option<String>> {
    let name = match text.strip_prefix('"') {
        Some(rest) => {
            let inner = rest.strip_suffix('"')?;
            let mut name = String::with_capacity(inner.len());
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                match c {
                    '\\' => name.push(chars.next()?),
                    '"' => return None,
                    c => name.push(c),
                }
            }
            name
        }
        None if text.contains(['<', '>', '"', '@']) => return None,
        None => text.to_owned(),
    };
    Some(Some(name.trim().to_owned()).filter(|name| !name.is_empty()))
}

fn bad(text: &str) -> BadAddress {
    BadAddress(text.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_split_where_people_split_them() {
        let read = |text: &str| {
            let list = parse_list(text).unwrap_or_else(|error| panic!("{error}"));
            list.into_iter().map(|one| (one.name.unwrap_or_default(), one.address)).collect::<Vec<_>>()
        };
        let pair = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        assert_eq!(read(" a@B.example , ,Bob Lee <bob@c.example>"), [pair("", "a@b.example"), pair("Bob Lee", "bob@c.example")]);
        assert_eq!(read(r#""Lee, \"B\"" <b@c>, <d@e>"#), [pair("Lee, \"B\"", "b@c"), pair("", "d@e")]);
        assert_eq!(read("Åsa <å.x+y@ü.example>"), [pair("Åsa", "å.x+y@ü.example")]);
        assert!(read(" , ").is_empty());
        assert_eq!(each("a@b, c@d, nobody").take(2).filter(Result::is_ok).count(), 2, "the third is not read");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "a",
            "@b",
            "a@",
            "a b@c",
            "a@b c",
            "a@@b",
            "a@b@c",
            "a..b@c",
            ".a@b",
            "a@b.",
            "a@-b",
            "Ann a@b",
            "Ann <a@b",
            "a@b>",
            "<a@b> x",
            "A <B <c@d>",
            "\"A <a@b>",
            "a@b\r\nBcc: c@d",
            "A\n <a@b>",
            "a@b;c@d",
            "a(b)@c",
            "c@d <a@b>",
            "a@[1.2.3.4]",
        ] {
            assert!(parse_list(text).is_err(), "{text:?}");
        }
        assert!(parse("a@b, c@d").is_err() && parse("").is_err() && parse("A <a@b>").is_ok());
        assert!(!is_address(&format!("{}@b", "a".repeat(65))));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(names in prop::collection::vec("[^\\p{Cc}]{0,12}", 1..4)) {
            let list: Vec<Mailbox> = names.iter().enumerate().map(|(n, name)| {
                let name = Some(name.trim().to_owned()).filter(|name| !name.is_empty());
                Mailbox { name, address: format!("a{n}@b.example") }
            }).collect();
            prop_assert_eq!(parse_list(&Mailbox::header(&list)).expect("reads back"), list);
        }

        #[test]
        fn nothing_panics(text in ".{0,60}") {
            if let Ok(list) = parse_list(&text) {
                for one in list {
                    prop_assert!(is_address(&one.address));
                }
            }
        }
    }
}
