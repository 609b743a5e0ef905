//! What the Mailgun surface answers: JSON in its shapes, and each refusal in the words of the service that refuses.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// Seconds after which a client may come back that met the rate limit of the webhooks API.
const RATE_SECONDS: u32 = 60;

/// Which of Mailgun's services a request is for: they say "no" in different words (`docs/dialects/mailgun.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Webhooks, signing key: JSON.
    Webhooks,
    /// Messages, events, domains: plain text.
    Messages,
}

/// A JSON answer.
pub(crate) fn json_answer(status: StatusCode, body: &Value) -> Response {
    json_text(status, body.to_string().into_bytes())
}

/// An answer that is JSON text already.
pub(crate) fn json_text(status: StatusCode, body: Vec<u8>) -> Response {
    typed(status, JSON, body)
}

/// 200 with a JSON body.
pub(crate) fn ok(body: &Value) -> Response {
    json_answer(StatusCode::OK, body)
}

/// 204.
pub(crate) fn no_content() -> Response {
    with_common_headers((StatusCode::NO_CONTENT, Body::empty()).into_response())
}

fn typed(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Response {
    with_common_headers((status, [(header::CONTENT_TYPE, content_type)], body).into_response())
}

fn with_common_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// A request that is not served. Boxed, since every step before an answer may end with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal(Box<Said>);

#[derive(Clone, Debug, PartialEq)]
struct Said {
    status: StatusCode,
    body: RefusalBody,
    header: Option<(HeaderName, HeaderValue)>,
}

#[derive(Clone, Debug, PartialEq)]
enum RefusalBody {
    Json(Value),
    Text(&'static str),
}

impl Refusal {
    /// `{"message": …}`.
    pub(crate) fn message(status: StatusCode, text: impl Into<String>) -> Self {
        Self::json(status, json!({ "message": text.into() }))
    }

    /// 400 `{"message": …}`.
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::message(StatusCode::BAD_REQUEST, text)
    }

    /// 400 with the documented `Reason`, and `message`, which is what clients show (O-3).
    pub(crate) fn reason(text: impl Into<String>) -> Self {
        let text = text.into();
        Self::json(StatusCode::BAD_REQUEST, json!({ "Reason": text, "message": text }))
    }

    /// The documented `Description`, and `message`.
    pub(crate) fn description(status: StatusCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Self::json(status, json!({ "Description": text, "message": text }))
    }

    /// 400 with the documented `Field` and `Value`, and `message`.
    pub(crate) fn field(field: &str, problem: Option<&str>) -> Self {
        let message = format!("{field}: {}", problem.unwrap_or("missing parameter"));
        let body = match problem {
            Some(problem) => json!({ "Field": field, "Value": problem, "message": message }),
            None => json!({ "Field": field, "message": message }),
        };
        Self::json(StatusCode::BAD_REQUEST, body)
    }

    /// No key, or none that there is.
    pub(crate) fn unauthorized(service: Service) -> Self {
        let challenge = (header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"MG API\""));
        let body = match service {
            Service::Webhooks => RefusalBody::Json(json!({ "message": "Invalid private key" })),
            Service::Messages => RefusalBody::Text("Forbidden"),
        };
        Self(Box::new(Said { status: StatusCode::UNAUTHORIZED, body, header: Some(challenge) }))
    }

    /// The key may not do this.
    pub(crate) fn forbidden() -> Self {
        Self::message(StatusCode::FORBIDDEN, "Forbidden")
    }

    /// No such domain.
    pub(crate) fn no_domain() -> Self {
        Self::message(StatusCode::NOT_FOUND, "Domain not found")
    }

    /// A webhook name that is not set.
    pub(crate) fn no_webhook() -> Self {
        Self::message(StatusCode::NOT_FOUND, "Webhook not found")
    }

    /// More requests than the webhooks API takes.
    pub(crate) fn too_many_requests() -> Self {
        let mut refusal = Self::json(StatusCode::TOO_MANY_REQUESTS, json!({ "retry-seconds": RATE_SECONDS }));
        refusal.0.header = Some((header::RETRY_AFTER, HeaderValue::from(RATE_SECONDS)));
        refusal
    }

    /// The server cannot serve this now.
    pub(crate) fn unavailable(seconds: u32) -> Self {
        let mut refusal = Self::message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
        refusal.0.header = Some((header::RETRY_AFTER, HeaderValue::from(seconds)));
        refusal
    }

    /// The server failed; what happened is in the log.
    pub(crate) fn internal() -> Self {
        Self::message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
    }

    fn json(status: StatusCode, body: Value) -> Self {
        Self(Box::new(Said { status, body: RefusalBody::Json(body), header: None }))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Said { status, body, header } = *self.0;
        let mut response = match body {
            RefusalBody::Json(body) => json_answer(status, &body),
            RefusalBody::Text(text) => typed(status, TEXT, text.into()),
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // MAILGUN-2, MAILGUN-3, MAILGUN-4
    #[tokio::test]
    async fn each_service_refuses_a_key_in_its_own_words() {
        use http_body_util::BodyExt;
        for (service, content_type, body) in [
            (Service::Webhooks, "application/json; charset=utf-8", r#"{"message":"Invalid private key"}"#),
            (Service::Messages, "text/plain; charset=utf-8", "Forbidden"),
        ] {
            let response = Refusal::unauthorized(service).into_response();
            assert_eq!(response.status(), 401);
            assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Basic realm=\"MG API\"");
            assert_eq!(response.headers()[header::CONTENT_TYPE], content_type);
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
        }
    }
}
