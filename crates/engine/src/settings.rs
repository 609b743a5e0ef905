//! Numbers of the engine. Every one is a setting; every default is stated here and nowhere else.

use std::time::Duration;

use posthaste_store::RetentionRule;

/// Limits and times.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Largest payload of one event in bytes.
    pub max_payload_bytes: usize,
    /// Attempts under way at once, over all targets.
    pub global_in_flight: usize,
    /// Deliveries of one target held in memory; the rest waits in the journal.
    pub lane_items: usize,
    /// Payload bytes of one target held in memory.
    pub lane_bytes: usize,
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
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            max_payload_bytes: 1 << 20,
            global_in_flight: 1024,
            lane_items: 2048,
            lane_bytes: 1 << 20,
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
        }
    }
}
