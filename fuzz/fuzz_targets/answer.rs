//! See `entries/answer.rs`.
#![no_main]

#[path = "../entries/answer.rs"]
mod answer;
// The parser is no part of the interface of its crate: it is compiled into this program.
#[allow(dead_code, reason = "only the reading half is under test")]
#[path = "../../crates/channels/src/http_client/framing.rs"]
mod framing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| answer::check(data));
