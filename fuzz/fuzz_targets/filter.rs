//! See `entries/filter.rs`.
#![no_main]

#[path = "../entries/filter.rs"]
mod filter;

libfuzzer_sys::fuzz_target!(|data: &[u8]| filter::check(data));
