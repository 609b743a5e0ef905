//! Numbers of the engine. Every one is a setting; every default is stated here and nowhere else.

use std::time::Duration;

use posthaste_domain::message::MessageChannel;
use posthaste_domain::people::Lifetimes;
use posthaste_domain::policy::{Jitter, Policy, Retry};
use posthaste_store::RetentionRule;

/// Limits and times.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Largest payload of one event in bytes.
    pub max_payload_bytes: usize,
    /// Attempts under way at once, over all targets.
    pub global_in_flight: usize,
    /// Bytes of waiting deliveries that each target may hold in memory, first attempts and retries each; the rest waits in the journal.
    pub lane_bytes: usize,
    /// Bytes beyond that, over all targets: busy ones borrow from them.
    pub lanes_bytes: usize,
    /// Bytes of events that may wait for the disk; more are refused with 503.
    pub accept_queue_bytes: usize,
    /// How long a request may wait for a commit before the engine counts as overloaded.
    pub commit_patience: Duration,
    /// What to keep.
    pub retention: RetentionRule,
    /// How often retention looks.
    pub retention_every: Duration,
    /// How long an old signing secret goes on signing after a rotation (Standard Webhooks O-6).
    pub rotation_overlap: Duration,
    /// A target failing this long without one success is disabled (Standard Webhooks O-8).
    pub disable_after: Duration,
    /// Where this server is reached from outside, without a trailing slash.
    pub public_base_url: String,
    /// Key of the unguessable message pages.
    pub page_secret: [u8; 32],
    /// Active keys in a workspace (MsgGO section 2).
    pub max_keys: usize,
    /// Request bins in a workspace.
    pub max_bins: usize,
    /// How long an expired bin goes on saying so; then it is deleted.
    pub bin_grace: Duration,
    /// Operational notices are also mailed here, if e-mail is configured.
    pub notify_email: Option<String>,
    /// How messages are tried at their carriers.
    pub carriers: CarrierSettings,
    /// How long entries of the audit log are kept.
    pub audit_age: Duration,
    /// How long members stay signed in.
    pub sessions: Lifetimes,
}

/// How messages are tried at their carriers.
#[derive(Clone, Debug, PartialEq)]
pub struct CarrierSettings {
    /// Delays between the tries of an e-mail that is not taken for now (Mailgun 9.3: 10, 15, 30 min, 1, 2, 4 h).
    pub email_retry: Vec<Duration>,
    /// Delays between the tries of an SMS that is not taken for now.
    pub sms_retry: Vec<Duration>,
    /// Time for one try.
    pub timeout: Duration,
    /// Messages that are offered to a carrier at once, in each workspace.
    pub concurrency: u32,
}

impl Default for CarrierSettings {
    fn default() -> Self {
        let minutes = |list: &[u64]| list.iter().map(|n| Duration::from_secs(n * 60)).collect();
        Self {
            email_retry: minutes(&[10, 15, 30, 60, 120, 240]),
            sms_retry: minutes(&[1, 5, 15, 60, 240]),
            timeout: Duration::from_secs(60),
            concurrency: 32,
        }
    }
}

impl CarrierSettings {
    /// The policy of a carrier.
    pub(crate) fn policy(&self, channel: MessageChannel) -> Policy {
        let delays = match channel {
            MessageChannel::Email => self.email_retry.clone(),
            MessageChannel::Sms => self.sms_retry.clone(),
        };
        Policy {
            timeout: Some(self.timeout),
            connect_timeout: Some(self.timeout.min(Duration::from_secs(15))),
            retry: Some(Retry::Delays(delays)),
            jitter: Some(Jitter::UpTo(0.0)),
            concurrency: Some(self.concurrency),
            ..Policy::default()
        }
    }
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            max_payload_bytes: 1 << 20,
            global_in_flight: 1024,
            lane_bytes: 8 << 10,
            lanes_bytes: 32 << 20,
            accept_queue_bytes: 64 << 20,
            commit_patience: Duration::from_secs(10),
            retention: RetentionRule { max_age_ms: 30 * 86_400_000, max_bytes: 20 << 30 },
            retention_every: Duration::from_secs(60),
            rotation_overlap: Duration::from_secs(86_400),
            disable_after: Duration::from_secs(5 * 86_400),
            public_base_url: "http://127.0.0.1:8080".into(),
            page_secret: [0; 32],
            max_keys: 100,
            max_bins: 1000,
            bin_grace: Duration::from_secs(86_400),
            notify_email: None,
            carriers: CarrierSettings::default(),
            audit_age: Duration::from_secs(365 * 86_400),
            sessions: Lifetimes::default(),
        }
    }
}
