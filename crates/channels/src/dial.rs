//! Names to addresses to connections, with the guard in between.
//!
//! Invariants: a name is resolved once per connection; every address of the answer is vetted; only vetted addresses are
//! connected to, by number. So an answer that changes between vetting and connecting changes nothing. No proxy is read from the
//! environment: a proxy would resolve again, unguarded.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::SendError;
use crate::address::AddressGuard;
use crate::failure::Code;

/// Addresses of one answer that are looked at; more than any honest name has.
const MAX_ADDRESSES: usize = 16;
/// How long one address may hang before the next is tried beside it (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// Lookups under way at once. Each holds a thread of the blocking pool (512 by default) that other work needs as well.
const MAX_LOOKUPS: usize = 128;

/// Turns a host name into addresses.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses of `host`, in order of preference. `host` is a name or the text of an address, without brackets.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The operating system's resolver.
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let host = host.to_owned();
        // The permit goes along: a lookup that nobody waits for any more still holds its thread.
        let lookup = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            (host.as_str(), port).to_socket_addrs().map(|found| found.take(MAX_ADDRESSES).collect())
        });
        lookup.await.map_err(io::Error::other)?
    }
}

/// A connection, encrypted or not.
pub trait NetStream: AsyncRead + AsyncWrite + Send + Sync + Unpin + fmt::Debug {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + fmt::Debug> NetStream for T {}

/// Opens a connection to an address that was vetted.
#[async_trait]
pub trait Dial: Send + Sync {
    /// Connects. Dropping the future closes what it opened.
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn NetStream>>;
}

/// Plain TCP.
pub struct TcpDialer;

#[async_trait]
impl Dial for TcpDialer {
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn NetStream>> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_keepalive(true)?;
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No address of the host may be connected to. Says nothing of the addresses.
    #[error("{host} has no address that this server may connect to")]
    Blocked {
        /// As the target's owner wrote it.
        host: String,
    },
    /// No addresses.
    #[error("the name {host} could not be resolved")]
    Dns {
        /// As the target's owner wrote it.
        host: String,
        /// The resolver's word.
        source: io::Error,
    },
    /// No address of the host took the connection.
    #[error("no connection to {host}: {}", source.kind())]
    Failed {
        /// As the target's owner wrote it.
        host: String,
        /// What the last address answered.
        source: io::Error,
    },
    /// Not within the time for connecting.
    #[error("no connection to {host} within {after:?}")]
    TimedOut {
        /// As the target's owner wrote it.
        host: String,
        /// The time that was given.
        after: Duration,
    },
    /// The handshake failed.
    #[error("TLS with {host} failed: {}", tls_reason(source))]
    Tls {
        /// As the target's owner wrote it.
        host: String,
        /// The reason, e.g. which check of the certificate failed.
        source: io::Error,
    },
    /// The URL cannot be connected to at all.
    #[error("{reason}")]
    Unusable {
        /// Why.
        reason: &'static str,
    },
}

/// What the owner of a target can act on.
fn tls_reason(error: &io::Error) -> String {
    use rustls::CertificateError as Bad;
    let reason = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature)) => {
            "its certificate is not issued by an authority that this server trusts"
        }
        Some(rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. })) => {
            "its certificate is for another name"
        }
        Some(rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. })) => "its certificate has expired",
        Some(rustls::Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. })) => "its certificate is not valid yet",
        Some(rustls::Error::InvalidMessage(_)) => "the port does not speak TLS",
        Some(other) => return other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the connection was closed during the handshake",
        None => return error.kind().to_string(),
    };
    reason.to_owned()
}

/// `ENFILE`, `EMFILE` and `EADDRNOTAVAIL` (no free local port) of Linux: this server's trouble, not the target's.
const OUT_OF_SOCKETS: [i32; 3] = [23, 24, 99];

impl ConnectError {
    /// The code that the owner of the target gets.
    pub fn code(&self) -> Code {
        match self {
            Self::Blocked { .. } => Code::AddressBlocked,
            Self::Dns { .. } => Code::DnsFailed,
            Self::TimedOut { .. } => Code::ConnectTimeout,
            Self::Tls { .. } => Code::TlsFailed,
            Self::Unusable { .. } => Code::SettingsInvalid,
            Self::Failed { source, .. } => match source.kind() {
                io::ErrorKind::ConnectionRefused => Code::ConnectRefused,
                io::ErrorKind::TimedOut => Code::ConnectTimeout,
                _ if source.raw_os_error().is_some_and(|os| OUT_OF_SOCKETS.contains(&os)) => Code::SocketsExhausted,
                _ => Code::ConnectFailed,
            },
        }
    }

    /// As the outcome of a try.
    pub fn to_send_error(&self) -> SendError {
        self.code().error(self.to_string())
    }
}

/// The one way out: resolve, vet, connect.
pub struct Outlet {
    guard: AddressGuard,
    resolver: Arc<dyn Resolve>,
    dialer: Arc<dyn Dial>,
}

impl Outlet {
    /// Through the system's resolver and TCP.
    pub fn new(guard: AddressGuard) -> Self {
        Self::with_parts(guard, Arc::new(SystemResolver::default()), Arc::new(TcpDialer))
    }

    /// Through other parts.
    pub fn with_parts(guard: AddressGuard, resolver: Arc<dyn Resolve>, dialer: Arc<dyn Dial>) -> Self {
        Self { guard, resolver, dialer }
    }

    /// The same parts behind another guard.
    pub fn guarded_by(&self, guard: AddressGuard) -> Self {
        Self::with_parts(guard, Arc::clone(&self.resolver), Arc::clone(&self.dialer))
    }

    /// Connects to `host` within `within`.
    ///
    /// # Errors
    /// See [`ConnectError`]; none names an address.
    pub async fn connect(&self, host: &str, port: u16, within: Duration) -> Result<Box<dyn NetStream>, ConnectError> {
        timeout(within, self.connect_untimed(host, port))
            .await
            .unwrap_or_else(|_| Err(ConnectError::TimedOut { host: host.to_owned(), after: within }))
    }

    async fn connect_untimed(&self, host: &str, port: u16) -> Result<Box<dyn NetStream>, ConnectError> {
        let found = self.resolver.resolve(host, port).await.map_err(|source| ConnectError::Dns { host: host.to_owned(), source })?;
        if found.is_empty() {
            let source = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
            return Err(ConnectError::Dns { host: host.to_owned(), source });
        }
        let mut vetted = Vec::with_capacity(found.len().min(MAX_ADDRESSES));
        for address in found.into_iter().take(MAX_ADDRESSES) {
            match self.guard.check(address.ip()) {
                Ok(()) => vetted.push(address),
                Err(blocked) => tracing::info!(host, %address, %blocked, "refused to connect"),
            }
        }
        if vetted.is_empty() {
            return Err(ConnectError::Blocked { host: host.to_owned() });
        }
        self.race(alternate_families(vetted)).await.map_err(|source| ConnectError::Failed { host: host.to_owned(), source })
    }

    /// Tries the addresses in order; one that hangs for [`STAGGER`] is joined by the next, and the first connection wins.
    async fn race(&self, addresses: Vec<SocketAddr>) -> io::Result<Box<dyn NetStream>> {
        let mut waiting = addresses.into_iter();
        let mut trying = FuturesUnordered::new();
        let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
        loop {
            if let Some(address) = waiting.next() {
                trying.push(self.dialer.dial(address));
            }
            let finished = if waiting.len() == 0 {
                trying.next().await
            } else {
                match timeout(STAGGER, trying.next()).await {
                    Ok(finished) => finished,
                    Err(_) => continue,
                }
            };
            match finished {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last_error = error,
                None => return Err(last_error),
            }
        }
    }
}

/// Orders addresses so that families take turns, the first address's family first.
fn alternate_families(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return addresses };
    let first_is_v4 = first.is_ipv4();
    let total = addresses.len();
    let (preferred, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv4() == first_is_v4);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut ordered = Vec::with_capacity(total);
    while ordered.len() < total {
        ordered.extend(preferred.next());
        ordered.extend(other.next());
    }
    ordered
}
