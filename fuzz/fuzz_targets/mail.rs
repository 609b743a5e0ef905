//! See `entries/mail.rs`.
#![no_main]

#[path = "../entries/mail.rs"]
mod mail;

libfuzzer_sys::fuzz_target!(|data: &[u8]| mail::check(data));
