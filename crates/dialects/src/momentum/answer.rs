//! What the API answers: results, and refusals in the vendor's codes (section 5 of the specification).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use posthaste_channels::{Outcome, Report};
use posthaste_engine::ResourceError;
use serde_json::{Map, Value, json};

/// 200 with results.
pub fn results(results: Value) -> Response {
    answer(StatusCode::OK, &json!({ "results": results }))
}

/// 204.
pub fn no_content() -> Response {
    (StatusCode::NO_CONTENT, Body::empty()).into_response()
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, crate::json::CONTENT_TYPE)], body.to_string()).into_response()
}

/// Why a request is not served. Nothing was changed.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    /// No key, or none that is known.
    Unauthorized,
    /// The key lacks the grant.
    Forbidden,
    /// No such webhook or path.
    NotFound,
    /// The path takes these methods.
    MethodNotAllowed(&'static str),
    /// The body is something else than JSON.
    MediaType,
    /// The body is no JSON, too large or incomplete.
    Body(StatusCode, String),
    /// A query parameter cannot be used.
    Parameter(String),
    /// A field that has to be there is not.
    Missing(String),
    /// A field cannot be used.
    Format {
        /// Which.
        field: String,
        /// Why.
        reason: String,
    },
    /// A target, or a token URL, did not answer a test as it has to.
    Test {
        /// `target` or `tokens`.
        what: &'static str,
        /// What it answered instead, or why it did not.
        report: Box<Report>,
    },
    /// Somebody else changed the webhook at the same time, again and again.
    Conflict,
    /// The server cannot serve this now.
    Unavailable(String),
}

impl Refusal {
    /// A field that cannot be used.
    pub fn format(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Format { field: field.into(), reason: reason.into() }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(status, _) => *status,
            Self::Parameter(_) | Self::Test { .. } => StatusCode::BAD_REQUEST,
            Self::Missing(_) | Self::Format { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error(self) -> Value {
        let plain = |message: &str| json!({ "message": message });
        let coded =
            |message: &str, code: &str, description: String| json!({ "message": message, "description": description, "code": code });
        match self {
            Self::Unauthorized => plain("Unauthorized."),
            Self::Forbidden => plain("Forbidden."),
            Self::NotFound => json!({ "message": "resource not found", "code": "1600" }),
            Self::MethodNotAllowed(_) => plain("Method Not Allowed"),
            Self::MediaType => plain("Unsupported Media Type"),
            Self::Body(_, why) | Self::Parameter(why) => coded("invalid params", "1200", why),
            Self::Missing(field) => coded("required field is missing", "1400", format!("field '{field}' is required")),
            Self::Format { field, reason } => coded("invalid data format/type", "1300", format!("field '{field}' {reason}")),
            Self::Test { what, report } => failed_test(what, &report),
            Self::Conflict => coded("resource conflict", "1602", "the webhook was changed meanwhile; try again".to_owned()),
            Self::Unavailable(why) => json!({ "message": "Service Unavailable", "description": why }),
        }
    }
}

/// Here the vendor writes the code as a number.
fn failed_test(what: &str, report: &Report) -> Value {
    let mut error = json!({ "code": 400, "message": format!("POST to webhook {what} URL failed") });
    if report.status.is_some() {
        error["response"] = response(report);
    }
    if let Outcome::Failed(failure) = &report.outcome {
        error["description"] = failure.message.as_str().into();
    }
    error
}

/// What somebody answered, as the API shows it.
pub fn response(report: &Report) -> Value {
    let mut headers: Map<String, Value> = Map::new();
    for (name, value) in report.response.lines().skip(1).filter_map(|line| line.split_once(": ")) {
        match headers.get_mut(name) {
            Some(Value::String(before)) => {
                before.push_str(", ");
                before.push_str(value);
            }
            _ => drop(headers.insert(name.to_owned(), value.into())),
        }
    }
    json!({ "status": report.status, "headers": headers, "body": String::from_utf8_lossy(&report.response_body) })
}

impl From<ResourceError> for Refusal {
    fn from(error: ResourceError) -> Self {
        match error {
            ResourceError::NotFound => Self::NotFound,
            ResourceError::Conflict { .. } => Self::Conflict,
            ResourceError::Invalid { field, reason } => Self::format(field, reason),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let allow = if let Self::MethodNotAllowed(methods) = self { Some(methods) } else { None };
        let mut response = answer(status, &json!({ "errors": [self.error()] }));
        if let Some(methods) = allow {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"webhooks\""));
        }
        response
    }
}
