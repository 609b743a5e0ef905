//! Answers well and badly formed, cut into pieces in every way.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::http_client::fuzz_entry;

/// Head, content and whether the connection stays, of an answer that comes in pieces of `piece` bytes; `None` if it never ends.
fn read(answer: &[u8], piece: usize) -> Result<Option<(u16, Vec<u8>, bool)>, Malformed> {
    let (mut here, mut found, mut content) = (Vec::new(), None, Vec::new());
    for bytes in answer.chunks(piece) {
        here.extend_from_slice(bytes);
        loop {
            match &mut found {
                None => match parse(&here)? {
                    Parsed::Partial => break,
                    Parsed::Interim(length) => drop(here.drain(..length)),
                    Parsed::Head { length, head, body, keeps } => {
                        here.drain(..length);
                        found = Some((head, body, keeps));
                    }
                },
                Some((_, body, _)) if here.is_empty() || body.is_over() => break,
                Some((_, body, _)) => {
                    let (used, taken) = body.take(&here)?;
                    content.extend_from_slice(&here[used - taken..used]);
                    here.drain(..used);
                }
            }
        }
    }
    Ok(found.filter(|(_, body, _)| body.is_over() || *body == Framing::UntilClosed).map(|(head, _, keeps)| {
        // What is left came after the answer.
        (head.status, content, keeps && here.is_empty())
    }))
}

/// The same however it is cut.
fn whole(answer: &str) -> Result<Option<(u16, Vec<u8>, bool)>, Malformed> {
    let at_once = read(answer.as_bytes(), answer.len());
    for piece in 1..answer.len() {
        assert_eq!(read(answer.as_bytes(), piece), at_once, "in pieces of {piece}: {answer:?}");
    }
    at_once
}

fn content(answer: &str) -> (String, bool) {
    let (status, content, keeps) = whole(answer).expect("HTTP").expect("an end");
    assert_eq!(status, 200);
    (String::from_utf8(content).expect("text"), keeps)
}

#[test]
fn bodies_end_where_they_say() {
    let kept = |text: &str| (text.to_owned(), true);
    let closed = |text: &str| (text.to_owned(), false);
    assert_eq!(content("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), kept("hello"));
    assert_eq!(content("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\ncontent-length:5\r\n\r\nhello"), kept("hello"));
    assert_eq!(content("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), kept(""));
    assert_eq!(
        content("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx"),
        kept("x")
    );
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n";
    assert_eq!(content(&format!("{chunked}5\r\nhello\r\n00c ;a=\"b\"\r\n and so on..\r\n0\r\n\r\n")), kept("hello and so on.."));
    assert_eq!(content(&format!("{chunked}1\r\nx\r\n0;last\r\ndigest: y\r\nmore: z\r\n\r\n")), kept("x"));
    assert_eq!(content("HTTP/1.1 200 OK\r\n\r\nuntil the end"), closed("until the end"));
    assert_eq!(content("HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nx"), closed("x"));
}

/// Nothing that is open to doubt, and nothing that came uncalled, leads to another use of a connection.
#[test]
fn doubtful_connections_are_not_used_again() {
    for (answer, keeps) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: Close\r\n\r\nx", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive, close\r\n\r\nx", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\nx", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\nconnection: keep-alive\r\n\r\nx", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\nx", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n", false),
    ] {
        assert_eq!(content(answer), ("x".to_owned(), keeps), "{answer}");
    }
    assert_eq!(whole("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), Ok(Some((101, Vec::new(), false))));
    assert_eq!(whole("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"), Ok(Some((204, Vec::new(), true))));
    // Some send the body all the same.
    assert_eq!(whole("HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n"), Ok(Some((204, Vec::new(), false))));
    assert_eq!(whole("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n"), Ok(Some((304, Vec::new(), false))));
}

#[test]
fn what_is_no_http_is_refused() {
    for head in [
        "content-length: x",
        "content-length: -1",
        "content-length: +1",
        "content-length:",
        "content-length: 1, 2",
        "a b: c",
        "content-length: 99999999999999999999",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
        assert!(matches!(whole(&answer), Err(Malformed::Syntax(_))), "{answer}");
    }
    assert_eq!(
        whole("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"),
        Err(Malformed::Syntax("two values of content-length"))
    );
    for body in ["x", "\r\n", "1x\r\n", "1\n", "1\r\nxy", "1\r\nx\n", "00000000000000001\r\n", "0\r\n\n", "0\r\na: b\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        assert_eq!(whole(&answer), Err(Malformed::Syntax("invalid chunk")), "{answer}");
    }
    for start in ["SSH-2.0-x\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 banana\r\n\r\n", "<html>"] {
        assert!(matches!(whole(start), Err(Malformed::Syntax(_))), "{start}");
    }
    let headers = "x: y\r\n".repeat(MAX_HEADERS + 1);
    assert_eq!(parse(format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes()), Err(Malformed::TooLarge));
}

#[test]
fn chatter_around_chunks_is_bounded() {
    for start in ["1;", "0\r\na: "] {
        let mut body = Framing::Chunked(Chunked::default());
        let long = format!("{start}{}", "x".repeat(2 * MAX_CHATTER));
        assert_eq!(body.take(long.as_bytes()), Err(Malformed::Syntax("too many trailers")));
    }
}

/// A body that ends early never passes for a whole one.
#[test]
fn every_beginning_of_an_answer_is_unfinished() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n",
    ] {
        for length in 0..answer.len() {
            assert_eq!(read(&answer.as_bytes()[..length], answer.len()), Ok(None), "{:?}", &answer[..length]);
        }
        assert!(read(answer.as_bytes(), answer.len()).expect("HTTP").is_some());
    }
}

#[test]
fn the_head_as_text() {
    let answer = b"HTTP/1.1 503 whatever\r\nX-Team:  blue \r\nRetry-After: 7\r\ncontent-length: 0\r\nx-raw: \xff\r\n\r\n";
    let Ok(Parsed::Head { length, head, .. }) = parse(answer) else { panic!("no head") };
    assert_eq!((length, head.status, head.retry_after.as_deref()), (answer.len(), 503, Some("7")));
    assert_eq!(&*head.text, "HTTP/1.1 503 Service Unavailable\nx-team: blue\nretry-after: 7\ncontent-length: 0\nx-raw: \u{fffd}");
}

#[test]
fn requests_as_bytes() {
    let header = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let settled = [header("x-team", "blue"), header("x-mode", "a"), header("host", "elsewhere")];
    let own = [header("x-mode", "b"), header("content-length", "7"), header("x-mode", "c"), header("transfer-encoding", "chunked")];
    let written = |method: Method, body: &'static str| {
        let mut bytes = Vec::new();
        let body = Bytes::from_static(body.as_bytes());
        let draft = Draft { method: &method, settled: &settled, own: &own, body: &body, is_repeatable: false };
        draft.write_head(b" /a HTTP/1.1\r\nhost: b\r\n", &mut bytes);
        String::from_utf8(bytes).expect("text")
    };
    let start = "/a HTTP/1.1\r\nhost: b\r\nx-team: blue\r\nx-mode: c\r\n";
    assert_eq!(written(Method::POST, "0123456789"), format!("POST {start}content-length: 10\r\n\r\n"));
    assert_eq!(written(Method::PUT, ""), format!("PUT {start}content-length: 0\r\n\r\n"));
    assert_eq!(written(Method::GET, ""), format!("GET {start}\r\n"));
}

/// Pieces of answers, good and bad.
const WORDS: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 304 x\r\n",
    "HTTP/1.1 ",
    "503\r\n",
    "content-length: 5\r\n",
    "content-length: 5, 5\r\n",
    "Content-Length: 0\r\n",
    "content-length: 18446744073709551616\r\n",
    "transfer-encoding: chunked\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding: gzip\r\n",
    "connection: close\r\n",
    "connection: keep-alive, x\r\n",
    "retry-after: 5\r\n",
    "\r\n",
    "hello",
    "5\r\nhello\r\n",
    "5;a=b\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\ntrailer: x\r\n\r\n",
    "ffffffffffffffff\r\n",
    "\n",
    ":",
    " ",
];

proptest! {
    /// What the fuzzer asks, asked of pieces of answers in any order.
    #[test]
    fn answers_made_of_anything(
        cut in any::<u8>(),
        words in prop::collection::vec(
            prop_oneof![
                12 => prop::sample::select(WORDS).prop_map(|word| word.as_bytes().to_vec()),
                1 => prop::collection::vec(any::<u8>(), 0..3),
            ],
            0..12,
        ),
    ) {
        fuzz_entry::check(&[vec![cut], words.concat()].concat());
    }
}
