//! The real listener on a loopback socket. Time is paused once everything runs: whatever waits, waits in virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use posthaste_server::{ServeSettings, ServerSettings, serve_with};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::rig::{Rig, ids};

const EVENTS: &str = "/posthaste/v1/events";

struct Server {
    rig: Rig,
    address: SocketAddr,
    stop: CancellationToken,
    running: JoinSet<()>,
}

impl Server {
    async fn start(settings: ServeSettings) -> Self {
        Self::start_with(ServerSettings::default(), settings).await
    }

    async fn start_with(app: ServerSettings, settings: ServeSettings) -> Self {
        let rig = Rig::with(app).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
        running.spawn(serve_with(listener, rig.app.clone(), stop.clone().cancelled_owned(), settings));
        Self { rig, address, stop, running }
    }

    async fn connect(&self) -> Wire {
        Wire { stream: TcpStream::connect(self.address).await.expect("the server listens"), read: Vec::new() }
    }

    /// A request with the administrator's key; `more` are header lines.
    fn head(&self, method: &str, path: &str, more: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {}\r\n{more}\r\n", self.rig.token)
    }

    /// A whole publish.
    fn publish(&self, body: &str) -> String {
        self.head("POST", EVENTS, &format!("content-length: {}\r\n", body.len())) + body
    }

    async fn stop(mut self) {
        self.stop.cancel();
        self.stopped().await;
    }

    /// Waits until the server has stopped.
    async fn stopped(&mut self) {
        self.running.join_next().await.expect("the server runs").expect("the server does not panic");
    }
}

/// A connection of a client that writes what it likes.
struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.head, self.body))
    }

    fn code(&self) -> String {
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        self.json()["code"].as_str().expect("a code").to_owned()
    }
}

impl Wire {
    async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.expect("the server reads");
    }

    /// Reads more; false at the end.
    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        // A connection that is cut counts as one that ended.
        let count = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.read.extend_from_slice(&buffer[..count]);
        count > 0
    }

    /// Reads until `wanted` is there and takes everything up to its end.
    async fn until(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = self.read.windows(wanted.len()).position(|window| window == wanted.as_bytes()) {
                let rest = self.read.split_off(at + wanted.len());
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).expect("UTF-8");
            }
            assert!(self.more().await, "the connection ended before {wanted:?}: {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Reads one answer whose length is given.
    async fn reply(&mut self) -> Reply {
        let head = self.until("\r\n\r\n").await.to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        while self.read.len() < length {
            assert!(self.more().await, "the body broke off after {} bytes", self.read.len());
        }
        let rest = self.read.split_off(length);
        let body = String::from_utf8(std::mem::replace(&mut self.read, rest)).expect("UTF-8");
        Reply { status, head, body }
    }

    /// Waits for the end of the connection; what came before it.
    async fn end(&mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let server = Server::start(ServeSettings::default()).await;
    let mut wire = server.connect().await;
    for n in 0..3 {
        wire.send(server.publish(&format!(r#"{{"type":"a","data":{n}}}"#))).await;
        assert_eq!(wire.reply().await.status, 202);
    }
    // Several at once are answered in order.
    let list = server.head("GET", &format!("{EVENTS}?order=asc"), "");
    wire.send(server.publish(r#"{"type":"b","data":1}"#) + &list + &server.head("GET", "/healthz", "connection: close\r\n")).await;
    assert_eq!(wire.reply().await.status, 202);
    let events = wire.reply().await.json();
    assert_eq!(ids(&events).len(), 4);
    assert_eq!(events["items"][0]["source"]["ip"], "127.0.0.1");
    assert_eq!(wire.reply().await.body, "ok\n");
    assert_eq!(wire.end().await, "");
    server.stop().await;
}

#[tokio::test]
async fn a_slow_body_is_not_waited_for() {
    let server = Server::start(ServeSettings::default()).await;
    let mut wire = server.connect().await;
    tokio::time::pause();
    let begun = Instant::now();
    wire.send(server.head("POST", EVENTS, "content-length: 100\r\n") + r#"{"type":"#).await;
    let reply = wire.reply().await;
    assert_eq!((reply.status, reply.code().as_str()), (408, "body_timeout"));
    assert_eq!(begun.elapsed().as_secs(), ServerSettings::default().body_time.as_secs());
    assert_eq!(wire.end().await, "", "what is left of the body is no request");
    assert!(ids(&server.rig.get("/events").await.expect(200)).is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_stores_nothing() {
    let server = Server::start(ServeSettings::default()).await;
    let mut wire = server.connect().await;
    wire.send(server.head("POST", EVENTS, "content-length: 100\r\n") + r#"{"type":"a","data":1}"#).await;
    wire.stream.shutdown().await.expect("the writing side closes");
    let rest = wire.end().await;
    assert!(rest.is_empty() || rest.contains("body_incomplete"), "{rest}");
    assert!(ids(&server.rig.get("/events").await.expect(200)).is_empty());
    server.stop().await;
}

#[tokio::test]
async fn too_large_a_body_is_refused_and_the_client_learns_why() {
    let server = Server::start(ServeSettings::default()).await;
    let cap = ServerSettings::default().max_body_bytes;
    // A client that asks first sends nothing.
    let mut wire = server.connect().await;
    wire.send(server.head("POST", EVENTS, &format!("content-length: {}\r\nexpect: 100-continue\r\n", cap + 1))).await;
    let reply = wire.reply().await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "body_too_large"));
    // One that sends everything before it reads gets the answer all the same, with and without a declared length.
    for declared in [true, false] {
        let mut wire = server.connect().await;
        let framing = if declared { format!("content-length: {}\r\n", 4 * cap) } else { "transfer-encoding: chunked\r\n".to_owned() };
        wire.send(server.head("POST", EVENTS, &framing)).await;
        let chunk = vec![b' '; cap];
        for _ in 0..4 {
            if !declared {
                wire.send(format!("{cap:x}\r\n")).await;
            }
            wire.send(&chunk).await;
            if !declared {
                wire.send("\r\n").await;
            }
        }
        if !declared {
            wire.send("0\r\n\r\n").await;
        }
        let reply = wire.reply().await;
        assert_eq!((reply.status, reply.code().as_str()), (413, "body_too_large"));
        // The whole body was read, so the connection is still good.
        wire.send(server.head("GET", "/healthz", "")).await;
        assert_eq!(wire.reply().await.status, 200);
    }
    // The largest that is taken.
    let mut wire = server.connect().await;
    let body = format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat(cap - 22));
    assert_eq!(body.len(), cap);
    wire.send(server.publish(&body)).await;
    assert_eq!(wire.reply().await.status, 202);
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let server = Server::start(ServeSettings::default()).await;
    let many: String = (0..500).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "a".repeat(80 << 10));
    for flood in [many, long] {
        let mut wire = server.connect().await;
        // The server may close before it has read everything.
        wire.stream.write_all(server.head("GET", "/healthz", &flood).as_bytes()).await.ok();
        let answer = wire.end().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    for nonsense in ["\r\n\r\n\r\n\r\nnonsense\r\n\r\n", "GET /healthz HTTP/9.9\r\n\r\n", "GET /\u{0} HTTP/1.1\r\n\r\n"] {
        let mut wire = server.connect().await;
        wire.send(nonsense).await;
        let answer = wire.end().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let mut wire = server.connect().await;
    wire.send(server.head("GET", "/healthz", "")).await;
    assert_eq!(wire.reply().await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn silent_connections_are_closed() {
    let server = Server::start(ServeSettings { header_time: Duration::from_secs(7), ..ServeSettings::default() }).await;
    let mut used = server.connect().await;
    used.send(server.head("GET", "/healthz", "")).await;
    assert_eq!(used.reply().await.status, 200);
    // Nothing at all, half of what tells the version, half a head, and nothing after a request.
    let (mut nothing, mut preface, mut half) = (server.connect().await, server.connect().await, server.connect().await);
    tokio::time::pause();
    preface.send("PRI * HT").await;
    half.send("GET /healthz HTTP/1.1\r\nhost:").await;
    for wire in [&mut nothing, &mut preface, &mut half, &mut used] {
        let begun = Instant::now();
        assert_eq!(wire.end().await, "");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    }
    server.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let server = Server::start(ServeSettings { max_connections: 1, ..ServeSettings::default() }).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    first.send(server.head("GET", "/healthz", "")).await;
    assert_eq!(first.reply().await.status, 200);
    tokio::time::pause();
    second.send(server.head("GET", "/readyz", "")).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), second.more()).await.is_err(), "it is not served yet");
    drop(first);
    assert_eq!(second.reply().await.body, "ready\n");
    server.stop().await;
}

#[tokio::test]
async fn a_stop_lets_open_requests_finish() {
    let mut server = Server::start(ServeSettings::default()).await;
    let (mut idle, mut open) = (server.connect().await, server.connect().await);
    idle.send(server.head("GET", "/healthz", "")).await;
    assert_eq!(idle.reply().await.status, 200);
    let body = r#"{"type":"a","data":{"n":1}}"#;
    open.send(server.head("POST", EVENTS, &format!("content-length: {}\r\nexpect: 100-continue\r\n", body.len()))).await;
    // The server reads the body: the request is under way.
    open.until("HTTP/1.1 100 Continue\r\n\r\n").await;
    server.stop.cancel();
    assert_eq!(idle.end().await, "", "idle connections close at once");
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody is let in any more");
    open.send(body).await;
    let reply = open.reply().await;
    assert_eq!(reply.status, 202, "{}", reply.body);
    assert_eq!(open.end().await, "");
    server.stopped().await;
    assert_eq!(ids(&server.rig.get("/events").await.expect(200)), [reply.json()["id"].as_str().expect("an id")]);
}

#[tokio::test]
async fn a_stop_cuts_what_does_not_finish() {
    let mut server = Server::start(ServeSettings { grace: Duration::from_secs(3), ..ServeSettings::default() }).await;
    let mut open = server.connect().await;
    open.send(server.head("POST", EVENTS, "content-length: 100\r\nexpect: 100-continue\r\n")).await;
    open.until("HTTP/1.1 100 Continue\r\n\r\n").await;
    tokio::time::pause();
    let begun = Instant::now();
    server.stop.cancel();
    server.stopped().await;
    assert_eq!(begun.elapsed().as_secs(), 3);
    assert_eq!(open.end().await, "");
}

#[tokio::test]
async fn a_stop_ends_streams_and_long_polls() {
    let mut server = Server::start(ServeSettings::default()).await;
    let (mut stream, mut poll) = (server.connect().await, server.connect().await);
    stream.send(server.head("GET", &format!("{EVENTS}/stream"), "")).await;
    stream.until("retry: 1000").await;
    let event = server.rig.publish("a", json!({"n": 1})).await;
    stream.until(&format!("\"id\":\"{event}\"")).await;
    poll.send(server.head("GET", &format!("{EVENTS}?wait=60s&cursor=latest"), "")).await;
    while !server.rig.raw("GET", "/metrics", "", &[], "").await.text().contains("\nposthaste_watchers 2\n") {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    server.stop.cancel();
    let rest = stream.end().await;
    assert!(rest.ends_with("0\r\n\r\n"), "the stream ends in order: {rest:?}");
    let reply = poll.reply().await;
    assert_eq!(reply.status, 200);
    assert!(ids(&reply.json()).is_empty() && reply.json()["next"].is_string());
    server.stopped().await;
    assert!(begun.elapsed() < ServeSettings::default().grace, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn http_2_is_spoken_without_tls() {
    let server = Server::start(ServeSettings::default()).await;
    let io = hyper_util::rt::TokioIo::new(TcpStream::connect(server.address).await.expect("the server listens"));
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.expect("a handshake");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    let request = |path: &str| {
        let request = http::Request::builder().uri(format!("http://{}{path}", server.address));
        request.body(axum::body::Body::empty()).expect("a request")
    };
    let (first, second) = (sender.send_request(request("/healthz")), sender.send_request(request("/nothing")));
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.expect("an answer").status().as_u16(), second.expect("an answer").status().as_u16()), (200, 404));
    server.stop().await;
}

/// How long an answer may take that waits for nothing.
const AT_ONCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_answer_that_needs_no_body_does_not_wait_for_it() {
    let server = Server::start(ServeSettings::default()).await;
    let cap = ServerSettings::default().max_body_bytes;
    for (length, says_close) in [(cap + 1, false), (64 * cap, true)] {
        for asks in [false, true] {
            let mut wire = server.connect().await;
            let expect = if asks { "expect: 100-continue\r\n" } else { "" };
            wire.send(server.head("POST", EVENTS, &format!("content-length: {length}\r\n{expect}"))).await;
            let reply = tokio::time::timeout(AT_ONCE, wire.reply()).await.expect("the body is not waited for");
            // The first answer is the last: nobody was told to go on.
            assert_eq!((reply.status, reply.code().as_str()), (413, "body_too_large"), "{length}, {asks}");
            assert_eq!(reply.head.contains("connection: close"), says_close || asks, "{}", reply.head);
            if asks {
                assert_eq!(wire.end().await, "");
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_before_the_body_keeps_the_connection_or_says_that_it_ends() {
    let server = Server::start(ServeSettings::default()).await;
    let refused = |path: &str, more: &str| {
        [
            (401, format!("POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer wrong\r\n{more}\r\n")),
            (415, server.head("POST", path, &format!("content-type: text/csv\r\n{more}"))),
        ]
    };
    // By the direct way and by the router.
    for path in [EVENTS, "/posthaste/v1/targets"] {
        let mut wire = server.connect().await;
        for (status, head) in refused(path, "content-length: 10000\r\n") {
            wire.send(head).await;
            let reply = wire.reply().await;
            assert_eq!(reply.status, status);
            assert!(!reply.head.contains("connection: close"), "{}", reply.head);
            // The client goes on: the body that it announced, and the next request behind it.
            wire.send(vec![b'x'; 10_000]).await;
        }
        for (status, head) in refused(path, "transfer-encoding: chunked\r\n") {
            wire.send(head + "3\r\nabc\r\n0\r\n\r\n").await;
            assert_eq!(wire.reply().await.status, status);
        }
        wire.send(server.head("GET", "/healthz", "")).await;
        assert_eq!(wire.reply().await.status, 200);
        for (status, head) in refused(path, "content-length: 10000\r\nexpect: 100-continue\r\n") {
            let mut wire = server.connect().await;
            wire.send(head).await;
            let reply = wire.reply().await;
            assert_eq!(reply.status, status);
            assert!(reply.head.contains("connection: close"), "{}", reply.head);
            assert_eq!(wire.end().await, "");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_body_without_a_reader() {
    let server = Server::start(ServeSettings::default()).await;
    let mut wire = server.connect().await;
    wire.send(server.head("POST", EVENTS, "content-type: text/csv\r\ncontent-length: 10000\r\n")).await;
    assert_eq!(wire.reply().await.status, 415);
    let begun = std::time::Duration::from_secs(5);
    tokio::time::timeout(begun, server.stop()).await.expect("nobody waits for the client");
}
