//! Headers that no client sends: the entry point of the fuzzer of HMAC credentials.

#[path = "../../../../fuzz/entries/hmac_header.rs"]
mod entry;

use proptest::prelude::*;

const WORDS: &[&str] = &[
    "hmac ",
    "HMAC  ",
    "Basic ",
    "username=",
    "algorithm=",
    "headers=",
    "signature=",
    "\"key\"",
    "\"hmac-sha256\"",
    "\"hmac-sha1\"",
    "\"Date request-line\"",
    "\"date x-Content-MD5 request-line\"",
    "\"oAXJvov1YvraMyzos+9qVTOswZlMM0KT1OI2fWwPoMs=\"",
    "\"",
    ",",
    ", ",
    "=",
    " ",
    "é",
];

proptest! {
    #[test]
    fn no_header_passes_without_the_secret(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..16), whole in any::<bool>(), body in prop::collection::vec(any::<u8>(), 0..20)
    ) {
        let mut header = words.concat();
        if whole {
            header = format!("hmac username=\"key\", algorithm=\"hmac-sha256\", headers=\"Date request-line\", signature=\"AAAA\"{header}");
        }
        entry::check(&[header.as_bytes(), &body].join(&b"\xFF"[..]));
    }
}
