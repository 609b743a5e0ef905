//! MsGine: SMS over a REST API in two generations, and signed webhooks about what became of each message
//! (`docs/dialects/msgine.md`).
//!
//! Invariants: a refused request sends nothing; after a message is stored the answer is 201, whatever else fails; nothing that a client
//! sends chooses another workspace than its key's.

pub mod account;
mod analytics;
pub mod answer;
mod callbacks;
mod credential;
mod format;
pub mod input;
mod messages;
mod money;
mod query;
mod routes;
mod status;
mod view;

use std::time::Duration;

use posthaste_domain::signature::{hex, hmac_sha256};

pub use account::MsgineAccounts;
pub use format::MsgineFormat;
pub use routes::{MsgineState, router};
pub use view::{cost, currency};

/// Name of the dialect, of its format and of its accounts.
pub const DIALECT: &str = "msgine";

/// Numbers of the dialect; each has the documented value by default.
#[derive(Clone, Debug, PartialEq)]
pub struct MsgineSettings {
    /// Whether the server speaks it.
    pub enabled: bool,
    /// Whether webhooks may go to `http://` URLs. For tests only.
    pub allow_http: bool,
    /// Most bytes of a request body.
    pub max_body_bytes: usize,
    /// Longest time for a request body to arrive.
    pub body_timeout: Duration,
    /// Most recipients of one message.
    pub max_recipients: usize,
    /// How far in the future a message may be scheduled.
    pub schedule_max: Duration,
    /// Sender ID of accounts that chose none.
    pub sender_id: String,
    /// Tier of accounts that chose none.
    pub tier: String,
    /// Price of an SMS to one recipient in generation 1.
    pub price_1: String,
    /// Currency of `price_1`.
    pub currency_1: String,
    /// Price of an SMS to one recipient in generation 2.
    pub price_2: String,
    /// Currency of `price_2`.
    pub currency_2: String,
    /// How long a webhook may take.
    pub webhook_timeout: Duration,
    /// Waits before the retries of a webhook.
    pub retry_delays: Vec<Duration>,
    /// Most callback hosts that a workspace may have in use.
    pub max_callback_hosts: usize,
    /// After this time without a message that names it a callback host may be forgotten.
    pub callback_idle: Duration,
}

impl Default for MsgineSettings {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            enabled: true,
            allow_http: false,
            max_body_bytes: 256 << 10,
            body_timeout: Duration::from_secs(30),
            max_recipients: 1000,
            schedule_max: Duration::from_secs(366 * DAY),
            sender_id: "MsGine".to_owned(),
            tier: "starter".to_owned(),
            price_1: "0.05".to_owned(),
            currency_1: "USD".to_owned(),
            price_2: "30".to_owned(),
            currency_2: "UGX".to_owned(),
            webhook_timeout: Duration::from_secs(5),
            retry_delays: [60, 300, 900, 3_600, 21_600].map(Duration::from_secs).to_vec(),
            max_callback_hosts: 1000,
            callback_idle: Duration::from_secs(30 * DAY),
        }
    }
}

impl MsgineSettings {
    /// Names of the settings whose values cannot be used, each with the reason.
    pub fn mistakes(&self) -> Vec<(&'static str, &'static str)> {
        let mut mistakes = Vec::new();
        if !input::is_sender_id(&self.sender_id) {
            mistakes.push(("sender_id", "must be 1 to 11 letters and digits"));
        }
        if !account::is_tier(&self.tier) {
            mistakes.push(("tier", "must be free, starter, professional or enterprise"));
        }
        mistakes
    }
}

/// The provider id of a message: a fact of its id, so that every event can tell it.
fn sid(message_id: &str) -> String {
    let digest = hmac_sha256(b"msgine sid", message_id.as_bytes());
    format!("SM{}", hex(&digest[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        assert!(MsgineSettings::default().mistakes().is_empty());
        let wrong = MsgineSettings { sender_id: "My App".to_owned(), tier: "gold".to_owned(), ..MsgineSettings::default() };
        assert_eq!(wrong.mistakes().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["sender_id", "tier"]);
    }

    #[test]
    fn a_sid_is_a_fact_of_the_message() {
        assert_eq!(sid("msg_1"), sid("msg_1"));
        assert!(sid("msg_1") != sid("msg_2") && sid("msg_1").len() == 18);
    }
}
