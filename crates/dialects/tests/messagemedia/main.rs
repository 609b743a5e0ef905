//! MessageMedia over a real engine and store, delivering to real receivers on loopback.

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
