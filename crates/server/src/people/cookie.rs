//! The cookie of a session.

use http::{HeaderMap, HeaderValue, header};

/// With the prefix, browsers take it only over TLS, from this host and for all of it, so that no other host of the domain can set it.
const SECURE: &str = "__Host-posthaste";
/// Without TLS, on a developer's machine, there can be no prefix.
const PLAIN: &str = "posthaste_session";

fn name(is_secure: bool) -> &'static str {
    if is_secure { SECURE } else { PLAIN }
}

/// The token that the browser sent.
pub(super) fn read(headers: &HeaderMap, is_secure: bool) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
    let mut found = cookies.filter_map(|pair| pair.trim().split_once('=')).filter(|(key, _)| *key == name(is_secure));
    found.next().map(|(_, value)| value.to_owned()).filter(|value| value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Gives the browser a token for so many seconds; an empty one for none takes it away.
pub(super) fn write(token: &str, seconds: u64, is_secure: bool) -> HeaderValue {
    let secure = if is_secure { "; Secure" } else { "" };
    let text = format!("{}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}", name(is_secure));
    HeaderValue::from_str(&text).expect("hexadecimal digits and constants are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_comes_back_and_is_for_us_alone() {
        let token = "0123456789abcdef".repeat(4);
        assert_eq!(write(&token, 60, true), format!("__Host-posthaste={token}; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"));
        let sent = |text: &str| [(header::COOKIE, text.parse().expect("a value"))].into_iter().collect::<HeaderMap>();
        assert_eq!(read(&sent(&format!("a=b; posthaste_session={token}; c")), false), Some(token.clone()));
        assert_eq!(read(&sent(&format!("posthaste_session={token}")), true), None, "without TLS it is another cookie");
        assert_eq!(read(&sent("posthaste_session=short"), false), None);
        assert_eq!(read(&HeaderMap::new(), false), None);
    }
}
