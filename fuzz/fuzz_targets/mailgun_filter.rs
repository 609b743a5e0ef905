//! See `entries/mailgun_filter.rs`.
#![no_main]

#[path = "../entries/mailgun_filter.rs"]
mod mailgun_filter;

libfuzzer_sys::fuzz_target!(|data: &[u8]| mailgun_filter::check(data));
