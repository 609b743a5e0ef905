//! The nouns of Posthaste and its pure rules.
//!
//! Nothing here does I/O, reads a clock, draws randomness or knows HTTP routes and storage: time and entropy are arguments.
//! Times are `i64` milliseconds since the Unix epoch unless a name says otherwise.

pub mod clock;
pub mod delivery;
pub mod event;
pub mod id;
pub mod matching;
pub mod message;
pub mod people;
pub mod policy;
pub mod resource;
pub mod signature;
pub mod sms;
pub mod template;
pub mod velocity;
