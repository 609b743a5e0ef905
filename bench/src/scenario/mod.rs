//! What is measured: one file for each scenario.

pub mod beside;
pub mod cluster;
pub mod cluster_throughput;
pub mod history;
pub mod idle;
pub mod isolation;
pub mod kill;
pub mod latency;
pub mod mailgun;
pub mod momentum;
pub mod queued;
pub mod slow_target;
pub mod soak;
pub mod startup;
pub mod sweep;
pub mod targets;
pub mod throughput;

use std::time::Duration;

/// How long scenarios publish, unless the caller says otherwise.
const TIME: Duration = Duration::from_secs(10);
/// Connections that publish, unless the caller says otherwise.
const CONNECTIONS: usize = 64;
/// The same where each request is a long array.
const ARRAY_CONNECTIONS: usize = 4;
