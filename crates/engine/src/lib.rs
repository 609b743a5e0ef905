//! The path of an event: accept, match, commit, lanes, attempts, settle, retention.
//!
//! The engine knows storage traits, channels and wire formats, and nothing of HTTP routes or vendors.
//!
//! ```text
//! accept ─ match ─▶ committer ─▶ journal (one commit) ─▶ answer
//!                                   │
//!                                   ▼
//!                        lanes (one per target) ─▶ attempt ─▶ settler ─▶ journal
//!                           ▲  timers, pages                     │
//!                           └───────── settled ◀─────────────────┘
//! ```

mod accept;
mod attempt;
mod batches;
mod catalogue;
mod cluster;
mod door;
mod edit;
mod engine;
mod error;
mod format;
mod gatherer;
mod group;
mod lanes;
mod manage;
mod members;
mod membership;
mod messages;
mod metrics;
mod ops;
mod owned;
mod repeats;
mod replays;
mod retention;
mod routing;
mod seldom;
mod sequences;
mod series;
mod sessions;
mod settings;
mod settle;
mod steward;
mod tasks;
mod verdict;
mod visible;

pub use accept::{AcceptRequest, Accepted, AcceptedEvent, Idempotency, Incoming, IncomingKind};
pub use catalogue::Entry;
pub use edit::{Desk, Edit};
pub use engine::{Engine, Parts};
pub use error::{AcceptError, EngineError, ResourceError};
pub use format::{Format, FormatBody, FormatError, FormatInput, Formats, Prepared, Try};
pub use lanes::LaneHealth;
pub use manage::{Context, Managed};
pub use messages::actions::{ActionError, Actor};
pub use messages::{MAX_RECIPIENTS, MessageRecord, SendError, Sent};
pub use metrics::Totals;
pub use ops::{NewKey, Sample, TestReport, new_secret};
pub use owned::owned_targets;
pub use posthaste_channels::{Outcome, Preview, Report};
pub use replays::StartedReplay;
pub use seldom::Seldom;
pub use series::{Bucket, Point, Span};
pub use settings::{CarrierSettings, EngineSettings};
pub use tasks::Tasks;
