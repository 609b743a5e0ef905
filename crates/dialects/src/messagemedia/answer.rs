//! Answers: JSON, always, where there is a body at all (MessageMedia 2.2).

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use posthaste_engine::ResourceError;
use serde_json::{Value, json};

use crate::body::BodyError;

/// Why a request was refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// 400 with a text.
    Invalid(String),
    /// 400 of a signature-key call.
    Details(Vec<String>),
    /// 401.
    Unauthorized,
    /// 403: the feature is off.
    FeatureOff,
    /// 403: the key's scopes do not cover it.
    Scope,
    /// 404 with a text.
    NotFound(&'static str),
    /// 405 with the methods that there are.
    MethodNotAllowed(&'static str),
    /// 408.
    TimedOut,
    /// 409.
    Conflict,
    /// 413.
    TooLarge,
    /// 503: trying again helps.
    Unavailable,
    /// 500.
    Failed,
}

/// What 404 says of anything but signature keys.
pub(super) const NOT_FOUND: Refusal = Refusal::NotFound("The resource does not exist.");

impl Refusal {
    pub(super) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid(reason.into())
    }

    pub(super) fn detail(detail: impl Into<String>) -> Self {
        Self::Details(vec![detail.into()])
    }

    pub(super) fn into_response(self) -> Response {
        let status = match &self {
            Self::Invalid(_) | Self::Details(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::FeatureOff | Self::Scope => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let header = match &self {
            Self::Unauthorized => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Posthaste\""))),
            Self::MethodNotAllowed(allowed) => Some((header::ALLOW, HeaderValue::from_static(allowed))),
            Self::Unavailable => Some((header::RETRY_AFTER, HeaderValue::from_static("5"))),
            _ => None,
        };
        let message = match self {
            Self::Details(details) => return json_answer(status, &json!({ "message": "Bad Request", "details": details })),
            Self::Invalid(reason) => reason,
            Self::Unauthorized => "No valid authentication details were provided".to_owned(),
            Self::FeatureOff => "This feature has not been enabled in your account.".to_owned(),
            Self::Scope => "This API key may not do this.".to_owned(),
            Self::NotFound(text) => text.to_owned(),
            Self::MethodNotAllowed(_) => "This method is not allowed here.".to_owned(),
            Self::TimedOut => "The request body did not arrive in time.".to_owned(),
            Self::Conflict => "A webhook with the given url and method already exists.".to_owned(),
            Self::TooLarge => "The request body is too large.".to_owned(),
            Self::Unavailable => "The server cannot store this now. Please try again later.".to_owned(),
            Self::Failed => "Something went wrong. Please try again later.".to_owned(),
        };
        let mut response = json_answer(status, &json!({ "message": message }));
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<ResourceError> for Refusal {
    fn from(error: ResourceError) -> Self {
        match error {
            ResourceError::NotFound => NOT_FOUND,
            ResourceError::Duplicate { .. } | ResourceError::AnotherBody => Self::Conflict,
            ResourceError::Invalid { .. } | ResourceError::Limit { .. } => Self::invalid(error.to_string()),
            ResourceError::Conflict { .. } | ResourceError::InUse { .. } | ResourceError::State { .. } => Self::Unavailable,
            ResourceError::Store(error) => {
                tracing::error!(%error, "a MessageMedia resource could not be stored");
                Self::Unavailable
            }
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::TooLarge,
            BodyError::TimedOut => Self::TimedOut,
            BodyError::Broken => Self::invalid("The request body is incomplete."),
        }
    }
}

/// An answer with a JSON body.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, crate::json::CONTENT_TYPE);
    response
}

/// An answer without a body.
pub(super) fn empty_answer(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
