//! See `entries/msgine.rs`.
#![no_main]

#[path = "../entries/msgine.rs"]
mod msgine;

libfuzzer_sys::fuzz_target!(|data: &[u8]| msgine::check(data));
