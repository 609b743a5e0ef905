//! The guarded connector beneath the HTTP client: [`Outlet`] for the connection, rustls on top of it for `https`.
//!
//! Invariant: the time for connecting covers name lookup, TCP and TLS together, and is the one of the try that asked.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::dial::{ConnectError, NetStream, Outlet};
use crate::tls::Tls;

tokio::task_local! {
    /// The time for connecting of the try that is polled; the pooled client has no other way to hand it down.
    pub(crate) static CONNECT_TIMEOUT: Duration;
}

/// For a caller outside of any try.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to the origin of a URL.
#[derive(Clone)]
pub struct GuardedConnector {
    shared: Arc<Shared>,
    is_http1_only: bool,
}

struct Shared {
    outlet: Arc<Outlet>,
    tls: Arc<Tls>,
    opened: AtomicU64,
}

impl GuardedConnector {
    /// A connector through `outlet`.
    pub fn new(outlet: Arc<Outlet>, tls: Arc<Tls>) -> Self {
        Self { shared: Arc::new(Shared { outlet, tls, opened: AtomicU64::new(0) }), is_http1_only: false }
    }

    /// The same connector, offering no HTTP/2.
    pub fn http1_only(&self) -> Self {
        Self { is_http1_only: true, ..self.clone() }
    }

    /// Connections opened so far, handshake included.
    pub fn opened(&self) -> u64 {
        self.shared.opened.load(Ordering::Relaxed)
    }
}

impl Service<Uri> for GuardedConnector {
    type Response = MaybeHttpsStream<TokioIo<TrackedStream>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, origin: Uri) -> Self::Future {
        let within = CONNECT_TIMEOUT.try_with(|within| *within).unwrap_or(DEFAULT_CONNECT_TIMEOUT);
        let (shared, is_http1_only) = (Arc::clone(&self.shared), self.is_http1_only);
        Box::pin(async move {
            let host = bare_host(&origin).ok_or(ConnectError::Unusable { reason: "the URL has no host" })?;
            let stream = timeout(within, shared.open(&origin, host, within, is_http1_only))
                .await
                .unwrap_or_else(|_| Err(ConnectError::TimedOut { host: host.to_owned(), after: within }))?;
            shared.opened.fetch_add(1, Ordering::Relaxed);
            Ok(stream)
        })
    }
}

impl Shared {
    async fn open(
        &self,
        origin: &Uri,
        host: &str,
        within: Duration,
        is_http1_only: bool,
    ) -> Result<MaybeHttpsStream<TokioIo<TrackedStream>>, ConnectError> {
        let encrypted = match origin.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(ConnectError::Unusable { reason: "only http and https can be connected to" }),
        };
        let port = origin.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let stream = TokioIo::new(TrackedStream { stream: self.outlet.connect(host, port, within).await?, used: Used::default() });
        if !encrypted {
            return Ok(MaybeHttpsStream::Http(stream));
        }
        let tls = |source| ConnectError::Tls { host: host.to_owned(), source };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| tls(io::Error::other(error)))?;
        let connector = TlsConnector::from(if is_http1_only { self.tls.web_http1().await } else { self.tls.web().await });
        Ok(MaybeHttpsStream::from(connector.connect(name, TokioIo::new(stream)).await.map_err(tls)?))
    }
}

/// The host of a URL without the brackets of an IPv6 address.
pub(crate) fn bare_host(uri: &Uri) -> Option<&str> {
    let host = uri.host()?;
    Some(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))
}

/// Whether an answer already came over a connection; handed along with each response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Used(Arc<AtomicBool>);

impl Used {
    /// Marks the connection; true if it was marked before.
    pub(crate) fn mark(&self) -> bool {
        self.0.swap(true, Ordering::Relaxed)
    }
}

/// A connection that the pool keeps, with the mark of its use.
#[derive(Debug)]
pub struct TrackedStream {
    stream: Box<dyn NetStream>,
    used: Used,
}

impl Connection for TrackedStream {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.used.clone())
    }
}

impl AsyncRead for TrackedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TrackedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
