//! See `entries/multipart.rs`.
#![no_main]

#[path = "../entries/multipart.rs"]
mod multipart;

libfuzzer_sys::fuzz_target!(|data: &[u8]| multipart::check(data));
