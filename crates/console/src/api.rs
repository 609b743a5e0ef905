//! The wall: the console is a client of the native API.
//!
//! Requests go to the native router in this process, with the person's [`Principal`] as an extension where others send a key. Everything that
//! the API checks, limits, logs and audits is so for the console too, and nothing is decided twice. Answers are read into small structs of the
//! pages; a problem document becomes a [`Failure`] that a form shows at its fields ([`crate::form::Draft::refused`]).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use posthaste_server::people::PeopleError;
use posthaste_server::{Closing, Principal};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt;

use crate::query::link;

/// Where the native API lives.
const PREFIX: &str = "/posthaste/v1";
/// Largest answer that is read: a page of a list is capped below this by the API.
const MAX_ANSWER: usize = 64 << 20;

/// What went wrong, as the API said it (RFC 9457).
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Problem {
    /// Path of the page that explains the code.
    #[serde(rename = "type", default)]
    pub type_path: String,
    /// Status.
    #[serde(default)]
    pub status: u16,
    /// What kind of problem.
    #[serde(default)]
    pub title: String,
    /// What happened this time.
    #[serde(default)]
    pub detail: String,
    /// Stable code.
    #[serde(default)]
    pub code: String,
    /// The field at fault.
    pub field: Option<String>,
    /// Line of the body at fault.
    pub line: Option<u32>,
    /// Column in bytes.
    pub column: Option<u32>,
    /// The version that is stored, when somebody else saved meanwhile.
    pub stored_version: Option<i64>,
    /// All fields at fault.
    #[serde(default)]
    pub errors: Vec<FieldProblem>,
}

/// What one field has wrong.
#[derive(Clone, Debug, Deserialize)]
pub struct FieldProblem {
    /// Path of the field.
    pub field: String,
    /// What is wrong.
    pub detail: String,
}

/// Why a call gave no answer that can be shown.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The API refused, and said why.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// The answer was not what this console knows how to read: a mistake of ours.
    #[error("an answer of the server could not be read: {0}")]
    Unreadable(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl Failure {
    /// An answer that could not be read, and why.
    pub(crate) fn unreadable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unreadable(Arc::from(why.into()))
    }

    /// What is asked for is not there, or not any more.
    pub fn not_found(detail: String) -> Self {
        Self::Refused(Box::new(Problem { status: 404, title: "Not found".into(), detail, code: "not_found".into(), ..Problem::default() }))
    }

    /// The status that a page about it has.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Refused(problem) => StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            Self::Unreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The stable code; `""` if there is none.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(problem) => &problem.code,
            Self::Unreadable(_) => "",
        }
    }

    /// Whether a list refused a filter, which is shown at its field. A cursor is typed by nobody.
    pub fn is_about_a_filter(&self) -> bool {
        self.code().starts_with("invalid") && self.code() != "invalid_cursor"
    }

    /// The same with its fields as a form names them.
    #[must_use]
    pub fn renamed(&self, rename: impl Fn(&str) -> String) -> Self {
        let mut problem = self.problem();
        let own = |field: &str, detail: &str| {
            let name = rename(field);
            let detail = detail.strip_prefix(field).and_then(|rest| rest.strip_prefix(": ")).map(|reason| format!("{name}: {reason}"));
            (name, detail)
        };
        if let Some(field) = &problem.field {
            let (name, detail) = own(field, &problem.detail);
            problem.detail = detail.unwrap_or(problem.detail);
            problem.field = Some(name);
        }
        for error in &mut problem.errors {
            let (name, detail) = own(&error.field, &error.detail);
            *error = FieldProblem { field: name, detail: detail.unwrap_or_else(|| error.detail.clone()) };
        }
        Self::Refused(Box::new(problem))
    }

    /// As a problem, whatever it is.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Refused(problem) => (**problem).clone(),
            Self::Unreadable(_) => Problem { status: 500, title: "Internal error".into(), detail: self.to_string(), ..Problem::default() },
        }
    }
}

/// What the people of the server refused: no matter of a workspace, and told in the same way.
impl From<PeopleError> for Failure {
    fn from(error: PeopleError) -> Self {
        let problem = posthaste_server::Problem::from(error);
        let (code, field) = (problem.code(), problem.field().map(str::to_owned));
        Self::Refused(Box::new(Problem {
            type_path: format!("{PREFIX}/errors/{}", code.name()),
            status: code.status().as_u16(),
            title: code.title().to_owned(),
            detail: problem.detail().to_owned(),
            code: code.name().to_owned(),
            field,
            ..Problem::default()
        }))
    }
}

/// Pages of a list that are read one after the other.
const MOST_PAGES: usize = 20;

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the list goes on.
    pub next: Option<String>,
}

/// The native API, as one person uses it from one address.
#[derive(Clone)]
pub struct Api {
    native: Router,
    who: Option<Principal>,
    peer: Option<SocketAddr>,
    closing: Option<Closing>,
}

impl Api {
    /// A client that presents nothing.
    pub(crate) fn stranger(native: Router, peer: Option<SocketAddr>, closing: Option<Closing>) -> Self {
        Self { native, who: None, peer, closing }
    }

    /// What tells long-lived answers that the server closes.
    pub(crate) fn closing(&self) -> Option<Closing> {
        self.closing.clone()
    }

    /// The same, as a person who is logged in.
    pub(crate) fn with(&self, who: Principal) -> Self {
        Self { who: Some(who), ..self.clone() }
    }

    /// Reads. Paths are below `/posthaste/v1`; build them with [`crate::query::link`] and [`segment`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        read(&self.bytes(Method::GET, path, None).await?)
    }

    /// Reads a list to its end, or as far as [`MOST_PAGES`] pages reach. `path` has a query.
    pub async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Failure> {
        let Page { mut items, mut next } = self.get::<Page<T>>(path).await?;
        for _ in 1..MOST_PAGES {
            let Some(cursor) = next else { break };
            let page: Page<T> = self.get(&link(path, [("cursor", cursor.as_str())])).await?;
            items.extend(page.items);
            next = page.next;
        }
        Ok(items)
    }

    /// Reads; `None` when there is no such thing.
    pub async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Failure> {
        match self.get(path).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.status() == StatusCode::NOT_FOUND => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Sends a JSON document and reads the answer.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failure> {
        read(&self.bytes(Method::POST, path, Some(body.to_string().into())).await?)
    }

    /// Sends a JSON document that is to be acted upon once, however often it comes with this key.
    pub async fn post_once<T: DeserializeOwned>(&self, path: &str, key: &str, body: &Value) -> Result<T, Failure> {
        let key = http::HeaderValue::from_str(key).map_err(|error| Failure::Unreadable(Arc::new(error)))?;
        let headers = [(http::HeaderName::from_static("idempotency-key"), key)].into_iter().collect();
        read(&self.bytes_with(Method::POST, path, headers, Some(body.to_string().into())).await?)
    }

    /// Sends JSON text as it is: payloads keep their bytes.
    pub async fn post_text<T: DeserializeOwned>(&self, path: &str, body: String) -> Result<T, Failure> {
        read(&self.bytes(Method::POST, path, Some(body.into())).await?)
    }

    /// Changes some fields (merge patch).
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failure> {
        read(&self.bytes(Method::PATCH, path, Some(body.to_string().into())).await?)
    }

    /// Replaces.
    pub async fn put<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failure> {
        read(&self.bytes(Method::PUT, path, Some(body.to_string().into())).await?)
    }

    /// Does something that needs no document, and reads the answer: `POST` without a body.
    pub async fn post_empty<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        read(&self.bytes(Method::POST, path, None).await?)
    }

    /// Does something whose answer is of no interest: `POST` without a body.
    pub async fn act(&self, path: &str) -> Result<(), Failure> {
        self.bytes(Method::POST, path, None).await.map(drop)
    }

    /// Sends a JSON document; the answer is of no interest, or there is none.
    pub async fn tell(&self, path: &str, body: &Value) -> Result<(), Failure> {
        self.bytes(Method::POST, path, Some(body.to_string().into())).await.map(drop)
    }

    /// Deletes.
    pub async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.bytes(Method::DELETE, path, None).await.map(drop)
    }

    /// The bytes of an answer, for what must stay byte for byte.
    pub async fn bytes(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Bytes, Failure> {
        self.bytes_with(method, path, HeaderMap::new(), body).await
    }

    async fn bytes_with(&self, method: Method, path: &str, headers: HeaderMap, body: Option<Bytes>) -> Result<Bytes, Failure> {
        let response = self.send(method, path, headers, body).await;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let bytes = body.map_err(Failure::unreadable)?.to_bytes();
        if status.is_success() {
            return Ok(bytes);
        }
        let mut problem: Problem = serde_json::from_slice(&bytes).unwrap_or_else(|_| Problem {
            detail: format!("the server answered {status}"),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            ..Problem::default()
        });
        problem.status = status.as_u16();
        Err(Failure::Refused(Box::new(problem)))
    }

    /// A vendor's API, whose answers are the vendor's own: the status and the bytes. `path` is whole, `kind` the type of the body.
    pub async fn vendor(
        &self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let headers = [(header::CONTENT_TYPE, http::HeaderValue::from_static(kind))].into_iter().filter(|_| body.is_some()).collect();
        let response = self.ask(method, path, headers, body).await;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok((status, body.map_err(Failure::unreadable)?.to_bytes()))
    }

    /// The answer itself: streams, and routes that set cookies.
    pub async fn send(&self, method: Method, path: &str, mut headers: HeaderMap, body: Option<Bytes>) -> Response<Body> {
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        }
        self.ask(method, &format!("{PREFIX}{path}"), headers, body).await
    }

    async fn ask(&self, method: Method, path: &str, headers: HeaderMap, body: Option<Bytes>) -> Response<Body> {
        let request = Request::builder().method(method).uri(path);
        let request = match request.body(body.map_or_else(Body::empty, Body::from)) {
            Ok(request) => request,
            // Only a path that somebody typed into the address bar gets here.
            Err(_) => return response(StatusCode::NOT_FOUND),
        };
        let mut request = request;
        *request.headers_mut() = headers;
        let extensions = request.extensions_mut();
        if let Some(who) = &self.who {
            extensions.insert(who.clone());
        }
        if let Some(peer) = self.peer {
            extensions.insert(ConnectInfo(peer));
        }
        if let Some(closing) = &self.closing {
            extensions.insert(closing.clone());
        }
        match self.native.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }
}

fn response(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        tracing::error!(%error, "an answer of the native API is not what the console expects");
        Failure::unreadable(error)
    })
}

/// A part of a path, percent-encoded: ids come from addresses that people can edit.
pub fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
            b'.' if text != "." && text != ".." => ".".to_owned(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn parts_of_paths_cannot_leave_their_place() {
        assert_eq!(
            (segment("a/../b?c"), segment(".."), segment("order.paid")),
            ("a%2F..%2Fb%3Fc".into(), "%2E%2E".into(), "order.paid".into())
        );
    }
}
