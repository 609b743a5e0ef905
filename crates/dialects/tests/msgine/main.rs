//! MsGine over a real engine, store and simulated carrier: what is answered, what is sent, and what webhooks tell of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod arbitrary;
mod extras;
mod limits;
mod reading;
mod retries;
mod rig;
mod sending;
mod webhooks;
