//! Configuration resources: the documents of the catalog.
//!
//! A resource is a JSON document of one [`Kind`] with a number (small, never reused, what the journal refers to), a public id and a
//! version for optimistic concurrency. Values at [`Resource::secret_pointers`] are encrypted at rest and masked in answers.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::message::Track;
use crate::policy::breaker::Snapshot;

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A tenant.
    Workspace,
    /// A credential.
    Key,
    /// An event type.
    EventType,
    /// A target.
    Target,
    /// A template.
    Template,
    /// A subscription.
    Subscription,
    /// A request bin.
    Bin,
    /// A bulk replay job.
    Replay,
    /// What of a target's health outlives a process; internal.
    Health,
    /// A mail domain.
    Domain,
    /// A workspace's settings in one dialect.
    Account,
    /// A person who may sign in.
    Member,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Workspace,
        Self::Key,
        Self::EventType,
        Self::Target,
        Self::Template,
        Self::Subscription,
        Self::Bin,
        Self::Replay,
        Self::Health,
        Self::Domain,
        Self::Account,
        Self::Member,
    ];

    /// Stable name, used on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Key => "key",
            Self::EventType => "event_type",
            Self::Target => "target",
            Self::Template => "template",
            Self::Subscription => "subscription",
            Self::Bin => "bin",
            Self::Replay => "replay",
            Self::Health => "health",
            Self::Domain => "domain",
            Self::Account => "account",
            Self::Member => "member",
        }
    }

    /// From the stable name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }

    /// Prefix of public ids.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Workspace => "wsp",
            Self::Key => "key",
            Self::EventType => "ety",
            Self::Target => "tgt",
            Self::Template => "tpl",
            Self::Subscription => "sub",
            Self::Bin => "bin",
            Self::Replay => "rpl",
            Self::Health => "hlt",
            Self::Domain => "dom",
            Self::Account => "acc",
            Self::Member => "mbr",
        }
    }
}

/// A typed catalog document.
pub trait Resource: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Its kind.
    const KIND: Kind;

    /// JSON pointers of the values to encrypt at rest and to mask in answers.
    fn secret_pointers(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A tenant: owns everything else; nothing crosses it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workspace {
    /// Display name.
    pub name: String,
    /// Id of the workspace whose keys may act for this one, where a dialect knows sub-accounts (MessageMedia section 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

impl Resource for Workspace {
    const KIND: Kind = Kind::Workspace;
}

/// Private keys are for servers; public ones may be seen in browsers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// Scopes apply; ingestion is not rate limited.
    Private,
    /// May only publish, from allowed domains, within the per-address limit.
    Public,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything, keys and workspaces included.
    Admin,
    /// Publish events and send messages.
    Publish,
    /// Read everything but secrets.
    Read,
    /// Change event types, targets, templates, subscriptions and bins; resend and replay.
    Manage,
}

/// A credential of a workspace. Only the SHA-256 of its token is stored, and the token itself, encrypted, of a key that may sign requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// Private or public.
    pub kind: KeyKind,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// For public keys: host names whose pages may use it; `*.example.com` covers subdomains.
    #[serde(default)]
    pub allowed_domains: Vec<String>,
    /// Lower-case hex SHA-256 of the token.
    pub token_hash: String,
    /// The token's last four characters, to tell keys apart.
    pub token_hint: String,
    /// The token, for protocols that prove it without sending it (MessageMedia section 2.1: HMAC); only of keys made for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl Resource for Key {
    const KIND: Kind = Kind::Key;

    fn secret_pointers(&self) -> Vec<String> {
        self.secret.iter().map(|_| "/secret".to_owned()).collect()
    }
}

/// A name the workspace knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventType {
    /// 3 to 255 characters (MsgGO section 2), unique in the workspace.
    pub name: String,
    /// `Group` or `Group/Subgroup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// JSON subset that an inbox document must hold.
    pub rule: Value,
    /// Whether the rule was made from the name and never edited (then `event` is accepted for `event_name`, MsgGO O-6).
    pub rule_is_default: bool,
    /// Secret of the MsgGO format's `X-signature`.
    pub secret: String,
    /// Optional JSON Schema of the payload, for readers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

impl Resource for EventType {
    const KIND: Kind = Kind::EventType;

    fn secret_pointers(&self) -> Vec<String> {
        vec!["/secret".into()]
    }
}

/// A Standard Webhooks secret of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SigningKey {
    /// `whsec_…` or `whsk_…`.
    pub secret: String,
    /// When it was made.
    pub created_ms: i64,
    /// After this it no longer signs; `None` for the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
}

/// What an operator or the server itself decided about a target. Passing trouble (probing) is the breaker's and not stored here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetStatus {
    /// Deliveries flow.
    #[default]
    Active,
    /// Held by hand; nothing is lost, resume drains gently.
    Paused,
    /// Switched off by a 410, by days of failure, or by hand: events accepted meanwhile make no delivery.
    Disabled,
}

/// What a dialect keeps beside a resource that it made. Holds no secrets: those belong into the target's settings or into the account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Name of the dialect.
    pub dialect: String,
    /// Its own facts.
    #[serde(default)]
    pub data: Value,
}

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Display name.
    pub name: String,
    /// Name of the channel: `webhook`, `slack`, `discord`, `email`, …
    pub channel: String,
    /// The channel's settings.
    pub settings: Value,
    /// JSON pointers into `settings` that hold secrets, as the channel said on save.
    #[serde(default)]
    pub secret_settings: Vec<String>,
    /// Standard Webhooks secrets, newest first.
    #[serde(default)]
    pub signing: Vec<SigningKey>,
    /// Policy that the target's subscriptions inherit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Value>,
    /// Active, paused or disabled.
    #[serde(default)]
    pub status: TargetStatus,
    /// Why it is not active, for its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// The dialect that made it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Mark>,
}

impl Target {
    /// An active target of a channel, with nothing but its settings.
    pub fn new(name: impl Into<String>, channel: impl Into<String>, settings: Value) -> Self {
        Self {
            name: name.into(),
            channel: channel.into(),
            settings,
            secret_settings: Vec::new(),
            signing: Vec::new(),
            policy: None,
            status: TargetStatus::Active,
            status_reason: None,
            dialect: None,
        }
    }
}

impl Resource for Target {
    const KIND: Kind = Kind::Target;

    fn secret_pointers(&self) -> Vec<String> {
        let signing = (0..self.signing.len()).map(|i| format!("/signing/{i}/secret"));
        self.secret_settings.iter().map(|p| format!("/settings{p}")).chain(signing).collect()
    }
}

/// Ordered blocks, written once and rendered per channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateDoc {
    /// Display name.
    pub name: String,
    /// Text and table blocks, as `crate::template::Block`.
    pub blocks: Value,
}

impl Resource for TemplateDoc {
    const KIND: Kind = Kind::Template;
}

/// Which events go to which target, in which form, under which policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// Names and wildcards (`order.*`).
    pub event_types: Vec<String>,
    /// Id of the target.
    pub target_id: String,
    /// Id of the template, if messages are rendered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    /// Name of the wire format; the channel's default otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Payload filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Value>,
    /// Overrides of the target's and the format's policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Value>,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Switched-off subscriptions match nothing.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Events received before this make no delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_from_ms: Option<i64>,
    /// Of an event's subscriptions with the same word here and the same target only the oldest counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<String>,
    /// Who is mailed when a delivery fails for good: `owner` or an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    /// The dialect that made it, if one did, and what its format needs to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Mark>,
}

fn yes() -> bool {
    true
}

impl Subscription {
    /// Everything of these types to a target, in the channel's default form and policy.
    pub fn new(event_types: Vec<String>, target_id: impl Into<String>) -> Self {
        Self {
            event_types,
            target_id: target_id.into(),
            template_id: None,
            format: None,
            filter: None,
            policy: None,
            description: String::new(),
            enabled: true,
            active_from_ms: None,
            once: None,
            notify: None,
            dialect: None,
        }
    }
}

impl Resource for Subscription {
    const KIND: Kind = Kind::Subscription;
}

/// How mails of a domain are signed (RFC 6376).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dkim {
    /// Selector in the DNS.
    pub selector: String,
    /// PEM of the private key.
    pub private_key: String,
}

/// A domain that a workspace sends mail from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Domain {
    /// Lower-case name, unique in the workspace.
    pub name: String,
    /// What is followed unless a message says otherwise.
    #[serde(default)]
    pub track: Track,
    /// Signature of its mails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dkim: Option<Dkim>,
    /// What dialects keep beside it, by their own names.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra: serde_json::Map<String, Value>,
}

impl Resource for Domain {
    const KIND: Kind = Kind::Domain;

    fn secret_pointers(&self) -> Vec<String> {
        self.dkim.iter().map(|_| "/dkim/private_key".to_owned()).collect()
    }
}

/// A workspace's settings in one dialect; at most one of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Name of the dialect.
    pub dialect: String,
    /// Its settings.
    pub settings: Value,
    /// JSON pointers into `settings` that hold secrets.
    #[serde(default)]
    pub secret_settings: Vec<String>,
}

impl Resource for Account {
    const KIND: Kind = Kind::Account;

    fn secret_pointers(&self) -> Vec<String> {
        self.secret_settings.iter().map(|p| format!("/settings{p}")).collect()
    }
}

/// A request bin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Free text.
    #[serde(default)]
    pub name: String,
    /// Unguessable part of its URL.
    pub token: String,
    /// When it and its requests go away.
    pub expires_ms: i64,
    /// Status it answers with.
    pub status: u16,
}

impl Resource for Bin {
    const KIND: Kind = Kind::Bin;
}

/// Where a bulk replay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayState {
    /// Working, or waiting to go on after a restart.
    Running,
    /// Went through all.
    Done,
    /// Stopped by hand.
    Cancelled,
}

/// A bulk replay: sends past deliveries again, behind live traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// Only this target's deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_id: Option<String>,
    /// Only events of this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// States to send again, e.g. `["failed"]`.
    pub states: Vec<String>,
    /// Events received at or after this.
    pub from_ms: i64,
    /// Events received before this.
    pub to_ms: i64,
    /// Where it stands.
    pub state: ReplayState,
    /// How many deliveries there were to look at when it began; `None` if there were too many to count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Deliveries looked at.
    pub scanned: u64,
    /// Deliveries sent again.
    pub resent: u64,
    /// Key of the last delivery looked at; 0 at the start.
    pub position: i64,
    /// The request that started it, if it named itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<OneRequest>,
}

/// A request that is done once, however often it comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneRequest {
    /// Its `Idempotency-Key`.
    pub key: String,
    /// SHA-256 of its body, hexadecimal.
    pub body_hash: String,
}

impl Resource for Replay {
    const KIND: Kind = Kind::Replay;
}

/// What of a target's health outlives a process. There is at most one of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Number of the target.
    pub target: i64,
    /// Its breaker after the last change of state.
    pub breaker: Snapshot,
}

impl Resource for Health {
    const KIND: Kind = Kind::Health;
}
