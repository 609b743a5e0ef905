//! See `entries/inbox.rs`.
#![no_main]

#[path = "../entries/inbox.rs"]
mod inbox;

libfuzzer_sys::fuzz_target!(|data: &[u8]| inbox::check(data));
