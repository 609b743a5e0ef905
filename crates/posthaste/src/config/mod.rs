//! Configuration: flags over environment over one TOML file over defaults.
//!
//! Every setting is one row of [`SETTINGS`]; its key in the file, its environment variable (`POSTHASTE_` + the key in capitals, dots as
//! underscores), the example file and the output of `posthaste check` all come from that row, so they cannot disagree. Nothing needs to be
//! set. A key, a value or a section that is not known is refused, with file, line and the nearest known name.

#[cfg(test)]
mod deployment;
pub mod load;
mod settings;
pub mod suggest;
pub mod value;

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use posthaste_channels::sms::{SimulatorSettings, SmsDefaults};
use posthaste_dialects::DialectSettings;
use posthaste_dialects::msggo::MsggoSettings;
use posthaste_engine::EngineSettings;
use posthaste_server::ServeSettings;
use posthaste_store::sqlite::SqliteOptions;

pub use settings::{SETTINGS, Setting};
use value::{BaseUrl, Carrier, Listen, LogFormat, LogLevel, Size, Span};

/// The effective configuration of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Data directory.
    pub data: PathBuf,
    /// The shared database, for a node of a cluster.
    pub database: Database,
    /// Where to listen.
    pub listen: Listen,
    /// How others reach this server; empty: the address it listens on.
    pub public_url: BaseUrl,
    /// Private networks that targets may be in.
    pub allow_network: Vec<IpNet>,
    /// Memory and size limits.
    pub limits: Limits,
    /// What is kept how long.
    pub retention: Retention,
    /// Members who are signed in.
    pub sessions: Sessions,
    /// The web console.
    pub console: Console,
    /// The MsgGO inbox.
    pub inbox: Inbox,
    /// Outgoing e-mail.
    pub email: Email,
    /// Deliveries.
    pub delivery: Deliveries,
    /// Text messages.
    pub sms: Sms,
    /// The vendors' APIs.
    pub dialects: DialectSettings,
    /// The log.
    pub log: Log,
}

/// A Postgres that several nodes share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Database {
    /// Where it is; empty: everything is in the data directory.
    pub url: String,
    /// File of the authorities that may vouch for it; empty: those of the system.
    pub ca: String,
    /// Connections of this node.
    pub connections: usize,
    /// What this node is called.
    pub node: String,
    /// Keys that seal the catalog's secrets; empty: those of the data directory.
    pub master_key: String,
}

/// Limits of size, memory and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Largest event payload on the native API.
    pub max_payload: Size,
    /// Attempts in flight, all targets together.
    pub in_flight: usize,
    /// Bytes that each target's lane may hold in memory in any case, of first attempts and of retries each.
    pub lane_bytes: Size,
    /// Bytes that busy lanes may hold beyond that, all together.
    pub lanes_bytes: Size,
    /// Bytes of events waiting for their commit before senders get a 503.
    pub accept_queue: Size,
    /// Time for a graceful shutdown.
    pub shutdown: Span,
}

/// What is kept how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Retention {
    /// Longest.
    pub age: Span,
    /// Most.
    pub bytes: Size,
    /// Size at which a file of the journal is followed by the next.
    pub segment: Size,
    /// How often it is looked at.
    pub every: Span,
    /// Age at which a file of the journal is compressed; zero: never.
    pub compress_after: Span,
    /// Longest, of the audit log.
    pub audit: Span,
}

/// Members who are signed in.
#[derive(Clone, Debug, PartialEq)]
pub struct Sessions {
    /// Without a visit.
    pub idle: Span,
    /// In all.
    pub absolute: Span,
}

/// The web console.
#[derive(Clone, Debug, PartialEq)]
pub struct Console {
    /// Whether it is served.
    pub enabled: bool,
}

/// The MsgGO inbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Inbox {
    /// Events per `public_per`, address and public key.
    pub public_limit: u32,
    /// Window of `public_limit`.
    pub public_per: Span,
    /// How long an address over the limit is blocked.
    pub block: Span,
    /// Largest event in Unicode characters.
    pub max_characters: usize,
    /// Proxies whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// Outgoing e-mail.
#[derive(Clone, Debug, PartialEq)]
pub struct Email {
    /// SMTP relay of targets that name none.
    pub relay: String,
    /// Sender of targets that name none.
    pub from: String,
    /// Delays between the tries of a client's mail that is not taken for now.
    pub retry: Vec<Duration>,
}

/// Text messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Sms {
    /// Who carries them.
    pub carrier: Carrier,
    /// Sender of messages that name none.
    pub from: String,
    /// Delays between the tries of a message that is not taken for now.
    pub retry: Vec<Duration>,
    /// How fast the simulator is.
    pub simulator: SimulatorSettings,
}

/// Deliveries.
#[derive(Clone, Debug, PartialEq)]
pub struct Deliveries {
    /// How long an old signing secret still signs after a rotation.
    pub rotation_overlap: Span,
    /// How long a target may fail without a success before it is disabled.
    pub disable_after: Span,
    /// Who gets an e-mail when a target is paused, disabled or back; empty: nobody.
    pub notify_email: String,
}

/// The log.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// How much.
    pub level: LogLevel,
}

impl Default for Config {
    /// What the parts themselves state as their defaults.
    fn default() -> Self {
        let engine = EngineSettings::default();
        let inbox = MsggoSettings::default();
        let serve = ServeSettings::default();
        let sms = SmsDefaults::default();
        let size = |bytes: usize| Size(u64::try_from(bytes).unwrap_or(u64::MAX));
        Self {
            data: PathBuf::from("./posthaste-data"),
            database: Database { connections: 8, ..Database::default() },
            listen: Listen("127.0.0.1:8080".into()),
            public_url: BaseUrl::default(),
            allow_network: Vec::new(),
            limits: Limits {
                max_payload: size(engine.max_payload_bytes),
                in_flight: engine.global_in_flight,
                lane_bytes: size(engine.lane_bytes),
                lanes_bytes: size(engine.lanes_bytes),
                accept_queue: size(engine.accept_queue_bytes),
                shutdown: Span(serve.grace),
            },
            retention: Retention {
                age: Span(Duration::from_millis(engine.retention.max_age_ms.try_into().unwrap_or(u64::MAX))),
                bytes: Size(engine.retention.max_bytes),
                segment: Size(SqliteOptions::default().segment_bytes),
                every: Span(engine.retention_every),
                compress_after: Span(Duration::from_secs(60 * 60)),
                audit: Span(engine.audit_age),
            },
            sessions: Sessions { idle: Span(engine.sessions.idle), absolute: Span(engine.sessions.absolute) },
            console: Console { enabled: true },
            inbox: Inbox {
                public_limit: inbox.public_limit,
                public_per: Span(inbox.public_per),
                block: Span(inbox.block),
                max_characters: inbox.max_characters,
                trusted_proxies: inbox.trusted_proxies,
            },
            email: Email { relay: String::new(), from: String::new(), retry: engine.carriers.email_retry },
            sms: Sms {
                carrier: Carrier(sms.carrier),
                from: sms.from.unwrap_or_default(),
                retry: engine.carriers.sms_retry,
                simulator: sms.simulator,
            },
            dialects: DialectSettings::default(),
            delivery: Deliveries {
                rotation_overlap: Span(engine.rotation_overlap),
                disable_after: Span(engine.disable_after),
                notify_email: engine.notify_email.unwrap_or_default(),
            },
            log: Log { format: LogFormat::Human, level: LogLevel("info".into()) },
        }
    }
}

/// The setting of a key.
pub fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.key == key)
}

impl Config {
    /// What is not really sent, with the setting that would change that.
    pub fn simulated(&self) -> Vec<(&'static str, &'static str)> {
        let mail = self.email.relay.is_empty().then_some(("mails", "email.relay"));
        let sms = (self.sms.carrier.0 == "simulator").then_some(("text messages", "sms.carrier"));
        [mail, sms].into_iter().flatten().collect()
    }

    /// What no single value shows: lengths and sizes that must not be nothing.
    fn contradictions(&self) -> Vec<(&'static str, String)> {
        let spans = [
            ("retention.age", self.retention.age),
            ("retention.every", self.retention.every),
            ("retention.audit", self.retention.audit),
            ("sessions.idle", self.sessions.idle),
            ("sessions.absolute", self.sessions.absolute),
            ("inbox.public_per", self.inbox.public_per),
            ("inbox.block", self.inbox.block),
            ("delivery.disable_after", self.delivery.disable_after),
            ("dialect.momentum.timeout", Span(self.dialects.momentum.timeout)),
            ("dialect.momentum.batch.wait", Span(self.dialects.momentum.batch_wait)),
            ("dialect.msgine.timeout", Span(self.dialects.msgine.webhook_timeout)),
            ("dialect.mailgun.timeout", Span(self.dialects.mailgun.timeout)),
        ];
        let sizes = [
            ("limits.max_payload", self.limits.max_payload),
            ("limits.lane_bytes", self.limits.lane_bytes),
            ("limits.accept_queue", self.limits.accept_queue),
            ("retention.bytes", self.retention.bytes),
            ("retention.segment", self.retention.segment),
        ];
        let mut found: Vec<_> =
            spans.iter().filter(|(_, span)| span.0.is_zero()).map(|(key, _)| (*key, "must not be zero".into())).collect();
        found.extend(sizes.iter().filter(|(_, size)| size.0 == 0).map(|(key, _)| (*key, "must not be zero".to_owned())));
        for (name, reason) in self.dialects.msgine.mistakes() {
            let key = SETTINGS.iter().map(|setting| setting.key).find(|key| key.strip_prefix("dialect.msgine.") == Some(name));
            found.extend(key.map(|key| (key, reason.to_owned())));
        }
        if self.limits.accept_queue < self.limits.max_payload {
            let reason =
                format!("is smaller than limits.max_payload ({}), so the largest event could never be accepted", self.limits.max_payload);
            found.push(("limits.accept_queue", reason));
        }
        found
    }
}

/// The annotated example file: every setting with its default.
pub fn example() -> String {
    let defaults = Config::default();
    let mut out = String::from(
        "# Posthaste: every setting with its default. Nothing here is needed; keep only what you change.\n\
         # Flags win over environment variables, those over this file. The variable of `section.name` is POSTHASTE_SECTION_NAME.\n\
         # `posthaste check --config FILE` shows what is in effect and where each value came from.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
        let (in_section, name) = section_of(setting.key);
        if in_section != section {
            out.push_str(&format!("\n[{in_section}]\n"));
            section = in_section;
        } else {
            out.push('\n');
        }
        for line in wrap(setting.help, 108) {
            out.push_str(&format!("# {line}\n"));
        }
        out.push_str(&format!("{name} = {}\n", setting.show(&defaults)));
    }
    out
}

/// The table that a key stands in, and its name there: `dialect.NAME` for dialects, the first word for others.
fn section_of(key: &str) -> (&str, &str) {
    let dots = if key.starts_with("dialect.") { 2 } else { 1 };
    key.match_indices('.').nth(dots - 1).map_or(("", key), |(dot, _)| (&key[..dot], &key[dot + 1..]))
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always one line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
