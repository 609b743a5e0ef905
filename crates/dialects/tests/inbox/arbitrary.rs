//! Requests that no client sends: the entry point of the inbox fuzzer, and whole requests with a documented answer each.

#[path = "../../../../fuzz/entries/inbox.rs"]
mod entry;

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Request};
use proptest::prelude::*;
use serde_json::Value;
use tower::ServiceExt;

use crate::rig::{Inbox, PAGE, STRANGER, text};

const TYPES: [&str; 6] = [
    "",
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "text/plain;charset=UTF-8",
    "image/png",
];
const ACCEPTS: [&str; 4] = ["", "*/*", "application/json", "text/html,*/*;q=0.8"];
const METHODS: [&str; 8] = ["GET", "GET", "POST", "POST", "POST", "OPTIONS", "PUT", "BREW"];
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"a\"",
    "\"msggo-key\"",
    "\"event\"",
    "1",
    "-0.0",
    "1e999",
    "\"\\u00e9\\/\"",
    "\"\\ud800\"",
    "null",
    " ",
    "\n",
    "a=1",
    "&",
    "msggo-key=",
    "=",
    "%",
    "%5B",
    "a[b]",
    "a[]",
    "[0]",
    "+",
    "--b",
    "--b--",
    "\r\n",
    "\r\n\r\n",
    "Content-Disposition: form-data; name=\"a\"",
    "; filename=\"f\"",
    "\u{feff}",
    "é🚀",
];
/// As [`WORDS`], of what an URL may hold.
const QUERY: &[&str] = &["a", "=", "&", "msggo-key", "[", "]", "0", "%", "%20", "%ff", "+", "event", "~", "\"", "{", "}"];

fn soup(words: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let stray = prop::collection::vec(any::<u8>(), 0..3);
    prop::collection::vec(prop_oneof![12 => word, 1 => stray], 0..most).prop_map(|words| words.concat())
}

/// Where the key is put, if anywhere; all but the last name a key that does not exist.
#[derive(Clone, Copy, Debug)]
enum KeyIn {
    Nowhere,
    BadPath,
    BadHeader,
    Path,
    Header,
}

proptest! {
    #[test]
    fn any_request_becomes_a_document_or_an_error(kind in 0..TYPES.len(), query in soup(QUERY, 12), body in soup(WORDS, 24)) {
        entry::check(&[TYPES[kind].as_bytes(), &query, &body].join(&b"\xFF"[..]));
    }
}

#[test]
fn every_answer_is_a_documented_one() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let inbox = runtime.block_on(Inbox::start());
    let accepted = AtomicUsize::new(0);
    let key_in = prop::sample::select(&[KeyIn::Nowhere, KeyIn::BadPath, KeyIn::BadHeader, KeyIn::Path, KeyIn::Header, KeyIn::Header][..]);
    let request = (0..METHODS.len(), key_in, soup(QUERY, 8), 0..TYPES.len(), 0..ACCEPTS.len(), soup(WORDS, 16));
    proptest!(ProptestConfig::with_cases(1000), |((method, key_in, query, kind, accept, body) in request)| {
        let path = match key_in {
            KeyIn::Path => format!("/inbox/{}", inbox.token),
            KeyIn::BadPath => "/inbox/nobody".to_owned(),
            _ => "/inbox".to_owned(),
        };
        let uri = format!("{path}?{}", String::from_utf8_lossy(&query));
        let mut builder = Request::builder().method(METHODS[method]).uri(uri).header(PAGE.0, PAGE.1);
        for (name, value) in [("content-type", TYPES[kind]), ("accept", ACCEPTS[accept])].into_iter().filter(|(_, value)| !value.is_empty()) {
            builder = builder.header(name, value);
        }
        builder = match key_in {
            KeyIn::Header => builder.header("x-msggo-key", &inbox.token),
            KeyIn::BadHeader => builder.header("x-msggo-key", "nobody"),
            _ => builder,
        };
        builder = builder.extension(axum::extract::ConnectInfo(STRANGER.parse::<std::net::SocketAddr>().unwrap()));
        // What is no URL never reaches the inbox.
        let Ok(request) = builder.body(axum::body::Body::from(body)) else { return Ok(()) };
        let is_known = [Method::GET, Method::POST, Method::OPTIONS].contains(request.method());
        let (status, answer) = runtime.block_on(async {
            let response = inbox.routes.clone().oneshot(request).await.unwrap();
            (response.status().as_u16(), text(response).await)
        });
        let allowed: &[u16] = match key_in {
            _ if METHODS[method] == "OPTIONS" => &[204],
            _ if !is_known => &[405],
            KeyIn::BadPath | KeyIn::BadHeader => &[401],
            KeyIn::Nowhere => &[401, 413],
            KeyIn::Path | KeyIn::Header => &[200, 400, 413],
        };
        prop_assert!(allowed.contains(&status), "{status} {answer}");
        accepted.fetch_add(usize::from(status == 200), Ordering::Relaxed);
        let is_blank = status == 204 || (status == 200 && ACCEPTS[accept].contains("html"));
        if is_blank {
            prop_assert_eq!(answer, "");
        } else {
            let answer: Value = serde_json::from_str(&answer).unwrap();
            prop_assert_eq!(&answer["statusCode"], &Value::from(status));
            prop_assert_eq!(&answer["ok"], &Value::from(status == 200));
            prop_assert_eq!(answer.get("errors").is_some(), status != 200 && ACCEPTS[accept] == "application/json");
        }
    });
    let accepted = accepted.into_inner();
    assert!(accepted > 20, "only {accepted} requests were good ones");
    assert_eq!(runtime.block_on(inbox.events()).len(), accepted, "stored is what was answered 200");
}
