//! Bytes as an `Authorization` header of MessageMedia's HMAC scheme and a request body, parted by 0xFF.

use http::{HeaderMap, HeaderValue};
use posthaste_dialects::messagemedia::hmac::{Credentials, Signed};

const DATE: &str = "Sat, 30 Jul 2016 05:13:23 GMT";
const NOW: i64 = 1_469_855_603_000;
/// The secret that a stranger does not have.
const OURS: &str = "phk_01JQZ3V7W8X9Y0Z1A2B3C4D5E6";

/// No stranger's header passes; what is read was there.
pub fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |&byte| byte == 0xFF);
    let mut part = || parts.next().unwrap_or_default();
    let (header, body) = (part(), part());
    let Ok(header) = std::str::from_utf8(header) else { return };
    let Some(credentials) = Credentials::parse(header) else { return };
    assert!(header.contains(credentials.username) && credentials.names.iter().all(|name| header.contains(name)));
    assert!(!credentials.names.is_empty());
    let headers: HeaderMap = [(http::header::DATE, HeaderValue::from_static(DATE))].into_iter().collect();
    for body in [&b""[..], body] {
        let request = Signed { method: "GET", path_and_query: "/v1/webhooks/messages", headers: &headers, body };
        assert!(!credentials.verify(OURS, &request, NOW, 300_000), "a forged signature passed");
    }
}
