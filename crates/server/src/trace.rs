//! Around every request: an id, one log line, and an answer even if the handler panics.
//!
//! The line names the matched route, never the path: keys and tokens stand in paths.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use crate::codes::Code;
use crate::problem::Problem;

/// Identifies a request in the answer and in the log; a client may choose it.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client.
const MAX_ID: usize = 128;

/// Distinguishes the requests of one process; ids carry no meaning beyond that.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The id that the client chose, or a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    if let Some(given) = headers.get(&REQUEST_ID)
        && given.len() <= MAX_ID
        && given.as_bytes().iter().all(u8::is_ascii_graphic)
        && !given.is_empty()
    {
        return given.clone();
    }
    // An odd multiplier is a permutation of the numbers: ids differ, and neighbours do not look alike.
    let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut text = [0u8; 16];
    for (at, digit) in text.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (60 - 4 * at)) as usize & 15];
    }
    HeaderValue::from_bytes(&text).expect("hexadecimal digits are a header value")
}

/// Gives the request its id and logs it once it is answered.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    observed(method, route.as_ref().map_or("-", MatchedPath::as_str), id, next.run(request)).await
}

/// The answer with the request's id; the log has a line of it: at debug, at warn when the server failed (but for 503).
pub(crate) async fn observed(method: Method, route: &str, id: HeaderValue, answer: impl Future<Output = Response>) -> Response {
    if !tracing::enabled!(tracing::Level::WARN) {
        return with_id(caught(answer).await, id);
    }
    let started = Instant::now();
    let response = caught(answer).await;
    let status = response.status();
    let request_id = id.to_str().unwrap_or_default();
    let duration_us = started.elapsed().as_micros() as u64;
    // Of a server that takes nothing for now, the log has the cause: a line for each that is turned away would bury it.
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        tracing::warn!(%method, route, status = status.as_u16(), duration_us, request_id, "request failed");
    } else {
        tracing::debug!(%method, route, status = status.as_u16(), duration_us, request_id, "request");
    }
    with_id(response, id)
}

/// The answer, or a problem if making it panicked: the other requests of the connection go on. The panic hook has told the log where.
async fn caught(answer: impl Future<Output = Response>) -> Response {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(_) => Problem::new(Code::Internal, "the server failed; its log says why").into_response(),
    }
}

fn with_id(mut response: Response, id: HeaderValue) -> Response {
    response.headers_mut().insert(&REQUEST_ID, id);
    response
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_and_ids_are_kept() {
        let app = Router::new()
            .route("/good", get(|| async { "good" }))
            .route(
                "/bad",
                get(|| async {
                    if NEXT.load(Ordering::Relaxed) > 0 {
                        panic!("on purpose")
                    }
                }),
            )
            .layer(axum::middleware::from_fn(observe));
        let ask = |path: &str, id: &'static str| {
            let request = Request::builder().uri(path).header(&REQUEST_ID, id).body(Body::empty()).expect("a request");
            app.clone().oneshot(request)
        };
        let failed = ask("/bad", "mine").await.expect("an answer");
        assert_eq!((failed.status().as_u16(), &failed.headers()[&REQUEST_ID]), (500, &HeaderValue::from_static("mine")));
        let good = ask("/good", "not mine: a space").await.expect("an answer");
        assert_eq!((good.status().as_u16(), good.headers()[&REQUEST_ID].len()), (200, 16));
    }

    /// Counts the lines that people are to see.
    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<AtomicU64>);

    impl tracing::Subscriber for Lines {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            *metadata.level() <= tracing::Level::WARN
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            assert!(*event.metadata().level() <= tracing::Level::WARN);
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &tracing::span::Id) {}

        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[tokio::test]
    async fn a_full_disk_does_not_fill_the_log() {
        use posthaste_store::StoreError;

        let lines = Lines::default();
        let _guard = tracing::subscriber::set_default(lines.clone());
        let full = async || Problem::from(StoreError::Full("no space".into())).into_response();
        for _ in 0..100 {
            let response = observed(Method::POST, "/events", HeaderValue::from_static("x"), full()).await;
            assert_eq!(response.status(), 503);
        }
        assert_eq!(lines.0.load(Ordering::Relaxed), 1);
        let failed = async { StatusCode::INTERNAL_SERVER_ERROR.into_response() };
        observed(Method::POST, "/events", HeaderValue::from_static("x"), failed).await;
        assert_eq!(lines.0.load(Ordering::Relaxed), 2);
    }
}
