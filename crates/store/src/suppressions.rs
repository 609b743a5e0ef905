//! Suppressions: addresses that nothing more is sent to.
//!
//! They outlive every event that led to them: retention does not touch them.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// Why an address gets nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SuppressionReason {
    /// A mail to it was refused for good.
    Bounce,
    /// Its owner wants no more.
    Unsubscribe,
    /// Its owner called a message spam.
    Complaint,
}

impl SuppressionReason {
    /// Stable name, used on disk and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bounce => "bounce",
            Self::Unsubscribe => "unsubscribe",
            Self::Complaint => "complaint",
        }
    }

    /// From the stable name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Bounce, Self::Unsubscribe, Self::Complaint].into_iter().find(|reason| reason.name() == name)
    }
}

/// One suppressed address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// What it holds for: a mail domain, `sms`, or `sms:` and a sender.
    pub scope: String,
    /// The address or number, in lower case.
    pub address: String,
    /// Why.
    pub reason: SuppressionReason,
    /// Since when.
    pub at_ms: i64,
}

/// Addresses that nothing is sent to, by workspace and scope. Scopes and addresses are compared without regard to case.
#[async_trait]
pub trait Suppressions: Send + Sync {
    /// Adds one, durably. An address that is there already keeps its time; its reason becomes the new one.
    async fn suppress(&self, workspace: i64, suppression: Suppression) -> Result<(), StoreError>;

    /// Which of these addresses are suppressed in any of these scopes, in the order of the addresses; of several scopes the first one
    /// that holds it counts.
    async fn suppressed(&self, workspace: i64, scopes: Vec<String>, addresses: Vec<String>)
    -> Result<Vec<Option<Suppression>>, StoreError>;

    /// The suppressions of a workspace, or of one scope in it, by scope and address, behind the given pair.
    async fn suppressions(
        &self,
        workspace: i64,
        scope: Option<String>,
        after: Option<(String, String)>,
        limit: usize,
    ) -> Result<Vec<Suppression>, StoreError>;

    /// Removes one, durably; answers whether it was there.
    async fn unsuppress(&self, workspace: i64, scope: &str, address: &str) -> Result<bool, StoreError>;
}
