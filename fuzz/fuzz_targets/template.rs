//! See `entries/template.rs`.
#![no_main]

#[path = "../entries/template.rs"]
mod template;

libfuzzer_sys::fuzz_target!(|data: &[u8]| template::check(data));
