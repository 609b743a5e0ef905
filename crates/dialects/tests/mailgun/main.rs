//! The Mailgun API over a real engine and store, with real receivers: what is answered, delivered and listed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod account_webhooks;
mod arbitrary;
mod delivery;
mod domain_webhooks;
mod listing;
mod paging;
mod rig;
mod sending;
mod test_call;
