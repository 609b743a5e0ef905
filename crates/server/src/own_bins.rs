//! What this server sends to its own request bins: it is handed over in this process.
//!
//! A bin's URL is the server's public one, and with the default settings that is an address on this machine, which no target may have. Bins are
//! meant to be sent to all the same. So exactly they are open, and nothing else of the server is: the URL begins with the public address
//! and `/bin/`, no connection is made, and whatever the path says, only bins answer it.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use posthaste_channels::OwnAddresses;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::{AppState, bins, route_not_found};

/// Where bins are, below the server's public address.
const BELOW: &str = "/bin/";

/// The request bins of a server, for its channels.
#[derive(Debug)]
pub struct OwnBins {
    base: Option<Base>,
    /// What answers, as soon as the server is put together. It holds the engine, which holds the channels, which hold this: it has to be taken
    /// out again, by [`OpenBins`].
    router: watch::Sender<Option<Router>>,
}

/// Keeps [`OwnBins`] answering; they hold the engine for so long.
#[derive(Debug)]
#[must_use]
pub struct OpenBins(Arc<OwnBins>);

/// A public address.
#[derive(Debug, PartialEq, Eq)]
struct Base {
    scheme: String,
    host: String,
    port: u16,
    /// Without a slash at the end.
    path: String,
}

/// Scheme, host and port of a URL. Nobody is meant by a URL with a user name.
fn origin(url: &Uri) -> Option<(&str, &str, u16)> {
    let (scheme, authority) = (url.scheme_str()?, url.authority().filter(|authority| !authority.as_str().contains('@'))?);
    let port = match (authority.port_u16(), scheme) {
        (Some(port), _) => port,
        (None, "https") => 443,
        (None, _) => 80,
    };
    Some((scheme, authority.host(), port))
}

impl Base {
    fn of(url: &str) -> Option<Self> {
        let url: Uri = url.parse().ok()?;
        let (scheme, host, port) = origin(&url)?;
        Some(Self { scheme: scheme.to_owned(), host: host.to_owned(), port, path: url.path().trim_end_matches('/').to_owned() })
    }

    /// Path and query of a bin's URL as this server knows them; `None` if it is no bin's.
    fn below<'a>(&self, url: &'a Uri) -> Option<&'a str> {
        let (scheme, host, port) = origin(url)?;
        let is_ours = scheme == self.scheme && host.eq_ignore_ascii_case(&self.host) && port == self.port;
        let path = url.path_and_query().filter(|_| is_ours)?.as_str().strip_prefix(&self.path)?;
        path.starts_with(BELOW).then_some(path)
    }
}

impl OwnBins {
    /// The bins of the server that others reach at this URL. What is sent to them before [`open`](Self::open) waits.
    pub fn new(public_base_url: &str) -> Arc<Self> {
        Arc::new(Self { base: Base::of(public_base_url), router: watch::Sender::new(None) })
    }

    /// Lets requests arrive, until what this answers is dropped.
    pub fn open(self: &Arc<Self>, state: &AppState) -> OpenBins {
        self.router.send_replace(Some(bins::router().fallback(route_not_found).with_state(state.clone())));
        OpenBins(Arc::clone(self))
    }
}

impl Drop for OpenBins {
    fn drop(&mut self) {
        self.0.router.send_replace(None);
    }
}

#[async_trait]
impl OwnAddresses for OwnBins {
    fn has(&self, url: &Uri) -> bool {
        self.base.as_ref().is_some_and(|base| base.below(url).is_some())
    }

    async fn answer(&self, mut request: Request<Bytes>) -> Response<Bytes> {
        let below = self.base.as_ref().and_then(|base| base.below(request.uri())).and_then(|path| path.parse::<PathAndQuery>().ok());
        let Some(below) = below else { return whole(route_not_found(request.uri().clone()).await).await };
        *request.uri_mut() = Uri::from(below);
        let mut opened = self.router.subscribe();
        // The sender is this; what is never opened is given up by whoever waits.
        let router = match opened.wait_for(Option::is_some).await {
            Ok(router) => router.clone().unwrap_or_default(),
            Err(_) => Router::new(),
        };
        let Ok(answer) = router.oneshot(request.map(Body::from)).await;
        whole(answer).await
    }
}

/// An answer with its body, which is this server's own and at most one page of a bin.
async fn whole(answer: Response<Body>) -> Response<Bytes> {
    let (head, body) = answer.into_response().into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    Response::from_parts(head, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below<'a>(base: &str, url: &'a Uri) -> Option<&'a str> {
        Base::of(base).expect("a URL").below(url)
    }

    #[test]
    fn only_bins_of_exactly_this_address_are_own() {
        let base = "http://127.0.0.1:8080";
        for (url, path) in [
            ("http://127.0.0.1:8080/bin/1-abc", Some("/bin/1-abc")),
            ("http://127.0.0.1:8080/bin/1-abc/x?y=z", Some("/bin/1-abc/x?y=z")),
            ("http://127.0.0.1:8080/bin", None),
            ("http://127.0.0.1:8080/", None),
            ("http://127.0.0.1:8080/binary/x", None),
            ("http://127.0.0.1:8080//bin/x", None),
            ("http://127.0.0.1:8080/posthaste/v1/events?/bin/x", None),
            ("http://127.0.0.1:8080/console/../bin/x", None),
            ("http://127.0.0.1:8081/bin/1-abc", None),
            ("http://127.0.0.1/bin/1-abc", None),
            ("https://127.0.0.1:8080/bin/1-abc", None),
            ("http://localhost:8080/bin/1-abc", None),
            ("http://127.1:8080/bin/1-abc", None),
            ("http://127.0.0.1.evil.example:8080/bin/1-abc", None),
            ("http://127.0.0.1:8080@evil.example/bin/1-abc", None),
            ("http://a@127.0.0.1:8080/bin/1-abc", None),
        ] {
            let parsed: Uri = url.parse().expect("a URL");
            assert_eq!(below(base, &parsed), path, "{url}");
        }
    }

    #[test]
    fn default_ports_and_a_path_in_the_public_address_are_understood() {
        for (base, url, path) in [
            ("https://Events.example", "https://events.example:443/bin/1-a", Some("/bin/1-a")),
            ("https://events.example:443/", "https://events.example/bin/1-a", Some("/bin/1-a")),
            ("https://example.com/hooks", "https://example.com/hooks/bin/1-a?b", Some("/bin/1-a?b")),
            ("https://example.com/hooks", "https://example.com/bin/1-a", None),
            ("https://example.com/hooks", "https://example.com/hooksbin/1-a", None),
        ] {
            let url: Uri = url.parse().expect("a URL");
            assert_eq!(below(base, &url), path, "{base} {url}");
        }
    }
}
