//! The console over the real router, engine and store: who gets in, what is inert, and the way from an empty installation to a delivery.

mod account;
mod conflicts;
mod deliveries;
mod details;
mod enter;
mod events;
mod inbox;
mod keys;
mod live;
mod members;
mod messages;
mod places;
mod reference;
mod rig;
mod rooms;
mod settings;
mod start;
mod targets;
mod templates;
mod webhooks;
