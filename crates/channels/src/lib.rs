//! Channels: one file per kind of target, and the one guarded way out to the network.
//!
//! A channel takes a [`Dispatch`], makes exactly one try, and answers a [`Report`]; it never retries, never follows redirects, never
//! decides about states: that is policy, and the engine's. Adding a channel is one file and one line in [`Channels::standard`].
//!
//! Everything that connects does so through one [`dial::Outlet`], where addresses are vetted by an [`address::AddressGuard`]; all HTTP
//! goes through one pooled [`http_client::HttpClient`].

pub mod address;
mod carrier;
mod chat;
mod connector;
pub mod dial;
pub mod discord;
pub mod email;
pub mod failure;
pub mod http_client;
pub mod mail;
pub mod oauth2;
mod own;
mod prepared;
mod relay;
mod report;
mod settings;
pub mod slack;
pub mod sms;
mod smtp;
pub mod tls;
pub mod webhook;
mod webhook_settings;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::delivery::Fault;
use posthaste_domain::template::{Form, Rendered};
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tokio::sync::mpsc;

pub use crate::address::AddressGuard;
pub use crate::carrier::{CarrierInbox, CarrierNews, NewsKind, ReceiptState};
use crate::dial::Outlet;
use crate::email::Email;
pub use crate::email::EmailDefaults;
use crate::http_client::{HttpClient, HttpStats, OriginStats};
pub use crate::mail::Mail;
pub use crate::own::OwnAddresses;
use crate::sms::{CarrierWork, GatewayRules, SmsChannel, SmsDefaults};
use crate::tls::Tls;

/// One try to make.
pub struct Dispatch<'a> {
    /// Public id of the delivery; stable over retries.
    pub delivery_id: &'a str,
    /// The target's settings, secrets in place.
    pub settings: &'a Value,
    /// Changes whenever the settings change: lets a channel keep what it prepared from them (numbers: target, version).
    /// `(0, 0)` for settings that belong to no saved target: nothing is kept of them.
    pub settings_key: (i64, i64),
    /// What to send.
    pub content: Content,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time for everything, connecting included.
    pub timeout: Duration,
}

/// What to send.
#[derive(Clone, Debug)]
pub enum Content {
    /// An exact HTTP request body with its headers, made and signed by a wire format (webhook-like channels only).
    Wire {
        /// Body bytes, sent as they are. Ignored for `GET`.
        body: Bytes,
        /// Format's headers, `content-type` included; the settings' own headers are added by the channel.
        headers: Vec<(http::HeaderName, http::HeaderValue)>,
        /// Appended to the URL's query (MsgGO `GET` deliveries).
        query: Option<String>,
        /// Absolute URL to send to instead of the settings' one.
        url: Option<String>,
    },
    /// A rendered message, in the form that [`Channel::form`] asked for.
    Message(Rendered),
    /// An e-mail of a client.
    Mail(Box<Mail>),
    /// A text message of a client, as the client wrote it.
    Sms(Box<Sms>),
}

impl Content {
    /// Its kind, which [`Channel::takes`] is asked about.
    pub fn kind(&self) -> ContentKind {
        match self {
            Self::Wire { .. } => ContentKind::Wire,
            Self::Message(_) => ContentKind::Message,
            Self::Mail(_) => ContentKind::Mail,
            Self::Sms(_) => ContentKind::Sms,
        }
    }
}

/// The kinds of [`Content`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentKind {
    /// An exact HTTP body.
    Wire,
    /// A rendered message.
    Message,
    /// An e-mail of a client.
    Mail,
    /// A text message of a client.
    Sms,
}

/// A text message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sms {
    /// Id of the message as in its events; goes to carriers that take a reference.
    pub message_id: String,
    /// Sender: a number in E.164, a short code or a name; empty for the carrier's default sender.
    pub from: String,
    /// Recipient in E.164.
    pub to: String,
    /// What to say; split into segments by the channel where it is long.
    pub text: String,
    /// A try-out: goes to the simulator, whatever carrier is configured.
    pub test: bool,
}

/// What a try would send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Request line and headers as the log would show them, secrets masked; empty where there is no request of HTTP.
    pub request: String,
    /// What would follow them.
    pub body: Bytes,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The verdict as far as the channel can tell.
    pub outcome: Outcome,
    /// HTTP status or SMTP code of the answer.
    pub status: Option<u16>,
    /// Request line and headers as text, secrets masked. Shared between tries where it can be.
    pub request: Arc<str>,
    /// Response headers as text.
    pub response: Arc<str>,
    /// At most the first 16 KiB of the response body.
    pub response_body: Bytes,
    /// `Retry-After` as sent.
    pub retry_after: Option<String>,
    /// The carrier's id of the message (SMS), which its receipts will name.
    pub carrier_id: Option<String>,
    /// Length of the try.
    pub duration: Duration,
}

/// The verdict on one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An HTTP answer: the policy's `success` and `stop` lists decide about [`Report::status`].
    Answered,
    /// Taken, whatever the status (channels with a protocol of their own).
    Delivered,
    /// Not taken.
    Failed(SendError),
}

/// Why a try failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    /// Stable code with a page in `docs/errors/`: one of [`failure::Code`].
    pub code: &'static str,
    /// What the target's owner may read. Never a secret, never an internal address of a blocked target.
    pub message: String,
    /// Whose fault.
    pub fault: Fault,
    /// Whether another try can help.
    pub retryable: bool,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct SettingsError {
    /// Which, e.g. `settings.url`.
    pub field: String,
    /// Why.
    pub reason: String,
}

/// Settings as checked on save.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedSettings {
    /// Normalised, defaults not filled in.
    pub settings: Value,
    /// JSON pointers within the settings that hold secrets.
    pub secrets: Vec<String>,
}

/// A kind of target.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Its name in the API: `webhook`, `slack`, …
    fn name(&self) -> &'static str;

    /// Which form templates are rendered in for it.
    fn form(&self) -> Form;

    /// Whether it takes content of a kind. A channel that takes [`ContentKind::Wire`] gets events without a template from a wire format.
    fn takes(&self, kind: ContentKind) -> bool;

    /// Whether [`send`](Self::send) is sure to end within its time by itself. Others are cut off somewhat later.
    fn keeps_time(&self) -> bool {
        false
    }

    /// Checks settings on save; unknown fields are errors that name them.
    fn check(&self, settings: &Value) -> Result<CheckedSettings, SettingsError>;

    /// What [`Self::send`] would send. Nothing is sent.
    ///
    /// # Errors
    /// What would keep it from being sent.
    fn preview(&self, _settings: &Value, content: Content) -> Result<Preview, SendError> {
        let body = match content {
            Content::Wire { body, .. } => body,
            Content::Message(message) => message.text.into(),
            Content::Mail(_) | Content::Sms(_) => Bytes::new(),
        };
        Ok(Preview { request: String::new(), body })
    }

    /// Makes one try within the given times. Cancel safe: dropping it closes what it opened.
    async fn send(&self, dispatch: Dispatch<'_>) -> Report;
}

/// What the standard channels are made with.
#[derive(Clone, Debug, Default)]
pub struct ChannelOptions {
    /// Which addresses may be connected to.
    pub guard: AddressGuard,
    /// Relay and sender for e-mail targets that bring none.
    pub email: EmailDefaults,
    /// The carrier of text messages.
    pub sms: SmsDefaults,
    /// `User-Agent`; `Posthaste/<version>` by default.
    pub user_agent: Option<String>,
    /// Certificates that are trusted besides those of the machine.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Addresses that this program answers itself, without a connection.
    pub own: Option<Arc<dyn OwnAddresses>>,
}

/// The channels at hand, by name.
#[derive(Clone, Default)]
pub struct Channels {
    by_name: std::collections::BTreeMap<&'static str, Arc<dyn Channel>>,
    http: Option<Arc<HttpClient>>,
    webhook: Option<Arc<webhook::Webhook>>,
    news: carrier::NewsPort,
    work: Arc<Mutex<Option<CarrierWork>>>,
    gateway: Option<Arc<GatewayRules>>,
}

impl Channels {
    /// The channels that come with Posthaste: `discord`, `email`, `slack`, `sms`, `webhook`.
    ///
    /// # Errors
    /// If an option cannot be used; the field is named.
    pub fn standard(options: &ChannelOptions) -> Result<Self, SettingsError> {
        Self::through(Arc::new(Outlet::new(options.guard.clone())), options)
    }

    /// The same through another outlet, whose guard then counts instead of the one in `options`.
    ///
    /// # Errors
    /// If an option cannot be used; the field is named.
    pub fn through(outlet: Arc<Outlet>, options: &ChannelOptions) -> Result<Self, SettingsError> {
        let user_agent = options.user_agent.as_deref().unwrap_or(concat!("Posthaste/", env!("CARGO_PKG_VERSION")));
        let user_agent: http::HeaderValue = user_agent.parse().map_err(|_| settings::refuse("user_agent", "must be visible ASCII"))?;
        let tls = Arc::new(Tls::new(options.extra_roots.clone()));
        let http = Arc::new(HttpClient::new(Arc::clone(&outlet), Arc::clone(&tls)).with_own(options.own.clone()));
        let webhook = Arc::new(webhook::Webhook::new(Arc::clone(&http), user_agent.clone()));
        let news = carrier::NewsPort::default();
        let sms = SmsChannel::make(&options.sms, &outlet, Arc::clone(&tls), news.inbox())?;
        let mut channels = Self {
            by_name: std::collections::BTreeMap::new(),
            http: Some(Arc::clone(&http)),
            webhook: Some(Arc::clone(&webhook)),
            news,
            work: Arc::new(Mutex::new(Some(sms.work))),
            gateway: sms.rules,
        };
        channels.by_name.insert("webhook", webhook);
        let inbox = channels.carrier_inbox();
        let channels = channels
            .with(slack::Slack::new(Arc::clone(&http), user_agent.clone()))
            .with(discord::Discord::new(http, user_agent))
            .with(Email::new(&options.email, outlet, tls, inbox)?)
            .with(sms.channel);
        Ok(channels)
    }

    /// Connections of the HTTP channels so far.
    pub fn http_stats(&self) -> HttpStats {
        self.http.as_ref().map(|http| http.stats()).unwrap_or_default()
    }

    /// Connections of the HTTP channels to the busiest origins, at most `most` of them.
    pub fn busiest_origins(&self, most: usize) -> Vec<OriginStats> {
        self.http.as_ref().map(|http| http.busiest_origins(most)).unwrap_or_default()
    }

    /// The standard `webhook` channel itself, for its access tokens; `None` if these are not the standard channels.
    pub fn webhook(&self) -> Option<&Arc<webhook::Webhook>> {
        self.webhook.as_ref()
    }

    /// What carriers have to tell: receipts and inbound messages. There is one listener: later calls get `None`.
    pub fn carrier_news(&self) -> Option<mpsc::Receiver<CarrierNews>> {
        self.news.listen()
    }

    /// What keeps the carrier of text messages going: run it as long as messages are sent. There is one; later calls get `None`.
    pub fn carrier_work(&self) -> Option<CarrierWork> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How callbacks of the SMS gateway are read, if one is configured that calls back. What they say goes to [`Channels::carrier_inbox`].
    pub fn gateway_rules(&self) -> Option<&Arc<GatewayRules>> {
        self.gateway.as_ref()
    }

    /// The way in for news that come from outside the channels, e.g. a callback of a gateway.
    pub fn carrier_inbox(&self) -> CarrierInbox {
        self.news.inbox()
    }

    /// Adds one; the last of a name wins.
    pub fn with(mut self, channel: impl Channel + 'static) -> Self {
        self.by_name.insert(channel.name(), Arc::new(channel));
        self
    }

    /// The channel of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Channel>> {
        self.by_name.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.by_name.keys().copied()
    }
}
