//! A message centre for tests, written from the bytes of SMPP 3.4 alone, on a network in memory; and the channels connected to it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use posthaste_channels::address::AddressGuard;
use posthaste_channels::dial::{Dial, NetStream, Outlet, Resolve};
use posthaste_channels::sms::SmsDefaults;
use posthaste_channels::{CarrierNews, ChannelOptions, Channels, Content, Dispatch, NewsKind, Report, Sms};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub const BIND_TRANSCEIVER: u32 = 0x09;
pub const SUBMIT_SM: u32 = 0x04;
pub const DELIVER_SM: u32 = 0x05;
pub const UNBIND: u32 = 0x06;
pub const ENQUIRE_LINK: u32 = 0x15;
pub const RESPONSE: u32 = 0x8000_0000;

/// Far more time than anything here takes.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// A PDU as it came.
#[derive(Clone, Debug)]
pub struct Pdu {
    pub id: u32,
    pub status: u32,
    pub sequence: u32,
    pub body: Vec<u8>,
}

/// The fields of a `submit_sm` that matter.
#[derive(Debug)]
pub struct Submit {
    pub source: (u8, u8, String),
    pub destination: (u8, u8, String),
    pub esm_class: u8,
    pub registered_delivery: u8,
    pub data_coding: u8,
    pub short_message: Vec<u8>,
    /// Tag and value of each optional field.
    pub optional: Vec<(u16, Vec<u8>)>,
}

impl Pdu {
    pub fn submit(&self) -> Submit {
        assert_eq!(self.id, SUBMIT_SM);
        let mut rest = &self.body[..];
        assert_eq!(text(&mut rest), "", "service_type");
        let source = (octet(&mut rest), octet(&mut rest), text(&mut rest));
        let destination = (octet(&mut rest), octet(&mut rest), text(&mut rest));
        let esm_class = octet(&mut rest);
        assert_eq!((octet(&mut rest), octet(&mut rest)), (0, 0), "protocol_id, priority_flag");
        assert_eq!((text(&mut rest), text(&mut rest)), (String::new(), String::new()), "times");
        let registered_delivery = octet(&mut rest);
        assert_eq!(octet(&mut rest), 0, "replace_if_present");
        let data_coding = octet(&mut rest);
        assert_eq!(octet(&mut rest), 0, "sm_default_msg_id");
        let length = usize::from(octet(&mut rest));
        let (short_message, mut rest) = rest.split_at(length);
        let mut optional = Vec::new();
        while let [a, b, c, d, after @ ..] = rest {
            let (value, after) = after.split_at(usize::from(u16::from_be_bytes([*c, *d])));
            optional.push((u16::from_be_bytes([*a, *b]), value.to_vec()));
            rest = after;
        }
        Submit { source, destination, esm_class, registered_delivery, data_coding, short_message: short_message.to_vec(), optional }
    }
}

pub fn octet(rest: &mut &[u8]) -> u8 {
    let (first, after) = rest.split_first().expect("an octet");
    *rest = after;
    *first
}

pub fn text(rest: &mut &[u8]) -> String {
    let end = rest.iter().position(|octet| *octet == 0).expect("a NUL");
    let found = String::from_utf8(rest[..end].to_vec()).expect("ASCII");
    *rest = &rest[end + 1..];
    found
}

/// The body of a `deliver_sm` from a handset, with optional fields as bytes.
pub fn delivery(from: &str, to: &str, esm_class: u8, data_coding: u8, short_message: &[u8], optional: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1, 1];
    body.extend_from_slice(from.as_bytes());
    body.extend_from_slice(&[0, 0, 1]);
    body.extend_from_slice(to.as_bytes());
    body.extend_from_slice(&[0, esm_class, 0, 0, 0, 0, 0, 0, data_coding, 0]);
    body.push(u8::try_from(short_message.len()).expect("short"));
    body.extend_from_slice(short_message);
    body.extend_from_slice(optional);
    body
}

/// One connection, seen from the centre.
pub struct Peer<S = DuplexStream> {
    stream: S,
    sequence: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, sequence: 100 }
    }

    /// The next PDU of any kind; `None` at the end.
    pub async fn next_any(&mut self) -> Option<Pdu> {
        let mut head = [0; 16];
        timeout(PATIENCE, self.stream.read_exact(&mut head)).await.expect("a PDU or the end").ok()?;
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let mut body = vec![0; word(0) as usize - 16];
        self.stream.read_exact(&mut body).await.ok()?;
        Some(Pdu { id: word(4), status: word(8), sequence: word(12), body })
    }

    /// The next PDU that is not about the line; `enquire_link` is answered.
    pub async fn next(&mut self) -> Pdu {
        loop {
            let pdu = self.next_any().await.expect("the connection is open");
            match pdu.id {
                ENQUIRE_LINK => self.respond(&pdu, 0, &[]).await,
                _ => return pdu,
            }
        }
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the connection is open");
        self.stream.flush().await.expect("the connection is open");
    }

    pub async fn send(&mut self, id: u32, status: u32, sequence: u32, body: &[u8]) {
        let length = u32::try_from(body.len() + 16).expect("short");
        let mut bytes: Vec<u8> = [length, id, status, sequence].iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend_from_slice(body);
        self.send_raw(&bytes).await;
    }

    pub async fn respond(&mut self, to: &Pdu, status: u32, body: &[u8]) {
        self.send(to.id | RESPONSE, status, to.sequence, body).await;
    }

    /// A request of the centre's own; its sequence number.
    pub async fn request(&mut self, id: u32, body: &[u8]) -> u32 {
        self.sequence += 1;
        self.send(id, 0, self.sequence, body).await;
        self.sequence
    }

    /// Takes the bind.
    pub async fn bind(&mut self) -> Pdu {
        let bind = self.next().await;
        assert_eq!(bind.id, BIND_TRANSCEIVER);
        self.respond(&bind, 0, b"centre\0").await;
        settle().await;
        bind
    }

    /// Takes a segment under an id.
    pub async fn take(&mut self, id: &str) -> Submit {
        let pdu = self.next().await;
        self.respond(&pdu, 0, format!("{id}\0").as_bytes()).await;
        pdu.submit()
    }

    /// Refuses a segment.
    pub async fn refuse(&mut self, status: u32) -> Submit {
        let pdu = self.next().await;
        // As the standard says: no body with an error.
        self.respond(&pdu, status, &[]).await;
        pdu.submit()
    }

    /// Whether nothing comes for a while.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        timeout(time, self.next()).await.is_err()
    }
}

/// Lets everything that can happen now happen.
pub async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// A network in memory whose one host is the centre.
pub struct Network {
    connections: mpsc::Sender<DuplexStream>,
    refusing: Mutex<bool>,
    dialled: AtomicUsize,
}

impl Network {
    pub fn refuse(&self, refuse: bool) {
        *self.refusing.lock().expect("lock") = refuse;
    }

    pub fn dialled(&self) -> usize {
        self.dialled.load(Ordering::SeqCst)
    }
}

/// The resolver and dialer of a [`Network`].
struct Wire(Arc<Network>);

#[async_trait]
impl Resolve for Wire {
    async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        // A private address: the operator's own carrier is not vetted.
        Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))])
    }
}

#[async_trait]
impl Dial for Wire {
    async fn dial(&self, _: SocketAddr) -> io::Result<Box<dyn NetStream>> {
        self.0.dialled.fetch_add(1, Ordering::SeqCst);
        if *self.0.refusing.lock().expect("lock") {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.0.connections.send(theirs).await.map_err(io::Error::other)?;
        Ok(Box::new(ours))
    }
}

/// Channels with a carrier, its work under way.
pub struct Rig {
    pub channels: Channels,
    pub network: Arc<Network>,
    pub news: mpsc::Receiver<CarrierNews>,
    connections: tokio::sync::Mutex<mpsc::Receiver<DuplexStream>>,
    stop: Option<oneshot::Sender<()>>,
    work: JoinSet<()>,
}

impl Rig {
    /// With the centre at `smpp://me:pw@centre` and these parameters.
    pub fn smpp(parameters: &str) -> Self {
        Self::with(SmsDefaults { carrier: json!(format!("smpp://me:pw@centre{parameters}")), ..SmsDefaults::default() })
    }

    pub fn with(sms: SmsDefaults) -> Self {
        let (sender, connections) = mpsc::channel(16);
        let network = Arc::new(Network { connections: sender, refusing: Mutex::new(false), dialled: AtomicUsize::new(0) });
        let outlet =
            Outlet::with_parts(AddressGuard::default(), Arc::new(Wire(Arc::clone(&network))), Arc::new(Wire(Arc::clone(&network))));
        let options = ChannelOptions { sms, ..ChannelOptions::default() };
        let channels = Channels::through(Arc::new(outlet), &options).expect("options");
        Self::of(channels, network, connections)
    }

    /// With channels that were made elsewhere.
    pub fn of_channels(channels: Channels) -> Self {
        let (sender, connections) = mpsc::channel(1);
        let network = Arc::new(Network { connections: sender, refusing: Mutex::new(true), dialled: AtomicUsize::new(0) });
        Self::of(channels, network, connections)
    }

    fn of(channels: Channels, network: Arc<Network>, connections: mpsc::Receiver<DuplexStream>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let mut work = JoinSet::new();
        work.spawn(channels.carrier_work().expect("nobody took it yet").run(async move {
            let _ = stopped.await;
        }));
        assert!(channels.carrier_work().is_none(), "there is one work");
        let news = channels.carrier_news().expect("nobody listens yet");
        Self { channels, network, news, connections: tokio::sync::Mutex::new(connections), stop: Some(stop), work }
    }

    /// The next connection.
    pub async fn accept(&self) -> Peer {
        let mut connections = self.connections.lock().await;
        Peer::new(timeout(PATIENCE, connections.recv()).await.expect("a connection").expect("the network is up"))
    }

    /// The next connection, bound.
    pub async fn bound(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.bind().await;
        peer
    }

    /// One try to send a text.
    pub async fn send(&self, delivery_id: &str, text: &str) -> Report {
        self.send_to(delivery_id, "+15551230001", text).await
    }

    pub async fn send_to(&self, delivery_id: &str, to: &str, text: &str) -> Report {
        let sms = Sms { message_id: format!("msg_{delivery_id}"), from: "12345".into(), to: to.into(), text: text.into(), test: false };
        self.send_sms(delivery_id, sms).await
    }

    pub async fn send_sms(&self, delivery_id: &str, sms: Sms) -> Report {
        let time = Duration::from_secs(60);
        let content = Content::Sms(Box::new(sms));
        let settings = Value::Null;
        let dispatch = Dispatch { delivery_id, settings: &settings, settings_key: (0, 0), content, connect_timeout: time, timeout: time };
        self.channels.get("sms").expect("a standard channel").send(dispatch).await
    }

    /// The next news, taken.
    pub async fn told(&mut self) -> NewsKind {
        let news = timeout(PATIENCE, self.news.recv()).await.expect("news").expect("the carrier lives");
        news.ack.send(true).expect("the carrier waits");
        news.kind
    }

    /// Tells the work to stop and waits for its end.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        while self.work.join_next().await.is_some() {}
    }
}
