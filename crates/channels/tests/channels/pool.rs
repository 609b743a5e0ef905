//! Connections are used again, given up and replaced without anybody noticing, and never more than was promised.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use posthaste_channels::http_client::OriginStats;
use posthaste_channels::{Channels, Dispatch, Outcome, Report};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::memory::{Memory, Plan};
use crate::receiver::{Desk, Receiver, Reply, status};
use crate::tls::{Identity, trusting};
use crate::{AMPLE, failure, loopback_channels, message, try_once, try_within};

const SECOND: Duration = Duration::from_secs(1);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// One try to a target of its own.
async fn try_target(channels: &Channels, target: i64, url: &str) -> Report {
    let settings = json!({"url": url});
    let dispatch = Dispatch {
        delivery_id: "dlv_test",
        settings: &settings,
        settings_key: (target, 1),
        content: message("{}"),
        connect_timeout: AMPLE,
        timeout: AMPLE,
    };
    channels.get("webhook").expect("webhook").send(dispatch).await
}

#[tokio::test]
async fn targets_of_one_origin_share_connections() {
    let receiver = Receiver::start(|_, _| status(200, "", "ok")).await;
    let channels = loopback_channels();
    for target in 1..=5 {
        assert_eq!(try_target(&channels, target, &receiver.url(&format!("/{target}?a=b"))).await.status, Some(200));
        assert_eq!(receiver.seen().pop().expect("a request").line(), format!("POST /{target}?a=b HTTP/1.1"));
    }
    assert_eq!((receiver.connections(), channels.http_stats().reused), (1, 4));
    // Each origin has figures of its own, and the busiest come first.
    let other = Receiver::start(|_, _| status(200, "", "ok")).await;
    try_target(&channels, 6, &other.url("/")).await;
    let of = |receiver: &Receiver, opened, reused| {
        let origin = receiver.url("/").trim_end_matches('/').to_owned();
        OriginStats { origin, opened, reused }
    };
    assert_eq!(channels.busiest_origins(9), [of(&receiver, 1, 4), of(&other, 1, 0)]);
    assert_eq!(channels.busiest_origins(1), [of(&receiver, 1, 4)]);
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_is_no_error() {
    for head in ["", "connection: close\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}content-length: 2\r\n\r\nok").into_bytes();
        let receiver = Receiver::start(move |_, _| Reply::Close(answer.clone())).await;
        let channels = loopback_channels();
        let settings = json!({"url": receiver.url("/")});
        for _ in 0..5 {
            let report = try_once(&channels, "webhook", &settings, message("{}")).await;
            assert_eq!((report.outcome, report.response_body.as_ref()), (Outcome::Answered, &b"ok"[..]));
        }
        assert_eq!((receiver.connections(), receiver.seen().len()), (5, 5));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_closed_or_spoke_while_idle_is_replaced() {
    for last_words in [&b""[..], b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"] {
        let desk = Desk::new(move |number, _| match number {
            0 => Reply::Raw(OK.to_vec()),
            _ => Reply::Close(OK.to_vec()),
        });
        let (serving, opened) = (desk.clone(), Arc::new(AtomicUsize::new(0)));
        let (ours, theirs) = tokio::io::duplex(1024);
        let first = std::sync::Mutex::new(Some(ours));
        let counting = Arc::clone(&opened);
        let memory = Memory::new(&[&["93.184.216.34"]], move |_| {
            counting.fetch_add(1, Ordering::SeqCst);
            match first.lock().expect("lock").take() {
                Some(ours) => Plan::Stream(ours),
                None => Plan::Serve(serving.clone()),
            }
        });
        let channels = memory.channels();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut stream = theirs;
            let mut read = [0; 1024];
            let length = stream.read(&mut read).await.expect("a request");
            assert!(read[..length].starts_with(b"POST / HTTP/1.1\r\n"));
            stream.write_all(OK).await.expect("write");
            tokio::time::sleep(SECOND).await;
            stream.write_all(last_words).await.expect("write");
        });
        let settings = json!({"url": "http://hooks.example/"});
        assert_eq!(try_once(&channels, "webhook", &settings, message("{}")).await.status, Some(200));
        tasks.join_next().await.expect("the server").expect("ends well");
        assert_eq!(try_once(&channels, "webhook", &settings, message("{}")).await.status, Some(200));
        assert_eq!((opened.load(Ordering::SeqCst), desk.seen().len()), (2, 1));
    }
}

/// A connection that was used before and is closed without a word gets one successor. Whatever else breaks may have arrived, and is not sent
/// again.
#[tokio::test]
async fn a_request_is_sent_again_only_after_a_used_connection_was_closed() {
    let receiver = Receiver::start(|number, _| match number {
        1 | 5 | 6 => Reply::Close(Vec::new()),
        3 => Reply::Close(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
        _ => Reply::Raw(OK.to_vec()),
    })
    .await;
    let channels = loopback_channels();
    let settings = json!({"url": receiver.url("/")});
    for (is_answered, seen) in [(true, 1), (true, 3), (false, 4), (true, 5), (false, 7)] {
        let report = try_once(&channels, "webhook", &settings, message("{}")).await;
        if is_answered {
            assert_eq!(report.status, Some(200));
        } else {
            assert_eq!((failure(&report).code, report.status), ("connection_lost", None));
        }
        assert_eq!(receiver.seen().len(), seen);
    }
    assert_eq!(receiver.connections(), 4);
}

/// Chat services cannot tell that they have seen a message before.
#[tokio::test]
async fn a_chat_message_is_never_sent_twice() {
    let receiver = Receiver::start(|number, _| if number == 1 { Reply::Close(Vec::new()) } else { Reply::Raw(OK.to_vec()) }).await;
    let channels = loopback_channels();
    let settings = json!({"webhook_url": receiver.url("/")});
    assert_eq!(try_once(&channels, "slack", &settings, message("a")).await.status, Some(200));
    assert_eq!(failure(&try_once(&channels, "slack", &settings, message("b")).await).code, "connection_lost");
    assert_eq!(receiver.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_request_was_taken_ends_the_connection() {
    let memory = Memory::new(&[&["93.184.216.34"]], |_| {
        let (ours, mut theirs) = tokio::io::duplex(64);
        Plan::Task(
            ours,
            Box::pin(async move {
                let mut some = [0; 32];
                theirs.read_exact(&mut some).await.expect("the beginning");
                theirs.write_all(OK).await.expect("write");
                let mut rest = Vec::new();
                // Not taken any further until the other side gives up.
                tokio::time::sleep(SECOND).await;
                let _ = theirs.read_to_end(&mut rest).await;
                assert!(rest.len() < 1000);
            }),
        )
    });
    let channels = memory.channels();
    let settings = json!({"url": "http://hooks.example/"});
    for opened in 1..=2 {
        let report = try_once(&channels, "webhook", &settings, message(&"x".repeat(10_000))).await;
        assert_eq!((report.status, channels.http_stats().opened), (Some(200), opened));
    }
}

/// Incident 3's neighbour: what hangs holds its socket no longer than the try.
#[tokio::test(start_paused = true)]
async fn connections_of_a_hanging_server_are_dropped_at_the_deadline() {
    let desk = Desk::new(|_, _| Reply::Hang(Vec::new()));
    let memory = Memory::serving(&desk);
    let channels = memory.channels();
    let settings = json!({"url": "http://hooks.example/"});
    let tries = (0..20).map(|_| try_within(&channels, "webhook", &settings, message("{}"), SECOND, 3 * SECOND));
    for report in join_all(tries).await {
        assert_eq!((failure(&report).code, report.duration), ("timeout", 3 * SECOND));
    }
    while desk.closed.load(Ordering::SeqCst) < 20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_keeps_512_idle_connections_for_a_minute() {
    let all_here = Arc::new(Barrier::new(600));
    let desk = Desk::new(|_, _| Reply::After(SECOND, OK.to_vec()));
    let memory = Memory::serving(&desk);
    let channels = memory.channels();
    let settings = json!({"url": "http://hooks.example/"});
    let tries = (0..600).map(|_| async {
        all_here.wait().await;
        try_once(&channels, "webhook", &settings, message("{}")).await
    });
    assert!(join_all(tries).await.iter().all(|report| report.status == Some(200)));
    let closed = || desk.closed.load(Ordering::SeqCst);
    while closed() < 600 - 512 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(55 * SECOND).await;
    assert_eq!((channels.http_stats().opened, closed()), (600, 600 - 512));
    // The most recently used one is taken, and so stays longer than the others.
    assert_eq!(try_once(&channels, "webhook", &settings, message("{}")).await.status, Some(200));
    tokio::time::sleep(21 * SECOND).await;
    assert_eq!((channels.http_stats().opened, closed()), (600, 599));
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(closed(), 600);
}

/// Ten thousand origins, each used once: sockets and buffers are bounded over all, the longest idle go first.
#[tokio::test(start_paused = true)]
async fn idle_connections_are_bounded_over_all_origins() {
    const ORIGINS: i64 = 10_000;
    let desk = Desk::new(|_, _| Reply::Raw(OK.to_vec()));
    let memory = Memory::serving(&desk);
    let channels = memory.channels();
    let open = |so_far: i64| so_far as usize - desk.closed.load(Ordering::SeqCst);
    for target in 1..=ORIGINS {
        assert_eq!(try_target(&channels, target, &format!("http://h{target}.example/")).await.status, Some(200));
        if target % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(open(target) <= 4096 + 100, "{} open after {target}", open(target));
        }
    }
    assert!(open(ORIGINS) >= 3500, "{}", open(ORIGINS));
    assert_eq!(channels.http_stats().opened, ORIGINS as u64);
    // The last ones are still there, the first are not.
    for target in [ORIGINS, ORIGINS - 3000] {
        assert_eq!(try_target(&channels, target, &format!("http://h{target}.example/")).await.status, Some(200));
    }
    assert_eq!((channels.http_stats().opened, channels.http_stats().reused), (ORIGINS as u64, 2));
    assert_eq!(try_target(&channels, 1, "http://h1.example/").await.status, Some(200));
    assert_eq!(channels.http_stats().opened, ORIGINS as u64 + 1);
    tokio::time::sleep(80 * SECOND).await;
    assert_eq!(open(ORIGINS + 1), 0);
}

/// Interim answers are skipped, but not for ever; heads and chunks may come byte by byte.
#[tokio::test(start_paused = true)]
async fn answers_in_small_pieces_and_after_interim_ones() {
    let answer = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nx-a: b\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let memory = Memory::new(&[&["93.184.216.34"]], move |_| {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        Plan::Task(
            ours,
            Box::pin(async move {
                let mut read = [0; 1024];
                while theirs.read(&mut read).await.is_ok_and(|length| length > 0) {
                    for byte in answer {
                        theirs.write_all(&[*byte]).await.expect("write");
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }),
        )
    });
    let channels = memory.channels();
    let settings = json!({"url": "http://hooks.example/"});
    for _ in 0..2 {
        let report = try_once(&channels, "webhook", &settings, message("{}")).await;
        assert_eq!((report.outcome, report.response_body.as_ref()), (Outcome::Answered, &b"abcde"[..]));
        assert_eq!(&*report.response, "HTTP/1.1 200 OK\nx-a: b\ntransfer-encoding: chunked");
    }
    assert_eq!((channels.http_stats().opened, channels.http_stats().reused), (1, 1));

    let endless = Memory::serving(&Desk::new(|_, _| Reply::Raw(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000))));
    let report = try_once(&endless.channels(), "webhook", &settings, message("{}")).await;
    assert_eq!((failure(&report).code, report.duration), ("response_invalid", Duration::ZERO));
}

/// A body much larger than any buffer goes out whole, to a server that takes it slowly.
#[tokio::test(start_paused = true)]
async fn large_requests_arrive_whole() {
    let desk = Desk::new(|_, _| Reply::Raw(OK.to_vec()));
    let memory = Memory::serving(&desk);
    let channels = memory.channels();
    let settings = json!({"url": "http://hooks.example/"});
    for size in [8192, 8193, 1_000_000] {
        let text: String = (0..size).map(|place| char::from(b'a' + (place % 23) as u8)).collect();
        assert_eq!(try_once(&channels, "webhook", &settings, message(&text)).await.status, Some(200));
        assert!(desk.seen().pop().expect("a request").body == text.as_bytes(), "{size}");
    }
    assert_eq!(channels.http_stats().opened, 1);
}

#[tokio::test]
async fn connections_end_with_their_client() {
    let receiver = Receiver::start(|_, _| Reply::Raw(OK.to_vec())).await;
    let channels = loopback_channels();
    assert_eq!(try_once(&channels, "webhook", &json!({"url": receiver.url("/")}), message("{}")).await.status, Some(200));
    drop(channels);
    while receiver.desk.closed.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
}

/// A server that speaks HTTP/2 (if it is offered) and counts connections; each answer waits until `together` requests are here.
async fn https_server(identity: &Identity, protocols: &[&str], together: usize) -> (u16, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let (acceptor, opened) = (identity.acceptor(protocols), Arc::new(AtomicUsize::new(0)));
    let (counting, barrier) = (Arc::clone(&opened), Arc::new(Barrier::new(together)));
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        let mut open = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            counting.fetch_add(1, Ordering::SeqCst);
            let (acceptor, barrier) = (acceptor.clone(), Arc::clone(&barrier));
            open.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let barrier = Arc::clone(&barrier);
                    async move {
                        barrier.wait().await;
                        let said = format!("{:?} {}", request.version(), request.uri());
                        Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(said))))
                    }
                });
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                // How the client ends the connection is the client's affair.
                let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    (port, opened, accepting)
}

#[tokio::test]
async fn first_requests_at_once_share_http2_connections() {
    let identity = Identity::of("localhost");
    let (port, opened, _serving) = https_server(&identity, &["h2", "http/1.1"], 500).await;
    let channels = trusting(vec![identity.certificate()]);
    let url = format!("https://localhost:{port}/in");
    let reports = join_all((0..500).map(|_| try_target(&channels, 1, &url))).await;
    let said = format!("HTTP/2.0 {url}");
    assert!(reports.iter().all(|report| report.response_body == said), "{:?}", reports[0]);
    let stats = channels.http_stats();
    assert!(opened.load(Ordering::SeqCst) <= 5, "{stats:?}");
    assert_eq!((stats.opened, stats.http2), (opened.load(Ordering::SeqCst) as u64, 500));
}

#[tokio::test]
async fn first_requests_at_once_have_their_own_http1_connections() {
    let identity = Identity::of("localhost");
    let (port, opened, _serving) = https_server(&identity, &["http/1.1"], 50).await;
    let channels = trusting(vec![identity.certificate()]);
    let url = format!("https://localhost:{port}/in");
    let reports = join_all((0..50).map(|_| try_target(&channels, 1, &url))).await;
    assert!(reports.iter().all(|report| report.response_body == "HTTP/1.1 /in"), "{:?}", reports[0]);
    assert_eq!(opened.load(Ordering::SeqCst), 50);
}

#[tokio::test]
async fn tls_sessions_are_taken_up_again() {
    let identity = Identity::of("localhost");
    let acceptor = identity.acceptor(&["http/1.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://localhost:{}/", listener.local_addr().expect("an address").port());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            Desk::new(|_, _| Reply::Close(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok".to_vec()))
                .serve(stream)
                .await;
        }
    });
    let channels = trusting(vec![identity.certificate()]);
    for target in 1..=3 {
        assert_eq!(try_target(&channels, target, &url).await.status, Some(200));
    }
    let stats = channels.http_stats();
    assert_eq!((stats.opened, stats.handshakes, stats.resumed, stats.reused), (3, 1, 2, 0));
}
