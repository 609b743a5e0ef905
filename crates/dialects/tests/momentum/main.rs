//! The Momentum dialect over a real engine, a real store and real receivers on loopback.
//!
//! Times are the documented ones: the clock is the test's, so that four hours pass at once. Only what waits for a network (the six
//! seconds of a test or an attempt) is shortened where a test is about it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod access;
mod batches;
mod create;
mod events;
mod read;
mod receiver;
mod retries;
mod rig;
mod status;
mod update;
mod validate;
