//! The demo's webhook receiver: a listener of its own that checks every signature, as a receiver should.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use posthaste_domain::clock::Clock;
use posthaste_domain::signature::{SigningSecret, TOLERANCE_SECONDS, VerifyError, verify};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::SystemClock;
use crate::failure::Failure;

/// Arrivals that wait to be shown; more are answered with 503, and come again.
const WAITING: usize = 256;

/// A webhook that came in.
#[derive(Debug)]
pub struct Arrival {
    /// Its body; null if it is not JSON.
    pub body: Value,
    /// Whether its signature holds.
    pub verdict: Result<(), VerifyError>,
}

/// The receiver, listening but not answering yet.
#[derive(Debug)]
pub struct Receiver {
    listener: TcpListener,
    url: String,
    secret: String,
}

struct Desk {
    secret: SigningSecret,
    clock: SystemClock,
    arrivals: mpsc::Sender<Arrival>,
}

impl Receiver {
    /// Takes a free port, and makes up the secret that is shared with the sender.
    pub async fn bind() -> Result<Self, Failure> {
        let failed = || Failure::io("the webhook receiver cannot listen");
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed())?;
        let url = format!("http://{}/hook", listener.local_addr().map_err(failed())?);
        Ok(Self { listener, url, secret: posthaste_engine::new_secret(false) })
    }

    /// Where it takes webhooks.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The secret that signs them.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// What arrives, and the work that answers; the work ends when `stop` is cancelled.
    pub fn run(self, stop: CancellationToken) -> (mpsc::Receiver<Arrival>, impl Future<Output = ()>) {
        let (arrivals, out) = mpsc::channel(WAITING);
        let secret = SigningSecret::parse(&self.secret).expect("it was made by the engine");
        let desk = Arc::new(Desk { secret, clock: SystemClock::start(), arrivals });
        let app = Router::new().route("/hook", post(take)).with_state(desk);
        (out, posthaste_server::serve(self.listener, app, stop.cancelled_owned()))
    }
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let now = desk.clock.now_ms().div_euclid(1000);
    let verdict = verify(header, &body, std::slice::from_ref(&desk.secret), now, TOLERANCE_SECONDS);
    let status = if verdict.is_ok() { StatusCode::NO_CONTENT } else { StatusCode::BAD_REQUEST };
    let arrival = Arrival { body: serde_json::from_slice(&body).unwrap_or_default(), verdict };
    match desk.arrivals.try_send(arrival) {
        Ok(()) => status,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
