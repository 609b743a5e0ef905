//! Real clients against the real binary: the programs of `tests/clients` send and verify, and the native API tells what was stored.
//!
//! They need what `./test` installs; without it they fail and say so. Each test has a server, a directory and ports of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod chat;
mod console;
mod inbox;
mod mail;
mod mailgun;
mod messagemedia;
mod momentum;
mod msggo;
mod msgine;
mod receiver;
mod sending;
mod server;
mod sms;
mod standard;
mod tools;
