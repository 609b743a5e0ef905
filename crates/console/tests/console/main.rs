//! The console over the real router, engine and store: who gets in, what is inert, and the way from an empty installation to a delivery.

mod deliveries;
mod enter;
mod events;
mod inbox;
mod rig;
mod start;
mod targets;
mod templates;
mod webhooks;
