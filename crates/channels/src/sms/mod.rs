//! The `sms` channel: text messages through the one carrier that the operator configured.
//!
//! A carrier is the simulator (the default, until another is configured), an SMPP message centre, or an HTTP gateway. Settings of a target are
//! `{"to": "+15551230001", "from"?: "…"}`: it gets rendered messages as one SMS. Messages of clients ([`crate::Sms`]) name sender and recipient
//! themselves and need no settings.
//!
//! Invariants: a try hands a message over at most once, and what was handed over of a message in several segments is not handed over again by
//! the next try of the same delivery; what a carrier tells ([`NewsKind`]) is confirmed to it only after the listener has it durably; the
//! operator's carrier is trusted: its address is not vetted, and its failures are this server's.

mod gateway;
mod simulator;
mod smpp;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::sms::{Sender, is_e164};
use posthaste_domain::template::Form;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::gateway::{CallbackError, GatewayRules};
pub use self::simulator::SimulatorSettings;
use crate::carrier::CarrierInbox;
use crate::dial::Outlet;
use crate::failure::Code;
use crate::settings::{Fields, refuse, without_nulls};
use crate::tls::Tls;
use crate::{
    AddressGuard, Channel, CheckedSettings, Content, ContentKind, Dispatch, NewsKind, Outcome, Report, SendError, SettingsError, Sms,
};

/// Where settings of the operator's carrier stand, for messages.
const FIELD: &str = "sms.carrier";

/// What the operator configured for text messages.
#[derive(Clone, Debug, PartialEq)]
pub struct SmsDefaults {
    /// `"simulator"`, a URL such as `smpp://user:password@host:2775?window=10`, or an object that describes an HTTP gateway.
    pub carrier: Value,
    /// Sender of messages that name none: a number in E.164, a short code or a name.
    pub from: Option<String>,
    /// How fast the simulator is.
    pub simulator: SimulatorSettings,
}

impl Default for SmsDefaults {
    fn default() -> Self {
        Self { carrier: Value::String("simulator".to_owned()), from: None, simulator: SimulatorSettings::default() }
    }
}

impl SmsDefaults {
    /// Checks what the operator wrote.
    ///
    /// # Errors
    /// If a setting cannot be used; the fields are below `sms`.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.from.as_deref().is_some_and(|from| Sender::parse(from).is_none()) {
            return Err(refuse("sms.from", SENDER_RULE));
        }
        Configured::parse(&self.carrier).map(drop)
    }
}

/// The carrier that was configured.
enum Configured {
    Simulator,
    Smpp(Box<smpp::SmppSettings>),
    Gateway(Box<gateway::GatewaySettings>, Option<Arc<GatewayRules>>),
}

impl Configured {
    fn parse(carrier: &Value) -> Result<Self, SettingsError> {
        match carrier {
            Value::String(word) if word == "simulator" => Ok(Self::Simulator),
            Value::String(url) => smpp::SmppSettings::parse(FIELD, url).map(Box::new).map(Self::Smpp),
            Value::Object(_) => {
                gateway::parse(FIELD, carrier).map(|(settings, rules)| Self::Gateway(Box::new(settings), rules.map(Arc::new)))
            }
            _ => Err(refuse(FIELD, "must be \"simulator\", a URL that begins with smpp:// or smpps://, or an HTTP gateway's table")),
        }
    }
}

/// How long the pauses are before a carrier's news are offered again, as long as the listener does not take them: a receipt can be
/// faster than the record of what it is about.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(3)];

/// Offers news until they are durable, or until it has been tried often enough.
async fn offer_patiently(inbox: &CarrierInbox, kind: NewsKind) -> bool {
    for pause in PAUSES {
        if inbox.offer(kind.clone()).await {
            return true;
        }
        tokio::time::sleep(pause).await;
    }
    let taken = inbox.offer(kind).await;
    if !taken {
        tracing::warn!("news of an SMS carrier were not taken");
    }
    taken
}

/// A try as a carrier sees it.
struct Handover<'a> {
    delivery_id: &'a str,
    sms: &'a Sms,
    connect_timeout: Duration,
    timeout: Duration,
}

/// A way to hand a message over.
#[async_trait]
trait Carrier: Send + Sync {
    /// How the request is shown in the log, its first line.
    fn label(&self) -> &str;

    /// Tries once.
    async fn hand_over(&self, handover: Handover<'_>) -> Handed;
}

/// What came of handing over.
struct Handed {
    /// The carrier's id, or why it took nothing.
    taken: Result<Option<String>, SendError>,
    /// HTTP status or SMPP command status.
    status: Option<u16>,
    /// The answer, as the log shows it.
    response: Arc<str>,
    body: Bytes,
    retry_after: Option<String>,
}

impl Handed {
    fn taken(carrier_id: Option<String>, response: impl Into<Arc<str>>) -> Self {
        Self { taken: Ok(carrier_id), status: None, response: response.into(), body: Bytes::new(), retry_after: None }
    }

    fn refused(error: SendError, status: Option<u16>) -> Self {
        Self { taken: Err(error), status, response: Arc::default(), body: Bytes::new(), retry_after: None }
    }
}

/// The channel.
pub struct SmsChannel {
    carrier: Arc<dyn Carrier>,
    simulator: Arc<dyn Carrier>,
    from: Option<String>,
}

/// What keeps the carrier going; see [`CarrierWork::run`].
pub struct CarrierWork {
    simulator: simulator::Errands,
    smpp: Option<smpp::Link>,
}

/// The channel and what belongs to it.
pub(crate) struct Made {
    pub(crate) channel: SmsChannel,
    pub(crate) work: CarrierWork,
    pub(crate) rules: Option<Arc<GatewayRules>>,
}

impl SmsChannel {
    /// The channel with the operator's carrier.
    ///
    /// # Errors
    /// If a setting cannot be used; the fields are below `sms`.
    pub(crate) fn make(defaults: &SmsDefaults, outlet: &Outlet, tls: Arc<Tls>, inbox: CarrierInbox) -> Result<Made, SettingsError> {
        defaults.check()?;
        let (simulator, errands) = simulator::make(&defaults.simulator, inbox.clone());
        let simulator: Arc<dyn Carrier> = Arc::new(simulator);
        let trusted = Arc::new(outlet.guarded_by(AddressGuard::open()));
        let (mut link, mut rules) = (None, None);
        let carrier: Arc<dyn Carrier> = match Configured::parse(&defaults.carrier)? {
            Configured::Simulator => Arc::clone(&simulator),
            Configured::Smpp(settings) => {
                let (smpp, made) = smpp::make(*settings, trusted, tls, inbox);
                link = Some(made);
                Arc::new(smpp)
            }
            Configured::Gateway(settings, made) => {
                rules = made;
                Arc::new(gateway::Gateway::new(*settings, trusted, tls))
            }
        };
        let channel = Self { carrier, simulator, from: defaults.from.clone() };
        Ok(Made { channel, work: CarrierWork { simulator: errands, smpp: link }, rules })
    }

    /// The message, or why no carrier would take it, with the command status that a message centre would answer.
    fn message(&self, dispatch: &Dispatch<'_>) -> Result<Sms, (SendError, Option<u16>)> {
        let mut sms = match &dispatch.content {
            Content::Sms(sms) => (**sms).clone(),
            Content::Message(message) => {
                let target = parse(dispatch.settings).map_err(|error| (Code::SettingsInvalid.error(error.to_string()), None))?;
                Sms {
                    message_id: dispatch.delivery_id.to_owned(),
                    from: target.from,
                    to: target.to,
                    text: message.text.clone(),
                    test: false,
                }
            }
            other => return Err((Code::ContentUnsupported.error(format!("this channel carries no {:?} content", other.kind())), None)),
        };
        if sms.from.is_empty() {
            sms.from = self.from.clone().unwrap_or_default();
        }
        if !is_e164(&sms.to) {
            return Err((Code::SmsRejected.error("the recipient is not a number in E.164, such as +15551230001"), Some(INVALID_RECIPIENT)));
        }
        if !sms.from.is_empty() && Sender::parse(&sms.from).is_none() {
            return Err((Code::SmsRejected.error(format!("the sender {SENDER_RULE}")), Some(INVALID_SENDER)));
        }
        Ok(sms)
    }
}

/// The command statuses ESME_RINVSRCADR and ESME_RINVDSTADR: what is refused with a status is not held against the carrier.
const INVALID_SENDER: u16 = 0x0A;
const INVALID_RECIPIENT: u16 = 0x0B;
/// ESME_RSYSERR.
const SYSTEM_ERROR: u16 = 0x08;
const SENDER_RULE: &str = "must be a number such as +15551230001, a short code of 3 to 8 digits, or a name of at most 11 ASCII characters";

struct TargetSettings {
    to: String,
    from: String,
}

/// Whether a target carries the messages of clients, which bring their own numbers.
fn is_carrier(settings: &Value) -> Result<bool, SettingsError> {
    let fields = Fields::of(settings, "settings", &["to", "from", "carrier"])?;
    match fields.get("carrier") {
        None | Some(Value::Bool(false)) => Ok(false),
        Some(Value::Bool(true)) => match ["to", "from"].into_iter().find(|name| fields.get(name).is_some()) {
            Some(name) => Err(refuse(fields.path(name), "is not for a carrier, whose messages bring their own numbers")),
            None => Ok(true),
        },
        Some(_) => Err(refuse(fields.path("carrier"), "must be true or false")),
    }
}

fn parse(settings: &Value) -> Result<TargetSettings, SettingsError> {
    let fields = Fields::of(settings, "settings", &["to", "from", "carrier"])?;
    let to = fields.required("to")?;
    if !is_e164(to) {
        return Err(refuse(fields.path("to"), "must be a number in E.164, such as +15551230001"));
    }
    let from = fields.text("from")?.unwrap_or_default();
    if !from.is_empty() && Sender::parse(from).is_none() {
        return Err(refuse(fields.path("from"), SENDER_RULE));
    }
    Ok(TargetSettings { to: to.to_owned(), from: from.to_owned() })
}

#[async_trait]
impl Channel for SmsChannel {
    fn name(&self) -> &'static str {
        "sms"
    }

    fn form(&self) -> Form {
        Form::Short
    }

    fn takes(&self, kind: ContentKind) -> bool {
        matches!(kind, ContentKind::Message | ContentKind::Sms)
    }

    fn check(&self, settings: &Value) -> Result<CheckedSettings, SettingsError> {
        if !is_carrier(settings)? {
            parse(settings)?;
        }
        Ok(CheckedSettings { settings: without_nulls(settings), secrets: Vec::new() })
    }

    async fn send(&self, dispatch: Dispatch<'_>) -> Report {
        let started = Instant::now();
        let sms = match self.message(&dispatch) {
            Ok(sms) => sms,
            Err((error, status)) => return Report { status, ..Report::failed(error, Arc::default(), started) },
        };
        let carrier = if sms.test { &self.simulator } else { &self.carrier };
        let sender = if sms.from.is_empty() { "(the carrier's)" } else { &sms.from };
        let request: Arc<str> = format!("{}\nfrom: {sender}\nto: {}", carrier.label(), sms.to).into();
        let Dispatch { delivery_id, connect_timeout, timeout, .. } = dispatch;
        let handed = carrier.hand_over(Handover { delivery_id, sms: &sms, connect_timeout, timeout }).await;
        let (outcome, carrier_id) = match handed.taken {
            Ok(carrier_id) => (Outcome::Delivered, carrier_id),
            Err(error) => (Outcome::Failed(error), None),
        };
        Report {
            outcome,
            status: handed.status,
            request,
            response: handed.response,
            response_body: handed.body,
            retry_after: handed.retry_after,
            carrier_id,
            duration: started.elapsed(),
        }
    }
}

impl CarrierWork {
    /// Keeps the carrier connected and passes its news on, until `stop` resolves; then says good-bye and ends within a few seconds. Without it
    /// nothing is sent through SMPP, and the simulator answers nothing.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (tell, told) = watch::channel(false);
        let simulator = self.simulator.run(told.clone());
        let smpp = async move {
            if let Some(link) = self.smpp {
                link.run(told).await;
            }
        };
        let stopping = async move {
            stop.await;
            tell.send_replace(true);
            // Kept until the others have ended: a closed channel would look like silence.
            tell
        };
        let (_told, (), ()) = tokio::join!(stopping, simulator, smpp);
    }
}

/// Resolves when the work is to end.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody can tell any more, which is as good as being told.
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests;
