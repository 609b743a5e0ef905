//! HTTPS: names and chains are checked, HTTP/2 is spoken where it is offered, and plain ports are told apart.

use std::sync::Arc;

use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use posthaste_channels::http_client::HttpStats;
use posthaste_channels::{ChannelOptions, Channels, Dispatch, Outcome};
use posthaste_domain::delivery::Fault;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::receiver::{Receiver, status};
use crate::{failure, loopback_guard, message, try_once};

/// A certificate that vouches for itself.
pub struct Identity {
    made: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Identity {
    pub fn of(name: &str) -> Self {
        Self { made: rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate") }
    }

    pub fn certificate(&self) -> CertificateDer<'static> {
        self.made.cert.der().clone()
    }

    pub fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let key = PrivateKeyDer::try_from(self.made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate()], key)
            .expect("a usable certificate");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Answers with the version of HTTP that it was asked in.
async fn https_server(acceptor: TlsAcceptor) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        let mut open = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let acceptor = acceptor.clone();
            open.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                    let version = format!("{:?}", request.version());
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(bytes::Bytes::from(version))))
                });
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                // How the client ends the connection is the client's affair.
                let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    (port, accepting)
}

/// The standard channels, allowed to reach loopback, trusting `roots` besides the machine's.
pub fn trusting(roots: Vec<CertificateDer<'static>>) -> Channels {
    Channels::standard(&ChannelOptions { guard: loopback_guard(), extra_roots: roots, ..Default::default() }).expect("options")
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered() {
    let identity = Identity::of("localhost");
    for (offered, spoken) in [(&["h2", "http/1.1"][..], "HTTP/2.0"), (&["http/1.1"], "HTTP/1.1"), (&[], "HTTP/1.1")] {
        let (port, _serving) = https_server(identity.acceptor(offered)).await;
        let channels = trusting(vec![identity.certificate()]);
        let settings = json!({"url": format!("https://localhost:{port}/")});
        for _ in 0..2 {
            let report = try_once(&channels, "webhook", &settings, message("{}")).await;
            assert_eq!((report.outcome, report.response_body.as_ref()), (Outcome::Answered, spoken.as_bytes()));
        }
        let http2 = if spoken == "HTTP/2.0" { 2 } else { 0 };
        assert_eq!(channels.http_stats(), HttpStats { opened: 1, reused: 1, handshakes: 1, resumed: 0, http2 });
    }
}

#[tokio::test]
async fn http1_can_be_asked_for() {
    let identity = Identity::of("localhost");
    let (port, _serving) = https_server(identity.acceptor(&["h2", "http/1.1"])).await;
    let channels = trusting(vec![identity.certificate()]);
    let url = format!("https://localhost:{port}/");
    for (settings, spoken) in [(json!({"url": url, "http_version": "1.1"}), "HTTP/1.1"), (json!({"url": url}), "HTTP/2.0")] {
        let channel = channels.get("webhook").expect("a standard channel");
        let key = (1, i64::from(spoken == "HTTP/2.0"));
        let dispatch = Dispatch {
            delivery_id: "dlv_test",
            settings: &settings,
            settings_key: key,
            content: message("{}"),
            connect_timeout: crate::AMPLE,
            timeout: crate::AMPLE,
        };
        assert_eq!(channel.send(dispatch).await.response_body.as_ref(), spoken.as_bytes());
    }
}

#[tokio::test]
async fn names_and_chains_are_checked() {
    let identity = Identity::of("localhost");
    let (port, _serving) = https_server(identity.acceptor(&[])).await;
    for (host, roots, reason) in [
        ("127.0.0.1", vec![identity.certificate()], "its certificate is for another name"),
        ("localhost", vec![], "its certificate is not issued by an authority that this server trusts"),
        (
            "localhost",
            vec![Identity::of("localhost").certificate()],
            "its certificate is not issued by an authority that this server trusts",
        ),
    ] {
        let settings = json!({"url": format!("https://{host}:{port}/")});
        let report = try_once(&trusting(roots), "webhook", &settings, message("{}")).await;
        let error = failure(&report);
        assert_eq!((error.code, error.fault, error.retryable), ("tls_failed", Fault::Theirs, true));
        assert_eq!(error.message, format!("TLS with {host} failed: {reason}"));
    }
}

#[tokio::test]
async fn tls_to_a_plain_port_and_plain_to_a_tls_port() {
    let receiver = Receiver::start(|_, _| status(200, "", "")).await;
    let settings = json!({"url": format!("https://{}/", receiver.address)});
    // The receiver waits for the end of a request that never comes; a server that answers at once shows the other way to fail.
    let answering = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let plain = json!({"url": format!("https://{}/", answering.local_addr().expect("an address"))});
    let talking = async {
        let (mut stream, _) = answering.accept().await.expect("a connection");
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("write");
        stream
    };
    let none = trusting(Vec::new());
    let (report, _) = tokio::join!(try_once(&none, "webhook", &plain, message("{}")), talking);
    assert_eq!(failure(&report).code, "tls_failed");
    assert_eq!(failure(&report).message, "TLS with 127.0.0.1 failed: the port does not speak TLS");
    let short = std::time::Duration::from_millis(80);
    let report = crate::try_within(&trusting(Vec::new()), "webhook", &settings, message("{}"), short, crate::AMPLE).await;
    assert_eq!(failure(&report).code, "connect_timeout");
    assert!(receiver.seen().is_empty());

    let (port, _serving) = https_server(Identity::of("localhost").acceptor(&[])).await;
    let settings = json!({"url": format!("http://localhost:{port}/")});
    let report = try_once(&trusting(Vec::new()), "webhook", &settings, message("{}")).await;
    assert!(["response_invalid", "connection_lost"].contains(&failure(&report).code), "{}", failure(&report).code);
}
