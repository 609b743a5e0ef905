//! See `entries/velocity.rs`.
#![no_main]

#[path = "../entries/velocity.rs"]
mod velocity;

libfuzzer_sys::fuzz_target!(|data: &[u8]| velocity::check(data));
