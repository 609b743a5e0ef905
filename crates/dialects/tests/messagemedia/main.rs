//! MessageMedia over a real engine and store, delivering to real receivers on loopback.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod api;
mod arbitrary;
mod auth;
mod deliveries;
mod keys;
mod lists;
mod rig;
mod templates;
mod updates;
mod wire;
