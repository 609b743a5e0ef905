//! Problem documents (RFC 9457): the one shape of every error that the native API answers.
//!
//! Invariants:
//! - Every problem has a stable [`Code`]; clients decide by it, never by text.
//! - `type` is a path on this server that serves the page of the code.
//! - Details are written for the caller. What went wrong inside goes to the log, with its chain of causes.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use posthaste_engine::{AcceptError, ActionError, ResourceError, Seldom, SendError};
use posthaste_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::codes::Code;

/// Media type of problem documents.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The most entries that `errors` of one problem lists.
pub const MAX_LISTED_ERRORS: usize = 10;

/// Before the log is told that the disk is full. Of the process, because an error does not know its server; all it does is count lines.
static FULL: Seldom = Seldom::new(Duration::from_secs(10));

/// What one field of a request has wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldProblem {
    /// Path of the field, such as `settings.url` or `[3].type`.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

/// An error on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: String,
    field: Option<String>,
    /// Line and column.
    position: Option<(u32, u32)>,
    errors: Vec<FieldProblem>,
    stored_version: Option<i64>,
    retry_after_s: Option<u32>,
}

/// What went wrong (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// Path on this server of the page that explains the code.
    #[serde(rename = "type")]
    type_path: String,
    /// What kind of problem this is, the same for every problem of the code.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What happened this time.
    detail: &'a str,
    /// Stable code: decide by this.
    code: &'a str,
    /// Path of the field or name of the parameter at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// Line of the body at fault, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// Column in bytes, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    /// All fields at fault, at most ten, when there can be several.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldProblem],
    /// The version that is stored, when another was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_version: Option<i64>,
}

impl Problem {
    /// A problem of this code; `detail` says what happened this time.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { code, detail, field: None, position: None, errors: Vec::new(), stored_version: None, retry_after_s: None }
    }

    /// Names the field or parameter at fault.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Gives the place in the body, line and column counted from 1.
    #[must_use]
    pub fn position(mut self, line: usize, column: usize) -> Self {
        let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        self.position = Some((short(line), short(column)));
        self
    }

    /// Lists several fields; only the first [`MAX_LISTED_ERRORS`] are kept.
    #[must_use]
    pub fn listing(mut self, mut errors: Vec<FieldProblem>) -> Self {
        errors.truncate(MAX_LISTED_ERRORS);
        self.errors = errors;
        self
    }

    /// Tells the client when to come back, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// A field whose value cannot be used.
    pub fn invalid(field: impl Into<String>, reason: impl AsRef<str>) -> Self {
        let field = field.into();
        Self::new(Code::InvalidField, format!("{field}: {}", reason.as_ref())).at(field)
    }

    /// A resource that does not exist, or not in the caller's workspace.
    pub fn not_found(noun: &str, id: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no {noun} {}", shortened(id)))
    }

    /// What was asked for may have been made at another node a moment ago.
    pub fn cut_off() -> Self {
        Self::new(Code::DatabaseUnavailable, "the database does not answer; it is reached for until it does").retry_after(2)
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The field at fault.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// What happened.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Puts a prefix before every field path: used when the bad value came from inside a list.
    #[must_use]
    pub(crate) fn under(mut self, prefix: &str) -> Self {
        self.field = Some(match self.field {
            Some(field) => crate::input::join_path(prefix, &field),
            None => prefix.to_owned(),
        });
        self
    }
}

/// Foreign text as a message may quote it.
fn shortened(text: &str) -> String {
    let mut quoted: String = text.chars().take(64).filter(|c| !c.is_control()).collect();
    if text.chars().nth(64).is_some() {
        quoted.push('…');
    }
    format!("{quoted:?}")
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let body = ProblemBody {
            type_path: format!("/posthaste/v1/errors/{}", self.code.name()),
            title: self.code.title(),
            status: status.as_u16(),
            detail: &self.detail,
            code: self.code.name(),
            field: self.field.as_deref(),
            line: self.position.map(|(line, _)| line as usize),
            column: self.position.map(|(_, column)| column as usize),
            errors: &self.errors,
            stored_version: self.stored_version,
        };
        let bytes = serde_json::to_vec(&body).expect("strings and numbers always serialise");
        let fixed = HeaderValue::from_static;
        let headers = [(header::CONTENT_TYPE, fixed(PROBLEM_JSON)), (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"))];
        let mut response = (status, headers, bytes).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"posthaste\""));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(_) => {
                if let Some(unsaid) = FULL.turn() {
                    tracing::error!(error = &error as &dyn std::error::Error, unsaid, "the store refuses writes");
                }
                Self::new(Code::StorageFull, "the disk is full or not writable; nothing was stored").retry_after(30)
            }
            StoreError::Closed => Self::new(Code::ShuttingDown, "the server is shutting down").retry_after(1),
            StoreError::Unavailable(_) | StoreError::Fenced => {
                Self::new(Code::DatabaseUnavailable, "the database does not answer; it is reached for until it does").retry_after(2)
            }
            other => {
                tracing::error!(error = &other as &dyn std::error::Error, "storage failed");
                Self::new(Code::StorageFailed, "the store could not do this; the server's log says why")
            }
        }
    }
}

fn another_body() -> Problem {
    Problem::new(Code::IdempotencyMismatch, "this Idempotency-Key was used with another body").at("Idempotency-Key")
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::IdempotencyMismatch => another_body(),
            AcceptError::Overloaded => Self::new(Code::Overloaded, "too many events are being accepted; nothing was stored").retry_after(1),
            AcceptError::Full => Self::new(Code::StorageFull, "the disk is full or not writable; nothing was stored").retry_after(30),
            AcceptError::Closing => Self::new(Code::ShuttingDown, "the server is shutting down; nothing was stored").retry_after(1),
            AcceptError::Unavailable => {
                Self::new(Code::DatabaseUnavailable, "the database does not answer; the event is not known to be stored").retry_after(2)
            }
            AcceptError::Store(error) => {
                tracing::error!(error = &*error as &dyn std::error::Error, "storage failed");
                Self::new(Code::StorageFailed, "the store could not do this; the server's log says why")
            }
        }
    }
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Accept(error) => error.into(),
            SendError::Carrier(error) => error.into(),
            SendError::Store(error) => error.into(),
            SendError::Recipients => Self::invalid("to", error.to_string()),
        }
    }
}

impl From<ActionError> for Problem {
    fn from(error: ActionError) -> Self {
        match error {
            ActionError::Accept(error) => error.into(),
            ActionError::Store(error) => error.into(),
        }
    }
}

impl From<ResourceError> for Problem {
    fn from(error: ResourceError) -> Self {
        match error {
            ResourceError::NotFound => Self::new(Code::NotFound, "there is no such resource in this workspace"),
            ResourceError::Conflict { expected, found } => {
                let detail = format!("version {expected} was expected, {found} is stored");
                Self { stored_version: Some(found), ..Self::new(Code::VersionConflict, detail).at("version") }
            }
            ResourceError::Invalid { field, reason } => Self::invalid(field, reason),
            ResourceError::Duplicate { field } => {
                Self::new(Code::Duplicate, format!("{field}: another resource of this workspace has this value")).at(field)
            }
            ResourceError::AnotherBody => another_body(),
            ResourceError::Limit { what, limit } => Self::new(Code::LimitReached, format!("at most {limit} {what} are allowed")),
            ResourceError::InUse { by } => Self::new(Code::InUse, format!("it is used by {by}")),
            ResourceError::State { reason } => Self::new(Code::WrongState, reason.to_string()),
            ResourceError::Store(error) => error.into(),
        }
    }
}
