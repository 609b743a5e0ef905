//! Errors as MsGine words them (MsGine 3.1), and the headers of the rate limit.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use posthaste_domain::policy::limiter::Standing;
use posthaste_engine::AcceptError;
use serde::Serialize;
use serde_json::{Map, Value, json};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// A request that is not granted.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// No credential, or one that nobody has.
    Unauthorized,
    /// The key may not do this.
    Forbidden,
    /// There is no such message, or nothing at this path.
    NotFound(&'static str),
    /// The path takes other methods.
    MethodNotAllowed(&'static str),
    /// Too many requests; whole seconds to wait.
    RateLimited(i64),
    /// The request cannot be served as it is.
    Invalid(Box<Invalid>),
    /// The body is larger than the server takes, or did not arrive in time.
    Body(StatusCode, &'static str),
    /// The server failed. The log says why.
    Internal,
    /// Nothing was stored; it works again after some seconds.
    Unavailable(u32),
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Invalid {
    code: &'static str,
    message: Cow<'static, str>,
    details: Map<String, Value>,
}

impl Invalid {
    fn refusal(code: &'static str, message: impl Into<Cow<'static, str>>, details: Value) -> Refusal {
        let details = if let Value::Object(details) = details { details } else { Map::new() };
        Refusal::Invalid(Box::new(Self { code, message: message.into(), details }))
    }
}

impl Refusal {
    /// A number that is not E.164.
    pub fn phone_number(value: Value) -> Self {
        let details = json!({ "field": "to", "value": value, "expected": "+[country code][number]" });
        Invalid::refusal("invalid_phone_number", "The phone number must be in E.164 format", details)
    }

    /// A text over the limit.
    pub fn message_too_long(max: usize, actual: usize) -> Self {
        let details = json!({ "field": "message", "maxLength": max, "actualLength": actual });
        Invalid::refusal("invalid_message", format!("Message exceeds maximum length of {max} characters"), details)
    }

    /// A blank or absent text.
    pub fn message_required() -> Self {
        Invalid::refusal("invalid_message", "Message is required", json!({ "field": "message" }))
    }

    /// A sender ID that carriers refuse.
    pub fn sender_id(value: &str) -> Self {
        let details = json!({ "field": "from", "value": value, "maxLength": 11 });
        Invalid::refusal("invalid_sender_id", "Sender ID must be alphanumeric and max 11 characters", details)
    }

    /// A callback URL that is no HTTPS URL.
    pub fn callback_url(value: &str) -> Self {
        let details = json!({ "field": "callbackUrl", "value": value });
        Invalid::refusal("invalid_callback_url", "Callback URL must use HTTPS", details)
    }

    /// More callback hosts in use than the server keeps.
    pub fn callback_hosts(value: &str) -> Self {
        let details = json!({ "field": "callbackUrl", "value": value });
        Invalid::refusal("invalid_callback_url", "Too many different callback hosts are in use", details)
    }

    /// Any other field.
    pub fn field(field: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Invalid::refusal("invalid_request", message, json!({ "field": field }))
    }

    /// The body as a whole.
    pub fn request(message: impl Into<Cow<'static, str>>) -> Self {
        Invalid::refusal("invalid_request", message, Value::Null)
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Body(status, _) => *status,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error(&self) -> Error<'_> {
        let plain = |code, message| Error { code, message, details: None, retry_after: None };
        match self {
            Self::Unauthorized => plain("unauthorized", "Invalid API token"),
            Self::Forbidden => plain("forbidden", "Insufficient permissions"),
            Self::NotFound(message) => plain("not_found", message),
            Self::MethodNotAllowed(_) => plain("method_not_allowed", "Method not allowed"),
            Self::RateLimited(seconds) => {
                let error = plain("rate_limit_exceeded", "Too many requests. Please try again later.");
                Error { retry_after: Some(*seconds), ..error }
            }
            Self::Invalid(invalid) => {
                let details = (!invalid.details.is_empty()).then_some(&invalid.details);
                Error { details, ..plain(invalid.code, &invalid.message) }
            }
            Self::Body(_, message) => plain("invalid_request", message),
            Self::Internal => plain("internal_error", "An internal error occurred"),
            Self::Unavailable(_) => plain("service_unavailable", "The service is unavailable. Please try again later."),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Error<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<i64>,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            error: Error<'a>,
        }
        let mut response = json_answer(self.status(), &Body { error: self.error() });
        let headers = response.headers_mut();
        match self {
            Self::RateLimited(seconds) => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds))),
            Self::Unavailable(seconds) => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds))),
            Self::MethodNotAllowed(allowed) => drop(headers.insert(header::ALLOW, HeaderValue::from_static(allowed))),
            _ => {}
        }
        response
    }
}

impl From<AcceptError> for Refusal {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::IdempotencyMismatch => Self::field("idempotencyKey", "The key was used for a different message"),
            AcceptError::Overloaded => Self::Unavailable(1),
            AcceptError::Unavailable => Self::Unavailable(2),
            AcceptError::Closing => Self::Unavailable(5),
            AcceptError::Full => Self::Unavailable(60),
            error => {
                tracing::error!(%error, "a message could not be stored");
                Self::Internal
            }
        }
    }
}

/// An answer without an envelope (MsGine 3).
pub fn json_answer(status: StatusCode, body: &impl Serialize) -> Response {
    let bytes = serde_json::to_vec(body).expect("answers always serialise");
    let nosniff = (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    (status, [(header::CONTENT_TYPE, crate::json::CONTENT_TYPE), nosniff], bytes).into_response()
}

/// Adds what every authenticated answer says of the rate limit (MsGine 3.2).
pub fn with_standing(mut response: Response, standing: Standing) -> Response {
    let headers = response.headers_mut();
    headers.insert(LIMIT, HeaderValue::from(standing.limit));
    headers.insert(REMAINING, HeaderValue::from(standing.remaining));
    headers.insert(RESET, HeaderValue::from(seconds_up(standing.reset_ms)));
    response
}

/// Whole seconds, rounded up: who waits so long does not come too early.
pub fn seconds_up(ms: i64) -> i64 {
    ms.div_euclid(1000) + i64::from(ms.rem_euclid(1000) > 0)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn text(refusal: Refusal) -> (u16, String) {
        let response = refusal.into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn errors_are_spelled_as_documented() {
        for (refusal, status, body) in [
            (Refusal::Unauthorized, 401, r#"{"error":{"code":"unauthorized","message":"Invalid API token"}}"#),
            (Refusal::Forbidden, 403, r#"{"error":{"code":"forbidden","message":"Insufficient permissions"}}"#),
            (
                Refusal::phone_number(json!("0701234567")),
                400,
                r#"{"error":{"code":"invalid_phone_number","message":"The phone number must be in E.164 format","details":{"field":"to","value":"0701234567","expected":"+[country code][number]"}}}"#,
            ),
            (
                Refusal::message_too_long(1600, 1850),
                400,
                r#"{"error":{"code":"invalid_message","message":"Message exceeds maximum length of 1600 characters","details":{"field":"message","maxLength":1600,"actualLength":1850}}}"#,
            ),
            (
                Refusal::sender_id("a b"),
                400,
                r#"{"error":{"code":"invalid_sender_id","message":"Sender ID must be alphanumeric and max 11 characters","details":{"field":"from","value":"a b","maxLength":11}}}"#,
            ),
            (
                Refusal::RateLimited(60),
                429,
                r#"{"error":{"code":"rate_limit_exceeded","message":"Too many requests. Please try again later.","retryAfter":60}}"#,
            ),
        ] {
            assert_eq!(text(refusal).await, (status, body.to_owned()));
        }
    }

    #[test]
    fn what_can_be_tried_again_says_when() {
        for error in [AcceptError::Overloaded, AcceptError::Unavailable, AcceptError::Full, AcceptError::Closing] {
            let response = Refusal::from(error).into_response();
            assert_eq!(response.status(), 503);
            assert!(response.headers().contains_key(header::RETRY_AFTER));
        }
        assert_eq!((seconds_up(59_001), seconds_up(60_000), seconds_up(1)), (60, 60, 1));
    }
}
