//! Everything the inbox answers (MsgGO 3.4), CORS included.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer of the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The event is stored.
    Accepted,
    /// A CORS preflight: always fine, it carries no key (O-9).
    Preflight,
    /// Key missing, wrong, deleted or malformed: one answer for all (O-2).
    Unauthorized,
    /// More characters, bytes or fields than allowed.
    TooLarge,
    /// The body cannot be read as an object.
    Unreadable,
    /// A public key from a page that is not allowed, or from nowhere.
    DomainNotAllowed,
    /// A private key without the right to publish.
    MayNotPublish,
    /// A public key over its limit, or still blocked.
    TooManyRequests {
        /// Seconds until it works again.
        retry_after: u32,
    },
    /// Neither `GET` nor `POST`.
    MethodNotAllowed,
    /// The body did not arrive in time.
    TimedOut,
    /// Nothing was stored because the server has no room or is stopping; the sender should try again.
    Unavailable {
        /// After so many seconds.
        retry_after: u32,
    },
    /// The store failed. Nothing is promised.
    Failed,
}

/// What the client can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepts {
    /// `Accept` lists `text/html`: an address bar or an HTML form, which expects a blank page (O-1).
    html: bool,
    /// `Accept` names `application/json`: errors also come as a list, without which the PHP SDK crashes (O-2).
    json: bool,
}

impl Accepts {
    /// Reads all `Accept` headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
        let mut accepts = Self::default();
        for range in ranges {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            if parts.any(|parameter| matches!(parameter.to_ascii_lowercase().as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")) {
                continue;
            }
            accepts.html |= name.eq_ignore_ascii_case("text/html");
            accepts.json |= name.eq_ignore_ascii_case("application/json");
        }
        accepts
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    ok: bool,
    status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<[ErrorItem; 1]>,
}

#[derive(Serialize)]
struct ErrorItem {
    error: &'static str,
    message: &'static str,
}

impl Answer {
    /// The status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Accepted => StatusCode::OK,
            Self::Preflight => StatusCode::NO_CONTENT,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unreadable => StatusCode::BAD_REQUEST,
            Self::DomainNotAllowed | Self::MayNotPublish => StatusCode::FORBIDDEN,
            Self::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Code and message of an error.
    fn error(self) -> Option<ErrorItem> {
        let (error, message) = match self {
            Self::Accepted | Self::Preflight => return None,
            Self::Unauthorized => ("unauthorized", "API key missing in the request"),
            Self::TooLarge => ("payload_too_large", "Payload too large"),
            Self::Unreadable => ("invalid_json", "Invalid JSON in the request body"),
            Self::DomainNotAllowed => ("forbidden", "Domain not allowed"),
            Self::MayNotPublish => ("forbidden", "API key may not publish events"),
            Self::TooManyRequests { .. } => ("rate_limited", "Too many requests"),
            Self::MethodNotAllowed => ("method_not_allowed", "Method not allowed"),
            Self::TimedOut => ("request_timeout", "Request timed out"),
            Self::Unavailable { .. } => ("service_unavailable", "Service unavailable"),
            Self::Failed => ("internal_error", "Internal server error"),
        };
        Some(ErrorItem { error, message })
    }

    /// The body; `None` for an empty one.
    pub fn body(self, accepts: Accepts) -> Option<Vec<u8>> {
        let blank = self == Self::Preflight || (self == Self::Accepted && accepts.html);
        if blank {
            return None;
        }
        let error = self.error();
        let wire = Wire {
            ok: error.is_none(),
            status_code: self.status().as_u16(),
            message: error.as_ref().map(|item| item.message),
            errors: error.filter(|_| accepts.json).map(|item| [item]),
        };
        Some(serde_json::to_vec(&wire).expect("a flat struct of texts and numbers always serialises"))
    }

    /// The whole response. Every answer, error or not, may be read by any page (O-9) and must not be cached.
    pub fn into_response(self, accepts: Accepts) -> Response {
        let body = self.body(accepts);
        let content_type = match (&body, self) {
            (Some(_), _) => Some(JSON),
            (None, Self::Accepted) => Some(HeaderValue::from_static("text/html; charset=utf-8")),
            (None, _) => None,
        };
        let mut response = Response::new(body.map_or_else(Body::empty, Body::from));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, content_type);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After"));
        match self {
            Self::Preflight => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Content-Type, X-MsgGO-Key"));
                headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
            }
            Self::MethodNotAllowed => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, POST, OPTIONS"));
            }
            Self::TooManyRequests { retry_after } | Self::Unavailable { retry_after } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(line: &'static str) -> Accepts {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(line));
        Accepts::of(&headers)
    }

    fn text(answer: Answer, accepts: Accepts) -> String {
        String::from_utf8(answer.body(accepts).unwrap_or_default()).unwrap()
    }

    const ERRORS: [Answer; 10] = [
        Answer::Unauthorized,
        Answer::TooLarge,
        Answer::Unreadable,
        Answer::DomainNotAllowed,
        Answer::MayNotPublish,
        Answer::TooManyRequests { retry_after: 300 },
        Answer::MethodNotAllowed,
        Answer::TimedOut,
        Answer::Unavailable { retry_after: 1 },
        Answer::Failed,
    ];

    // MSGGO-31
    #[test]
    fn success_is_json_for_any_and_for_no_accept() {
        for accepts in [accepts("*/*"), Accepts::default(), accepts("application/json, text/plain, */*")] {
            assert_eq!(text(Answer::Accepted, accepts), r#"{"ok":true,"statusCode":200}"#);
        }
        assert_eq!(Answer::Accepted.into_response(Accepts::default()).headers()[header::CONTENT_TYPE], "application/json");
    }

    // MSGGO-32
    #[test]
    fn success_is_a_blank_page_for_an_address_bar() {
        let browser = accepts("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
        assert_eq!(Answer::Accepted.body(browser), None);
        assert_eq!(Answer::Accepted.into_response(browser).status(), 200);
        assert_eq!(Answer::Accepted.body(accepts("application/json, Text/HTML;q=0.5")), None);
        assert!(Answer::Accepted.body(accepts("text/html;q=0, */*")).is_some());
    }

    // MSGGO-11, MSGGO-14
    #[test]
    fn plain_clients_get_the_documented_three_fields() {
        let plain = accepts("*/*");
        assert_eq!(text(Answer::Unauthorized, plain), r#"{"ok":false,"statusCode":401,"message":"API key missing in the request"}"#);
        assert_eq!(text(Answer::TooLarge, plain), r#"{"ok":false,"statusCode":413,"message":"Payload too large"}"#);
        assert_eq!(text(Answer::Unreadable, plain), r#"{"ok":false,"statusCode":400,"message":"Invalid JSON in the request body"}"#);
        assert_eq!(text(Answer::DomainNotAllowed, plain), r#"{"ok":false,"statusCode":403,"message":"Domain not allowed"}"#);
        let limited = Answer::TooManyRequests { retry_after: 300 };
        assert_eq!(text(limited, plain), r#"{"ok":false,"statusCode":429,"message":"Too many requests"}"#);
        assert_eq!(limited.into_response(plain).headers()[header::RETRY_AFTER], "300");
        for answer in ERRORS {
            assert_eq!(answer.into_response(plain).headers()[header::CONTENT_TYPE], "application/json", "{answer:?}");
        }
    }

    // MSGGO-33
    #[test]
    fn clients_that_name_json_also_get_the_error_list() {
        for line in ["application/json", "application/json, text/plain, */*", "APPLICATION/JSON;q=0.9"] {
            assert_eq!(
                text(Answer::Unauthorized, accepts(line)),
                concat!(
                    r#"{"ok":false,"statusCode":401,"message":"API key missing in the request","#,
                    r#""errors":[{"error":"unauthorized","message":"API key missing in the request"}]}"#
                ),
                "{line}"
            );
        }
        for answer in ERRORS {
            let body: serde_json::Value = serde_json::from_slice(&answer.body(accepts("application/json")).unwrap()).unwrap();
            assert_eq!(body["errors"][0]["message"], body["message"]);
            assert!(body["errors"][0]["error"].is_string());
        }
    }

    // MSGGO-47
    #[test]
    fn a_preflight_passes_for_the_key_header() {
        let response = Answer::Preflight.into_response(Accepts::default());
        assert_eq!(response.status(), 204);
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, POST, OPTIONS");
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS], "Content-Type, X-MsgGO-Key");
        assert!(!response.headers().contains_key(header::CONTENT_TYPE));
    }

    // MSGGO-48
    #[test]
    fn every_answer_may_be_read_by_any_page() {
        for answer in ERRORS.into_iter().chain([Answer::Accepted]) {
            assert_eq!(answer.into_response(Accepts::default()).headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*", "{answer:?}");
        }
    }

    // MSGGO-39
    #[test]
    fn a_refused_method_names_the_allowed_ones() {
        assert_eq!(Answer::MethodNotAllowed.into_response(Accepts::default()).headers()[header::ALLOW], "GET, POST, OPTIONS");
    }
}
