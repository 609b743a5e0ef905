//! The table of all settings: one row each, from which file, environment, example and documentation are made.

use super::Config;
use super::value::{Field, OrNone, Raw, Size};

/// One setting.
pub struct Setting {
    /// Key in the file, `section.name` or `name`.
    pub key: &'static str,
    /// What it does, for the example file and the documentation.
    pub help: &'static str,
    /// Whether its value may hold a password, which is then never shown.
    pub secret: bool,
    pub(super) read: fn(&mut Config, &Raw) -> Result<(), String>,
    show: fn(&Config) -> String,
}

impl Setting {
    /// Its environment variable.
    pub fn variable(&self) -> String {
        format!("POSTHASTE_{}", self.key.replace('.', "_").to_ascii_uppercase())
    }

    /// Its value as TOML.
    pub fn show(&self, config: &Config) -> String {
        (self.show)(config)
    }

    /// Its value as TOML with passwords blotted out.
    pub fn show_masked(&self, config: &Config) -> String {
        let shown = self.show(config);
        if self.secret && shown.starts_with('{') {
            return "{ … }".to_owned();
        }
        match (self.secret, shown.split_once("://"), shown.rsplit_once('@')) {
            (true, Some((scheme, _)), Some((_, host))) => format!("{scheme}://***@{host}"),
            _ => shown,
        }
    }
}

macro_rules! setting {
    ($key:literal, $($field:ident).+, $help:literal $(, $secret:literal)?) => {
        Setting {
            key: $key,
            help: $help,
            secret: false $(|| $secret)?,
            read: |config, raw| {
                config.$($field).+ = Field::read(raw)?;
                Ok(())
            },
            show: |config| Field::show(&config.$($field).+),
        }
    };
}

/// A setting whose form in the file is another than the one in memory.
macro_rules! setting_as {
    ($key:literal, $form:ident, $($field:ident).+, $help:literal) => {
        Setting {
            key: $key,
            help: $help,
            secret: false,
            read: |config, raw| {
                let $form(value) = Field::read(raw)?;
                config.$($field).+ = value;
                Ok(())
            },
            show: |config| $form(config.$($field).+.clone()).show(),
        }
    };
}

/// All settings, in the order of the example file.
pub static SETTINGS: &[Setting] = &[
    setting!("data", data, "Directory that holds everything the server keeps. Made on first start; one process at a time."),
    setting!(
        "listen",
        listen,
        "Address to listen on. Put a proxy that speaks TLS in front before you listen on anything but loopback. Port 0 takes a free port."
    ),
    setting!(
        "public_url",
        public_url,
        "How others reach this server, for links in messages. Empty: the address it listens on. Example: \"https://events.example.com\"."
    ),
    setting!(
        "allow_network",
        allow_network,
        "Private, loopback and link-local networks that targets may be in; all others of that sort are refused. Example: [\"10.20.0.0/16\"]."
    ),
    setting!(
        "database.url",
        database.url,
        "A Postgres (15 or newer) that this node shares with others, instead of the data directory. Example: \"postgres://posthaste@db.internal/posthaste\".",
        true
    ),
    setting!(
        "database.ca",
        database.ca,
        "File with certificates, in PEM, of the authorities that may vouch for the database. Empty: those of the system. TLS is used with ?sslmode=require \
         at the end of the URL."
    ),
    setting!("database.connections", database.connections, "Connections of this node to the database, at least 7."),
    setting!("database.node", database.node, "What this node is called where nodes are listed. Empty: the name of the machine."),
    setting!(
        "database.master_key",
        database.master_key,
        "Key of 32 bytes in base64 that seals the secrets in the database, the same on all nodes; more keys after a comma open what older ones sealed. Empty: \
         master.key in the data directory, made by the first start.",
        true
    ),
    setting!("limits.max_payload", limits.max_payload, "Largest event on the native API."),
    setting!("limits.in_flight", limits.in_flight, "Attempts under way at once, all targets together."),
    setting!(
        "limits.lane_bytes",
        limits.lane_bytes,
        "Memory of what waits for each target, first attempts and retries each. The rest waits on disk."
    ),
    setting!("limits.lanes_bytes", limits.lanes_bytes, "Memory that busy targets share beyond that."),
    setting!(
        "limits.accept_queue",
        limits.accept_queue,
        "Bytes of events that may wait for their commit. Beyond it, senders are told to come back (503 with Retry-After)."
    ),
    setting!(
        "limits.shutdown",
        limits.shutdown,
        "How long a shutdown waits for requests and attempts under way. What does not finish is sent again after the next start."
    ),
    setting!("retention.age", retention.age, "Events, deliveries and attempts older than this are dropped. Pending deliveries stay."),
    setting!("retention.bytes", retention.bytes, "The oldest are dropped when all together are larger than this. Pending deliveries stay."),
    setting!(
        "retention.segment",
        retention.segment,
        "A file of the journal that is larger is followed by the next. Whole files are dropped."
    ),
    setting!("retention.every", retention.every, "How often to look what is to be dropped or compressed."),
    setting!(
        "retention.compress_after",
        retention.compress_after,
        "A file of the journal that nothing is added to, without pending deliveries and with no event younger than this, is compressed. 0s: never."
    ),
    setting!("retention.audit", retention.audit, "Entries of the audit log older than this are dropped."),
    setting!("sessions.idle", sessions.idle, "How long a member stays signed in to the console without a visit, give or take an hour."),
    setting!("sessions.absolute", sessions.absolute, "How long a member stays signed in at most."),
    setting!("console.enabled", console.enabled, "Whether the web console is served, under /console/."),
    setting!("inbox.public_limit", inbox.public_limit, "Events that one address may send with one public key in inbox.public_per."),
    setting!("inbox.public_per", inbox.public_per, "Window of inbox.public_limit."),
    setting!("inbox.block", inbox.block, "How long an address that exceeded inbox.public_limit is refused."),
    setting!("inbox.max_characters", inbox.max_characters, "Largest inbox event, in Unicode characters of its compact JSON."),
    setting!(
        "inbox.trusted_proxies",
        inbox.trusted_proxies,
        "Proxies whose forwarding headers tell the address of a sender, and of people who log in. From any other peer those headers are ignored. Example: [\"127.0.0.1\"]."
    ),
    setting!(
        "email.relay",
        email.relay,
        "SMTP relay for clients' mail and for e-mail targets that name none. Empty: clients' mail goes to a simulator that sends nothing. Example: \"smtps://user:password@mail.example.com:465\".",
        true
    ),
    setting!("email.from", email.from, "Sender of e-mail targets that name none. Example: \"Posthaste <events@example.com>\"."),
    setting!(
        "email.retry",
        email.retry,
        "Delays between the tries of a client's mail that the relay does not take for now. After the last one it fails."
    ),
    setting!(
        "sms.carrier",
        sms.carrier,
        "Who carries text messages: \"simulator\", an SMPP address such as \"smpp://user:password@host:2775\", or the table of an HTTP gateway (docs/sms.md).",
        true
    ),
    setting!("sms.from", sms.from, "Sender of text messages that name none. Empty: the carrier's own."),
    setting!(
        "sms.retry",
        sms.retry,
        "Delays between the tries of a text message that the carrier does not take for now. After the last one it fails."
    ),
    setting!("sms.simulator.receipt_after", sms.simulator.receipt_after, "From taking a message to the simulator's receipt."),
    setting!("sms.simulator.late_receipt_after", sms.simulator.late_receipt_after, "The same for the simulator's slow number."),
    setting!("sms.simulator.reply_after", sms.simulator.reply_after, "From the simulator's receipt to the reply of numbers that reply."),
    setting!(
        "delivery.rotation_overlap",
        delivery.rotation_overlap,
        "How long the old signing secret of a target signs beside the new one after a rotation."
    ),
    setting!("delivery.disable_after", delivery.disable_after, "A target that failed for so long without one success is disabled."),
    setting!(
        "delivery.notify_email",
        delivery.notify_email,
        "Who gets an e-mail when a target is paused, disabled or works again. Empty: nobody (it is logged, and there is an event, in any case)."
    ),
    setting!("dialect.msggo.enabled", dialects.msggo.enabled, "Whether the MsgGO inbox is served. Its numbers are in [inbox]."),
    setting!("dialect.momentum.enabled", dialects.momentum.enabled, "Whether Momentum's webhooks API is served."),
    setting!(
        "dialect.momentum.auth",
        dialects.momentum.auth_required,
        "Whether its calls need a key. Without, they act on the first workspace."
    ),
    setting!(
        "dialect.momentum.activation",
        dialects.momentum.activation,
        "How long after its creation a webhook begins to collect events."
    ),
    setting!("dialect.momentum.batch.events", dialects.momentum.batch_events, "Most events in a batch."),
    setting_as!("dialect.momentum.batch.bytes", Size, dialects.momentum.batch_bytes, "Most bytes of events in a batch."),
    setting!(
        "dialect.momentum.batch.wait",
        dialects.momentum.batch_wait,
        "Longest time that the first event of a batch waits for company."
    ),
    setting!("dialect.momentum.concurrency", dialects.momentum.concurrency, "Batches under way to one webhook at once."),
    setting!("dialect.momentum.timeout", dialects.momentum.timeout, "Longest time for one attempt, and for the test of a target."),
    setting!("dialect.momentum.retry.first", dialects.momentum.retry_first, "Delay before the second attempt."),
    setting!("dialect.momentum.retry.factor", dialects.momentum.retry_factor, "What each delay is multiplied by."),
    setting!("dialect.momentum.retry.max", dialects.momentum.retry_max, "Where the delay stops growing."),
    setting!(
        "dialect.momentum.retry.window",
        dialects.momentum.retry_window,
        "How long after its first attempt a batch is tried; then it is dropped."
    ),
    setting!("dialect.momentum.status_window", dialects.momentum.status_window, "How far back the batch status looks."),
    setting!("dialect.msgine.enabled", dialects.msgine.enabled, "Whether MsGine's API is served."),
    setting!("dialect.msgine.allow_http", dialects.msgine.allow_http, "Whether its webhooks may go to http:// URLs. For tests."),
    setting!("dialect.msgine.timeout", dialects.msgine.webhook_timeout, "Longest time for one attempt of a webhook."),
    setting!(
        "dialect.msgine.retry",
        dialects.msgine.retry_delays,
        "Delays before the retries of a webhook. After the last one it fails, and the owner is told."
    ),
    setting!("dialect.msgine.sender_id", dialects.msgine.sender_id, "Sender of accounts that chose none."),
    setting!(
        "dialect.msgine.tier",
        dialects.msgine.tier,
        "Rate limits of accounts that chose none: free, starter, professional or enterprise."
    ),
    setting!("dialect.msgine.max_recipients", dialects.msgine.max_recipients, "Most recipients of one message."),
    setting!("dialect.messagemedia.enabled", dialects.messagemedia.enabled, "Whether MessageMedia's API is served."),
    setting!(
        "dialect.messagemedia.signature_keys",
        dialects.messagemedia.signature_keys,
        "Whether accounts that chose nothing have signature keys."
    ),
    setting!(
        "dialect.messagemedia.date_tolerance",
        dialects.messagemedia.date_tolerance,
        "How far the Date of a request signed by HMAC may be off."
    ),
    setting!("dialect.messagemedia.timeout", dialects.messagemedia.read_timeout, "Time for one attempt of webhooks that name none."),
    setting!("dialect.messagemedia.retry_delay", dialects.messagemedia.retry_delay, "Wait before a retry of webhooks that name none."),
    setting!("dialect.mailgun.enabled", dialects.mailgun.enabled, "Whether Mailgun's API is served."),
    setting_as!(
        "dialect.mailgun.requests_per_minute",
        OrNone,
        dialects.mailgun.webhook_requests_per_minute,
        "Requests that its webhooks API takes from one workspace in a minute. 0: any number."
    ),
    setting!("dialect.mailgun.timeout", dialects.mailgun.timeout, "Longest time for one attempt of a webhook, and for the test call."),
    setting!("dialect.mailgun.retry", dialects.mailgun.retry, "Delays before the retries of a webhook."),
    setting!("dialect.mailgun.retry_delivered", dialects.mailgun.retry_delivered, "Whether webhooks of `delivered` are retried too."),
    setting_as!("dialect.mailgun.max_message", Size, dialects.mailgun.max_message_bytes, "Largest message that is sent, files included."),
    setting!("dialect.mailgun.max_schedule", dialects.mailgun.max_schedule, "How far ahead a message may be scheduled."),
    setting!("dialect.mailgun.stored_messages", dialects.mailgun.stored_messages, "How long a sent message can be read again."),
    setting!("log.format", log.format, "\"human\" for people, \"json\" for machines. The log goes to standard error."),
    setting!("log.level", log.level, "error, warn, info, debug or trace; or directives such as \"info,posthaste_engine=debug\"."),
];
