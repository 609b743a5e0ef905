//! The way to an origin: [`Outlet`] for the connection, rustls on top of it for `https`.
//!
//! Invariant: what is connected to is what the outlet vetted; nothing here resolves or connects by itself.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::dial::{ConnectError, NetStream, Outlet};
use crate::tls::Tls;

/// Scheme, host and port of a URL, and whether HTTP/2 may be spoken there: what connections are shared by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// As the target's owner wrote it, without the brackets of an IPv6 address.
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    pub(crate) is_encrypted: bool,
    /// Offered during the handshake, so never true without encryption.
    pub(crate) offers_http2: bool,
}

impl Place {
    /// Where a URL leads.
    ///
    /// # Errors
    /// If it has no host, or is not one of `http` and `https`.
    pub(crate) fn of(uri: &Uri, is_http1_only: bool) -> Result<Self, ConnectError> {
        let host = bare_host(uri).ok_or(ConnectError::Unusable { reason: "the URL has no host" })?;
        let is_encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(ConnectError::Unusable { reason: "only http and https can be connected to" }),
        };
        let port = uri.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        Ok(Self { host: host.into(), port, is_encrypted, offers_http2: is_encrypted && !is_http1_only })
    }
}

/// The host of a URL without the brackets of an IPv6 address.
pub(crate) fn bare_host(uri: &Uri) -> Option<&str> {
    let host = uri.host()?;
    Some(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))
}

/// Connects.
pub(crate) struct Connector {
    outlet: Arc<Outlet>,
    tls: Arc<Tls>,
}

/// A connection, and what was agreed upon while it was made.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    pub(crate) is_http2: bool,
    /// Whether a TLS session was taken up again; `None` without TLS.
    pub(crate) is_resumed: Option<bool>,
}

impl Connector {
    pub(crate) fn new(outlet: Arc<Outlet>, tls: Arc<Tls>) -> Self {
        Self { outlet, tls }
    }

    /// Name lookup, TCP and TLS; `within` bounds the first two, the caller bounds the whole.
    pub(crate) async fn open(&self, place: &Place, within: Duration) -> Result<Opened, ConnectError> {
        let host = &*place.host;
        let stream = self.outlet.connect(host, place.port, within).await?;
        if !place.is_encrypted {
            return Ok(Opened { stream: Stream::Plain(stream), is_http2: false, is_resumed: None });
        }
        let tls = |source| ConnectError::Tls { host: host.to_owned(), source };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| tls(io::Error::other(error)))?;
        let config = if place.offers_http2 { self.tls.web().await } else { self.tls.web_http1().await };
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(tls)?;
        let session = stream.get_ref().1;
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok(Opened { is_http2, is_resumed: Some(is_resumed), stream: Stream::Tls(Box::new(stream)) })
    }
}

/// A connection, encrypted or not.
pub(crate) enum Stream {
    Plain(Box<dyn NetStream>),
    Tls(Box<TlsStream<Box<dyn NetStream>>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
