//! Bytes that no client sends: the entry points of the fuzzers, driven with pieces of each language.

#[path = "../../../../fuzz/entries/mailgun_filter.rs"]
mod filter_entry;
#[path = "../../../../fuzz/entries/multipart.rs"]
mod multipart_entry;

use proptest::prelude::*;

const PARTS: &[&str] = &[
    "--b",
    "--b--",
    "\r\n",
    "\r\n\r\n",
    "Content-Disposition: form-data; name=\"a\"",
    "Content-Disposition: form-data; name=\"attachment[]\"; filename=\"f\"",
    "; filename=\"f\"",
    "Content-Type: text/plain",
    "\u{e9}",
    "=",
    "&",
    "a[]",
    "%5B",
    "%ff",
    "\"",
    ":",
    "\0",
];

const WORDS: &[&str] =
    &["AND", "OR", "NOT", "(", ")", "\"", " ", "foo", "bar", "<a@b>", "a@b", ">100", "<", ">", "7", "'", ".", "\u{e9}", "\u{130}"];

fn bytes(kind: u8, words: &[&str], rest: &[&str]) -> Vec<u8> {
    let mut data = vec![kind];
    data.extend(words.concat().bytes());
    data.push(0xFF);
    data.extend(rest.concat().bytes());
    data
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused(words in proptest::collection::vec(proptest::sample::select(PARTS), 0..30), kind in 0u8..4) {
        multipart_entry::check(&bytes(kind, &words, &[]));
    }

    #[test]
    fn any_filter_has_an_answer_or_is_refused(
        words in proptest::collection::vec(proptest::sample::select(WORDS), 0..12),
        value in proptest::collection::vec(proptest::sample::select(WORDS), 0..6),
        kind in 0u8..3,
    ) {
        filter_entry::check(&bytes(kind, &words, &value));
    }
}
