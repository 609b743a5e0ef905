//! Conversations with mail servers, over connections that are kept for a while.
//!
//! Invariants: a target's own mail server is vetted like any other host, and TLS checks its name although the vetted address is
//! connected to; a mail is offered once per try; a connection is put back only after a whole conversation went well; what a server
//! may make us read is bounded. Idle connections are closed without farewell, which every server has to bear anyway.

use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use posthaste_domain::delivery::Fault;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::SendError;
use crate::address::AddressGuard;
use crate::chat::excerpt;
use crate::dial::{ConnectError, NetStream, Outlet};
use crate::failure::Code;
use crate::relay::{Relay, RelayTls};
use crate::tls::Tls;

/// Bytes read over the life of one connection; an honest conversation needs a few hundred per mail.
const READ_BUDGET: usize = 1024 * 1024;
/// Mails over one connection.
const MAILS: u32 = 100;
/// Idle connections kept per relay, and for how long.
const IDLE_PER_RELAY: usize = 8;
const IDLE: Duration = Duration::from_secs(30);
/// STARTTLS configurations kept, one per host.
const TLS_HOSTS: usize = 256;

/// What a mail server answered to a mail that it took.
pub(crate) struct Taken {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// Why a mail was not taken, with the server's code if it gave one. The code by which the operator's relay shuts this server out is left
/// out: it would be taken for a word about the recipient.
pub(crate) struct NotTaken {
    pub(crate) error: SendError,
    pub(crate) status: Option<u16>,
}

impl From<SendError> for NotTaken {
    fn from(error: SendError) -> Self {
        Self { error, status: None }
    }
}

/// All conversations of this server.
pub(crate) struct Smtp {
    vetted: Arc<Outlet>,
    trusted: Outlet,
    tls: Arc<Tls>,
    hello: ClientId,
    starttls: Mutex<HashMap<String, TlsParameters>>,
    idle: Mutex<HashMap<Relay, Vec<Conversation>>>,
}

struct Conversation {
    connection: AsyncSmtpConnection,
    state: Arc<StreamState>,
    mails: u32,
    idle_since: Instant,
}

impl Smtp {
    pub(crate) fn new(outlet: Arc<Outlet>, tls: Arc<Tls>) -> Self {
        let trusted = outlet.guarded_by(AddressGuard::open());
        let (starttls, idle) = (Mutex::default(), Mutex::default());
        Self { vetted: outlet, trusted, tls, hello: ClientId::default(), starttls, idle }
    }

    /// Offers a mail once.
    pub(crate) async fn send(
        &self,
        relay: &Relay,
        envelope: &Envelope,
        mail: &[u8],
        connect_timeout: Duration,
        total: Duration,
    ) -> Result<Taken, NotTaken> {
        let deadline = Instant::now() + total;
        timeout_at(deadline, self.send_untimed(relay, envelope, mail, connect_timeout))
            .await
            .unwrap_or_else(|_| Err(Code::Timeout.error(format!("{} did not take the mail within {total:?}", relay.label())).into()))
    }

    async fn send_untimed(&self, relay: &Relay, envelope: &Envelope, mail: &[u8], connect_timeout: Duration) -> Result<Taken, NotTaken> {
        let mut conversation = match self.take_idle(relay).await {
            Some(conversation) => conversation,
            None => self.open(relay, connect_timeout).await?,
        };
        match conversation.connection.send(envelope, mail).await {
            Ok(response) => {
                conversation.mails += 1;
                self.put_back(relay, conversation);
                let text = response.message().collect::<Vec<_>>().join(" ");
                Ok(Taken { status: response.code().into(), text: excerpt(text.as_bytes()) })
            }
            Err(error) => Err(judge(&error, relay, &conversation.state, Stage::Mail)),
        }
    }

    /// A connection that was used before and still answers.
    async fn take_idle(&self, relay: &Relay) -> Option<Conversation> {
        loop {
            let mut conversation = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.get_mut(relay)?.pop()?
            };
            if conversation.idle_since.elapsed() < IDLE && conversation.connection.test_connected().await {
                return Some(conversation);
            }
        }
    }

    fn put_back(&self, relay: &Relay, mut conversation: Conversation) {
        if conversation.mails >= MAILS || conversation.connection.has_broken() {
            return;
        }
        conversation.idle_since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, kept| {
            kept.retain(|conversation| conversation.idle_since.elapsed() < IDLE);
            !kept.is_empty()
        });
        let kept = idle.entry(relay.clone()).or_default();
        if kept.len() < IDLE_PER_RELAY {
            kept.push(conversation);
        }
    }

    async fn open(&self, relay: &Relay, connect_timeout: Duration) -> Result<Conversation, NotTaken> {
        let until = Instant::now() + connect_timeout;
        let outlet = if relay.trusted { &self.trusted } else { &*self.vetted };
        let stream = outlet.connect(&relay.host, relay.port, connect_timeout).await.map_err(|error| no_connection(&error, relay))?;
        let stream = if relay.tls == RelayTls::Wrapper {
            let late = ConnectError::TimedOut { host: relay.host.clone(), after: connect_timeout };
            timeout_at(until, self.wrap(relay, stream)).await.unwrap_or(Err(late)).map_err(|error| no_connection(&error, relay))?
        } else {
            stream
        };
        let state = Arc::new(StreamState::default());
        let stream = SmtpStream { stream, state: Arc::clone(&state), budget: READ_BUDGET };
        let mut connection = AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello)
            .await
            .map_err(|error| judge(&error, relay, &state, Stage::Greeting))?;
        match relay.tls {
            RelayTls::Required if !connection.can_starttls() => {
                return Err(ours_if_trusted(Code::TlsFailed.error(format!("{} offers no STARTTLS", relay.label())), relay).into());
            }
            RelayTls::Required | RelayTls::Opportunistic if connection.can_starttls() => {
                let parameters = self.starttls_parameters(&relay.host).await.map_err(|error| judge(&error, relay, &state, Stage::Tls))?;
                connection.starttls(parameters, &self.hello).await.map_err(|error| judge(&error, relay, &state, Stage::Tls))?;
            }
            _ => {}
        }
        if let Some((user, password)) = &relay.login {
            let credentials = Credentials::new(user.clone(), password.clone());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(|error| judge(&error, relay, &state, Stage::Login))?;
        }
        Ok(Conversation { connection, state, mails: 0, idle_since: Instant::now() })
    }

    async fn wrap(&self, relay: &Relay, stream: Box<dyn NetStream>) -> Result<Box<dyn NetStream>, ConnectError> {
        let failed = |source| ConnectError::Tls { host: relay.host.clone(), source };
        let name = ServerName::try_from(relay.host.clone()).map_err(|error| failed(io::Error::other(error)))?;
        Ok(Box::new(TlsConnector::from(self.tls.mail().await).connect(name, stream).await.map_err(failed)?))
    }

    async fn starttls_parameters(&self, host: &str) -> Result<TlsParameters, SmtpError> {
        let kept = self.starttls.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned();
        if let Some(parameters) = kept {
            return Ok(parameters);
        }
        let mut builder = TlsParameters::builder(host.to_owned());
        for root in self.tls.extra_roots() {
            builder = builder.add_root_certificate(Certificate::from_der(root.to_vec())?);
        }
        // Reads the machine's roots from disk.
        let parameters =
            tokio::task::spawn_blocking(move || builder.build()).await.expect("building a TLS configuration does not panic")?;
        let mut kept = self.starttls.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= TLS_HOSTS {
            kept.clear();
        }
        kept.insert(host.to_owned(), parameters.clone());
        Ok(parameters)
    }
}

/// How far a conversation had come.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Greeting,
    Tls,
    Login,
    Mail,
}

fn ours_if_trusted(mut error: SendError, relay: &Relay) -> SendError {
    if relay.trusted {
        error.fault = Fault::Ours;
    }
    error
}

/// Of an error before a mail was offered: that the operator's relay does not let this server in is about no recipient, and over when the
/// operator has mended it.
fn shut_out(error: SendError, relay: &Relay) -> SendError {
    let mut error = ours_if_trusted(error, relay);
    error.retryable |= relay.trusted;
    error
}

fn no_connection(error: &ConnectError, relay: &Relay) -> NotTaken {
    let code = error.code();
    let message = if relay.trusted { format!("{} cannot be reached ({})", relay.label(), code.as_str()) } else { error.to_string() };
    ours_if_trusted(code.error(message), relay).into()
}

fn judge(error: &SmtpError, relay: &Relay, state: &StreamState, stage: Stage) -> NotTaken {
    let label = relay.label();
    if let Some(code) = error.status() {
        let status = u16::from(code);
        let said = error.source().map(|source| excerpt(source.to_string().as_bytes())).unwrap_or_default();
        let code = if error.is_transient() { Code::SmtpDeferred } else { Code::SmtpRejected };
        let refused = code.error(format!("{label} answered {status} {said}").trim_end().to_owned());
        // What a relay says of a mail is the target's affair; that the operator's does not let this server in is not, whatever its code.
        return match stage {
            Stage::Mail => NotTaken { error: refused, status: Some(status) },
            _ => NotTaken { error: shut_out(refused, relay), status: (!relay.trusted).then_some(status) },
        };
    }
    let error = if stage == Stage::Tls && !error.is_response() {
        Code::TlsFailed.error(format!("STARTTLS with {label} failed"))
    } else if state.exhausted.load(Ordering::Relaxed) {
        Code::ResponseInvalid.error(format!("{label} sent more than any conversation needs"))
    } else if state.closed.load(Ordering::Relaxed) {
        Code::ConnectionLost.error(format!("{label} closed the connection"))
    } else if error.is_response() {
        Code::ResponseInvalid.error(format!("{label} did not answer in SMTP"))
    } else if error.is_client() {
        let reason = error.source().map(ToString::to_string).unwrap_or_default();
        Code::SmtpRejected.error(format!("{label} lacks what is needed: {reason}"))
    } else {
        Code::ConnectionLost.error(format!("the connection to {label} was lost"))
    };
    let error = if stage == Stage::Mail { ours_if_trusted(error, relay) } else { shut_out(error, relay) };
    error.into()
}

/// What the library does not tell about its stream.
#[derive(Debug, Default)]
struct StreamState {
    closed: AtomicBool,
    exhausted: AtomicBool,
}

/// A stream with a budget for reading: a line without an end would otherwise be read into memory until the deadline.
#[derive(Debug)]
struct SmtpStream {
    stream: Box<dyn NetStream>,
    state: Arc<StreamState>,
    budget: usize,
}

impl AsyncTokioStream for SmtpStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl AsyncRead for SmtpStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.budget == 0 {
            self.state.exhausted.store(true, Ordering::Relaxed);
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(result) = &polled {
            let read = buf.filled().len() - before;
            self.budget = self.budget.saturating_sub(read);
            if result.is_err() || read == 0 {
                self.state.closed.store(true, Ordering::Relaxed);
            }
        }
        polled
    }
}

impl AsyncWrite for SmtpStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
