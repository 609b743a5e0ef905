//! See `entries/hmac_header.rs`.
#![no_main]

#[path = "../entries/hmac_header.rs"]
mod hmac_header;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hmac_header::check(data));
