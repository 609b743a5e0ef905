//! See `entries/smpp_receipt.rs`.
#![no_main]

#[path = "../entries/smpp_receipt.rs"]
mod smpp_receipt;

libfuzzer_sys::fuzz_target!(|data: &[u8]| smpp_receipt::check(data));
