//! Numbers and names that messages come from and go to.

/// Whether `text` is a number in E.164: `+`, a country code that does not begin with 0, 7 to 15 digits in all.
#[must_use]
pub fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// A number as carriers write it, in E.164 where it can be nothing else: without spaces, dots, dashes and parentheses, with `+` for a leading
/// `00` and before 11 to 15 digits. Shorter numbers stay without `+`: they are short codes, or lack their country. Names stay as they are.
#[must_use]
pub fn normal_number(text: &str) -> String {
    let bare: String = text.chars().filter(|&c| !c.is_whitespace() && !matches!(c, '.' | '-' | '(' | ')')).collect();
    let number = match bare.strip_prefix('+').or_else(|| bare.strip_prefix("00")) {
        Some(digits) => format!("+{digits}"),
        None if (11..=15).contains(&bare.len()) => format!("+{bare}"),
        None => String::new(),
    };
    if is_e164(&number) {
        number
    } else if !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit()) {
        bare
    } else {
        text.to_owned()
    }
}

/// Whom a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender<'a> {
    /// A number in E.164, here without its `+`.
    Number(&'a str),
    /// A short code: 3 to 8 digits.
    ShortCode(&'a str),
    /// A name: 1 to 11 letters, digits, spaces and marks of ASCII, one letter at least.
    Name(&'a str),
}

impl<'a> Sender<'a> {
    /// Tells what kind of sender a text is; `None` if no network would show it.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        if is_e164(text) {
            return text.strip_prefix('+').map(Self::Number);
        }
        if (3..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Self::ShortCode(text));
        }
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        let named = printable && text.trim() == text && text.bytes().any(|byte| byte.is_ascii_alphabetic());
        (named && (1..=11).contains(&text.len())).then_some(Self::Name(text))
    }
}
