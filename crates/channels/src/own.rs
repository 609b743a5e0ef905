//! Addresses that this program answers itself.
//!
//! A target may be an address of the very server that sends: a request bin, say. Over the network that would be a private address as any other,
//! and refused. So whoever puts the program together may name such addresses: requests to them are handed over within the process, without a
//! name being looked up or a connection being made, and so without a hole in the guard.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, RETRY_AFTER};
use http::{HeaderValue, Request, Response, Uri};

use crate::http_client::{BODY_KEPT, Draft, Exchange, Target, head_text};

/// Addresses that are answered without a connection.
#[async_trait]
pub trait OwnAddresses: fmt::Debug + Send + Sync {
    /// Whether a URL is one of them. Everything else goes through the guard.
    fn has(&self, url: &Uri) -> bool;

    /// The answer to a request whose URL [`has`](Self::has) agreed to. Dropped when the time of the try is over.
    async fn answer(&self, request: Request<Bytes>) -> Response<Bytes>;
}

/// The same request that would go over a connection.
pub(crate) fn request(target: &Target, draft: Draft<'_>) -> Request<Bytes> {
    let mut request = Request::new(draft.body.clone());
    *request.method_mut() = draft.method.clone();
    *request.uri_mut() = target.absolute.clone();
    let host = target.absolute.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let headers = request.headers_mut();
    headers.extend(host.map(|host| (HOST, host)));
    for (name, value) in draft.headers() {
        headers.append(name.clone(), value.clone());
    }
    if draft.tells_length() {
        headers.insert(CONTENT_LENGTH, draft.body.len().into());
    }
    request
}

/// An answer as any other.
pub(crate) fn exchange(answer: Response<Bytes>) -> Exchange {
    let (head, mut body) = answer.into_parts();
    body.truncate(BODY_KEPT);
    let headers = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Exchange { status: head.status.as_u16(), response: head_text(head.status, headers), body, retry_after, broken: None }
}
