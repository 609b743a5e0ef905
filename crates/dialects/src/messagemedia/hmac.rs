//! HMAC authentication (MessageMedia 2.1): a pure reader of the header, and the check of a request.
//!
//! Invariants: nothing that a stranger sends passes without the secret; what is compared with something secret takes a constant time;
//! the date, the request line and the hash of a body are always under the signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::HeaderMap;
use md5::{Digest, Md5};
use posthaste_domain::signature::{constant_time_eq, hex, hmac_sha256};
use sha1::Sha1;

use super::time::parse_http_date;
use crate::auth::after_scheme;

/// Most names under a signature.
const MAX_NAMES: usize = 16;
/// The name that stands for method, path and protocol.
const REQUEST_LINE: &str = "request-line";
const DATE: &str = "date";
/// Names of the header with the hash of the body; older SDKs use the second.
const BODY_HASHES: [&str; 2] = ["content-md5", "x-content-md5"];

/// Hash functions of the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `hmac-sha1`, as older SDKs sign.
    Sha1,
    /// `hmac-sha256`.
    Sha256,
}

/// What an `Authorization` header of the scheme `hmac` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The API key.
    pub username: &'a str,
    /// How it is signed.
    pub algorithm: Algorithm,
    /// What is signed, names as they were written.
    pub names: Vec<&'a str>,
    /// The signature's bytes.
    pub signature: Vec<u8>,
}

impl<'a> Credentials<'a> {
    /// Reads `hmac username="…", algorithm="…", headers="…", signature="…"`. `None` for anything else, a part given twice included.
    pub fn parse(authorization: &'a str) -> Option<Self> {
        let mut rest = after_scheme(authorization, "hmac")?;
        let (mut username, mut algorithm, mut headers, mut signature) = (None, None, None, None);
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=')?;
            let (value, after) = after.trim_start().strip_prefix('"')?.split_once('"')?;
            let place = match name.trim().to_ascii_lowercase().as_str() {
                "username" => Some(&mut username),
                "algorithm" => Some(&mut algorithm),
                "headers" => Some(&mut headers),
                "signature" => Some(&mut signature),
                _ => None,
            };
            if let Some(place) = place
                && place.replace(value).is_some()
            {
                return None;
            }
            let after = after.trim_start();
            rest = match after.strip_prefix(',') {
                Some(next) => next.trim_start(),
                None if after.is_empty() => after,
                None => return None,
            };
        }
        let names: Vec<&str> = headers?.split(' ').filter(|name| !name.is_empty()).collect();
        if names.is_empty() || names.len() > MAX_NAMES {
            return None;
        }
        let algorithm = match algorithm?.to_ascii_lowercase().as_str() {
            "hmac-sha1" => Algorithm::Sha1,
            "hmac-sha256" => Algorithm::Sha256,
            _ => return None,
        };
        Some(Self { username: username?, algorithm, names, signature: STANDARD.decode(signature?).ok()? })
    }

    /// Whether the request was signed with the secret, not long ago, and as it is.
    pub fn verify(&self, secret: &str, request: &Signed<'_>, now_ms: i64, tolerance_ms: i64) -> bool {
        let signs = |wanted: &str| self.names.iter().any(|name| name.eq_ignore_ascii_case(wanted));
        if !signs(REQUEST_LINE) || !signs(DATE) {
            return false;
        }
        let Some(date) = one(request.headers, DATE).and_then(parse_http_date) else { return false };
        if now_ms.abs_diff(date) > tolerance_ms.unsigned_abs() {
            return false;
        }
        let hashes: Vec<&str> = BODY_HASHES.into_iter().filter(|name| signs(name)).collect();
        if !request.body.is_empty() && hashes.is_empty() {
            return false;
        }
        let hash = hex(&Md5::digest(request.body));
        let fits = |name: &&str| one(request.headers, name).is_some_and(|given| given.eq_ignore_ascii_case(&hash));
        if !hashes.iter().all(fits) {
            return false;
        }
        let Some(text) = self.signing_text(request) else { return false };
        constant_time_eq(&sign(self.algorithm, secret, &text), &self.signature)
    }

    /// What is signed: a line for each name.
    fn signing_text(&self, request: &Signed<'_>) -> Option<String> {
        let mut lines = Vec::with_capacity(self.names.len());
        for name in &self.names {
            lines.push(if name.eq_ignore_ascii_case(REQUEST_LINE) {
                format!("{} {} HTTP/1.1", request.method, request.path_and_query)
            } else {
                format!("{name}: {}", one(request.headers, name)?)
            });
        }
        Some(lines.join("\n"))
    }
}

/// What of a request can be under a signature.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Its method.
    pub method: &'a str,
    /// Path and query as they were sent.
    pub path_and_query: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: &'a [u8],
}

/// The value of a header that is there once.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = std::str::from_utf8(values.next()?.as_bytes()).ok()?;
    values.next().is_none().then_some(value)
}

fn sign(algorithm: Algorithm, secret: &str, text: &str) -> Vec<u8> {
    match algorithm {
        Algorithm::Sha256 => hmac_sha256(secret.as_bytes(), text.as_bytes()).to_vec(),
        Algorithm::Sha1 => {
            let mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
            mac.chain_update(text.as_bytes()).finalize().into_bytes().to_vec()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "API_SECRET";
    const DATE_TEXT: &str = "Sat, 30 Jul 2016 05:13:23 GMT";
    const NOW: i64 = 1_469_855_603_000;
    const TOLERANCE: i64 = 300_000;
    const BODY: &str = r#"{"url":"http://webhook.com","method":"POST","encoding":"JSON","events":["RECEIVED_SMS"],"template":"{}"}"#;
    const BODY_MD5: &str = "e3aabce14fe0648b524c056db7de9520";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn header(algorithm: &str, names: &str, signature: &str) -> String {
        format!("hmac username=\"API_KEY\", algorithm=\"{algorithm}\", headers=\"{names}\", signature=\"{signature}\"")
    }

    // MESSAGEMEDIA-32, MESSAGEMEDIA-33, MESSAGEMEDIA-34, by the vectors of 2.1; the routes are proved in tests/messagemedia.
    #[test]
    fn the_documented_vectors_verify() {
        let date = headers(&[("date", DATE_TEXT)]);
        let with_body = headers(&[("date", DATE_TEXT), ("content-md5", BODY_MD5)]);
        let cases = [
            ("hmac-sha1", "date request-line", "GET", "/v1/webhooks/messages", &date, "", "EaWD/cinemzKZNWkusZe7JX+GKY="),
            (
                "hmac-sha256",
                "Date request-line",
                "GET",
                "/v1/webhooks/messages/?page=0&pageSize=0",
                &date,
                "",
                "oAXJvov1YvraMyzos+9qVTOswZlMM0KT1OI2fWwPoMs=",
            ),
            (
                "hmac-sha256",
                "Date Content-MD5 request-line",
                "POST",
                "/v1/webhooks/messages",
                &with_body,
                BODY,
                "MYfYvFsshHwqEgSpkJX2yJsjf86LSb+tiYYS9Ikxbog=",
            ),
        ];
        for (algorithm, names, method, path_and_query, headers, body, signature) in cases {
            let header = header(algorithm, names, signature);
            let credentials = Credentials::parse(&header).unwrap();
            assert_eq!(credentials.username, "API_KEY");
            let request = Signed { method, path_and_query, headers, body: body.as_bytes() };
            assert!(credentials.verify(SECRET, &request, NOW + 1000, TOLERANCE), "{header}");
            // MESSAGEMEDIA-35, MESSAGEMEDIA-37
            assert!(!credentials.verify("another", &request, NOW, TOLERANCE));
            for other in [Signed { method: "PATCH", ..request }, Signed { path_and_query: "/v1/webhooks/messages?", ..request }] {
                assert!(!credentials.verify(SECRET, &other, NOW, TOLERANCE));
            }
            // MESSAGEMEDIA-36: also a body where none was signed.
            assert!(!credentials.verify(SECRET, &Signed { body: b"{}", ..request }, NOW, TOLERANCE));
            for (late, is_good) in [(TOLERANCE, true), (TOLERANCE + 1, false), (-TOLERANCE, true), (-TOLERANCE - 1, false)] {
                assert_eq!(credentials.verify(SECRET, &request, NOW + late, TOLERANCE), is_good, "{late}");
            }
        }
    }

    // MESSAGEMEDIA-34: the shape of the older messages SDKs of Node.js and Python.
    #[test]
    fn older_sdks_sign_x_content_md5_with_sha1() {
        let headers = headers(&[("date", DATE_TEXT), ("x-content-md5", BODY_MD5)]);
        let request = Signed { method: "POST", path_and_query: "/v1/webhooks/messages", headers: &headers, body: BODY.as_bytes() };
        let text = format!("date: {DATE_TEXT}\nx-Content-MD5: {BODY_MD5}\nPOST /v1/webhooks/messages HTTP/1.1");
        let signature = STANDARD.encode(sign(Algorithm::Sha1, SECRET, &text));
        let header = header("hmac-sha1", "date x-Content-MD5 request-line", &signature);
        assert!(Credentials::parse(&header).unwrap().verify(SECRET, &request, NOW, TOLERANCE));
    }

    #[test]
    fn what_must_be_signed_is_demanded() {
        let headers = headers(&[("date", DATE_TEXT), ("content-md5", BODY_MD5)]);
        let request = Signed { method: "POST", path_and_query: "/v1", headers: &headers, body: BODY.as_bytes() };
        for names in ["Date Content-MD5", "Content-MD5 request-line", "Date request-line", "Date Content-MD5 request-line Missing"] {
            let header = header("hmac-sha256", names, "");
            let mut credentials = Credentials::parse(&header).unwrap();
            let text = credentials.signing_text(&request).unwrap_or_default();
            credentials.signature = sign(Algorithm::Sha256, SECRET, &text);
            assert!(!credentials.verify(SECRET, &request, NOW, TOLERANCE), "{names}");
        }
        let mut twice = headers.clone();
        twice.append("date", DATE_TEXT.parse().unwrap());
        assert_eq!(one(&twice, "date"), None);
    }

    #[test]
    fn headers_that_are_no_credentials_are_refused() {
        let good = header("hmac-sha256", "Date request-line", "AAAA");
        assert!(Credentials::parse(&good).is_some());
        assert!(Credentials::parse(&good.replace("hmac username", "HMAC  UserName").replace(", ", ",")).is_some());
        assert!(Credentials::parse(&good.replace("hmac ", "hmac realm=\"x\", ")).is_some());
        for bad in [
            "",
            "hmac",
            "hmac ",
            "Basic YTpi",
            "hmac username=\"a\"",
            &good.replace("hmac-sha256", "hmac-md5"),
            &good.replace("Date request-line", " "),
            &good.replace("Date request-line", &"Date ".repeat(17)),
            &good.replace("AAAA", "!"),
            &good.replace("username=\"API_KEY\"", "username=API_KEY"),
            &good.replace("username=\"API_KEY\",", "username=\"API_KEY\""),
            &good.replace("username=\"API_KEY\"", "username=\"a\", username=\"b\""),
        ] {
            assert_eq!(Credentials::parse(bad), None, "{bad}");
        }
    }
}
