//! The connection to the message centre: made, bound, and made again for ever.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::stream::{FuturesUnordered, StreamExt};
use posthaste_domain::sms::{MessageKey, Reassembly, Tally, TallyNews};
use rusmpp::pdus::BindTransceiver;
use rusmpp::values::InterfaceVersion;
use rusmpp::{CommandId, CommandStatus, Pdu};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::frame;
use super::session::{Ended, Session};
use super::settings::SmppSettings;
use super::{LinkState, Submission, status};
use crate::NewsKind;
use crate::carrier::CarrierInbox;
use crate::dial::{ConnectError, NetStream, Outlet};
use crate::sms::{offer_patiently, told_to_stop};
use crate::tls::Tls;

/// The first pause between two tries to connect is drawn from 0 to this; it doubles with every try.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// No pause is shorter: a centre that hangs up at once is not hammered.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// A connection that held this long counts as good: pauses begin anew.
const GOOD: Duration = Duration::from_secs(30);
/// How long parts of a message are waited for.
const PATIENCE_MS: i64 = 10 * 60 * 1000;
/// How long receipts of the segments of a message are waited for.
const RECEIPTS_MS: i64 = 3 * 24 * 3600 * 1000;

/// Owns the connection; see [`Link::run`].
pub(crate) struct Link {
    settings: Arc<SmppSettings>,
    outlet: Arc<Outlet>,
    tls: Arc<Tls>,
    submissions: mpsc::Receiver<Submission>,
    state: watch::Sender<LinkState>,
    inbox: CarrierInbox,
}

/// News that were offered and their end.
pub(super) struct Offered {
    /// The connection and the requests that are to be answered.
    pub(super) answers: Vec<(u64, u32)>,
    pub(super) durable: bool,
    /// A message in parts that can be forgotten.
    pub(super) key: Option<MessageKey>,
    /// A message in segments that needs no further receipt.
    pub(super) settled: Option<String>,
}

/// What outlives a connection.
pub(super) struct Memory {
    pub(super) inbox: CarrierInbox,
    pub(super) offers: FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = Offered> + Send>>>,
    pub(super) reassembly: Reassembly,
    pub(super) tally: Tally,
    started: Instant,
}

impl Memory {
    /// Milliseconds since the link was made: receipts and parts need no date.
    pub(super) fn now_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The moment of a time of [`Memory::now_ms`].
    pub(super) fn instant(&self, at_ms: i64) -> Instant {
        self.started + Duration::from_millis(u64::try_from(at_ms).unwrap_or_default())
    }

    /// Offers news; the requests in `answers` are answered when it is known whether they are durable.
    pub(super) fn offer(&self, kind: NewsKind, answers: Vec<(u64, u32)>, key: Option<MessageKey>) {
        let inbox = self.inbox.clone();
        self.offers.push(Box::pin(async move {
            let settled = match &kind {
                NewsKind::Receipt { carrier_id, state, .. } if state.is_final() => Some(carrier_id.clone()),
                _ => None,
            };
            let durable = offer_patiently(&inbox, kind).await;
            Offered { answers, durable, key, settled }
        }));
    }

    /// What a tally says, offered.
    pub(super) fn tell(&self, news: TallyNews, code: Option<String>, text: Option<String>, answers: Vec<(u64, u32)>) {
        self.offer(NewsKind::Receipt { carrier_id: news.carrier_id, state: news.state, code, text }, answers, None);
    }
}

/// Why there is no bound connection.
#[derive(Debug, thiserror::Error)]
enum NotBound {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the connection was lost while binding: {0}")]
    Lost(#[from] io::Error),
    #[error("the message centre did not answer the bind")]
    Late,
    #[error("the message centre refused the bind: {} (0x{_0:08X})", status::name(*_0))]
    Refused(u32),
    #[error("the message centre does not speak SMPP")]
    Garbage,
}

impl Link {
    pub(super) fn new(
        settings: Arc<SmppSettings>,
        outlet: Arc<Outlet>,
        tls: Arc<Tls>,
        submissions: mpsc::Receiver<Submission>,
        state: watch::Sender<LinkState>,
        inbox: CarrierInbox,
    ) -> Self {
        Self { settings, outlet, tls, submissions, state, inbox }
    }

    /// Keeps the connection bound until told to stop. Pauses between tries grow up to the configured longest with full jitter; they never end.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut memory = Memory {
            inbox: self.inbox.clone(),
            offers: FuturesUnordered::new(),
            reassembly: Reassembly::new(PATIENCE_MS),
            tally: Tally::new(RECEIPTS_MS),
            started: Instant::now(),
        };
        let mut failures = 0u32;
        for connection in 1u64.. {
            let made = tokio::select! {
                biased;
                () = told_to_stop(&mut stop) => return,
                made = self.bind() => made,
            };
            match made {
                Ok((stream, read)) => {
                    let since = Instant::now();
                    tracing::info!(centre = ?self.settings, "bound to the SMS message centre");
                    self.state.send_replace(LinkState::now(true));
                    let session = Session::new(connection, &self.settings, stream, read);
                    let ended = session.run(&mut self.submissions, &mut memory, &mut stop).await;
                    self.state.send_replace(LinkState::now(false));
                    self.turn_away();
                    match ended {
                        Ended::Stopped => return,
                        Ended::Lost(reason) => tracing::warn!(centre = ?self.settings, %reason, "lost the SMS message centre"),
                    }
                    failures = if since.elapsed() >= GOOD { 0 } else { failures.saturating_add(1) };
                }
                Err(error) => {
                    tracing::warn!(centre = ?self.settings, %error, failures, "no SMS message centre");
                    failures = failures.saturating_add(1);
                }
            }
            let pause = pause(failures, self.settings.reconnect_max, rand::random());
            tokio::select! {
                biased;
                () = told_to_stop(&mut stop) => return,
                () = self.wait(pause, &mut memory) => {}
            }
        }
    }

    /// Waits, while news that were offered go on to be stored.
    async fn wait(&self, pause: Duration, memory: &mut Memory) {
        let finishing = async {
            while let Some(offered) = memory.offers.next().await {
                if offered.durable {
                    // Nobody is left to be answered: the centre sends it again, and hears it then.
                    if let Some(key) = offered.key {
                        memory.reassembly.forget(&key);
                    }
                    if let Some(settled) = offered.settled {
                        memory.tally.settled(&settled);
                    }
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = finishing => {}
        }
    }

    /// Segments that came in the last moment find out at once that there is no connection.
    fn turn_away(&mut self) {
        while self.submissions.try_recv().is_ok() {}
    }

    async fn bind(&self) -> Result<(Box<dyn NetStream>, BytesMut), NotBound> {
        let settings = &*self.settings;
        let mut stream = self.connect().await?;
        let mut out = BytesMut::new();
        let bind = BindTransceiver::builder()
            .system_id(settings.system_id.clone())
            .password(settings.password.clone())
            .system_type(settings.system_type.clone())
            .interface_version(InterfaceVersion::Smpp3_4)
            .build();
        frame::put(&mut out, CommandStatus::EsmeRok, 1, Pdu::BindTransceiver(bind));
        let exchange = async {
            stream.write_all(&out).await?;
            let mut read = BytesMut::new();
            loop {
                while let Some(incoming) = frame::take(&mut read).map_err(|_| NotBound::Garbage)? {
                    match incoming.id {
                        CommandId::BindTransceiverResp | CommandId::GenericNack if incoming.status != 0 => {
                            return Err(NotBound::Refused(incoming.status));
                        }
                        CommandId::BindTransceiverResp => return Ok(read),
                        _ => {}
                    }
                }
                if stream.read_buf(&mut read).await? == 0 {
                    return Err(NotBound::Lost(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        };
        let read = timeout(settings.response_timeout, exchange).await.unwrap_or(Err(NotBound::Late))?;
        Ok((stream, read))
    }

    async fn connect(&self) -> Result<Box<dyn NetStream>, ConnectError> {
        let settings = &*self.settings;
        let stream = self.outlet.connect(&settings.host, settings.port, settings.connect_timeout).await?;
        if !settings.tls {
            return Ok(stream);
        }
        let failed = |source| ConnectError::Tls { host: settings.host.clone(), source };
        let name = ServerName::try_from(settings.host.clone()).map_err(|error| failed(io::Error::other(error)))?;
        let connector = TlsConnector::from(self.tls.mail().await);
        match timeout(settings.connect_timeout, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(ConnectError::TimedOut { host: settings.host.clone(), after: settings.connect_timeout }),
        }
    }
}

/// The pause before the next try: full jitter under a bound that doubles. `draw` is random.
fn pause(failures: u32, longest: Duration, draw: u32) -> Duration {
    let bound = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(longest);
    bound.mul_f64(f64::from(draw) / f64::from(u32::MAX)).max(SHORTEST_PAUSE.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_are_drawn_below_it() {
        let longest = Duration::from_secs(60);
        let whole = |failures| pause(failures, longest, u32::MAX).as_millis();
        assert_eq!((whole(0), whole(1), whole(3), whole(7), whole(u32::MAX)), (500, 1000, 4000, 60_000, 60_000));
        assert_eq!(pause(9, longest, 0), SHORTEST_PAUSE);
        assert_eq!(pause(9, Duration::from_millis(1), u32::MAX), Duration::from_millis(1));
    }
}
