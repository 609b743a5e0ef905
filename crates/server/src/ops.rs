//! Health and metrics. None of them asks the store.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use posthaste_channels::http_client::OriginStats;
use posthaste_engine::Engine;

use crate::AppState;

/// Origins that have figures of their own: those with the most connections and answers.
const ORIGINS: usize = 20;

/// Name, help and value of a counter.
type Counter = (&'static str, &'static str, fn(&OriginStats) -> u64);

/// Counters of each of them.
const BY_ORIGIN: [Counter; 2] = [
    ("posthaste_http_origin_connections_opened_total", "Connections opened, of the 20 busiest origins.", |one| one.opened),
    ("posthaste_http_origin_connections_reused_total", "Answers over used connections, of the 20 busiest origins.", |one| one.reused),
];

/// `/healthz`, `/readyz`, `/metrics`.
pub(crate) fn router() -> Router<AppState> {
    Router::new().route("/healthz", get(healthy)).route("/readyz", get(ready)).route("/metrics", get(metrics))
}

/// The process answers.
async fn healthy() -> &'static str {
    "ok\n"
}

/// The process takes events: 503 with the reason otherwise.
async fn ready(State(engine): State<Engine>) -> Response {
    match engine.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(state): State<AppState>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let mut text = state.engine.metrics().await;
    for (name, help, value) in [
        ("posthaste_watchers", "Event streams and long polls open now.", state.watching()),
        ("posthaste_bin_requests_in_flight", "Requests that bins store now.", state.catching()),
    ] {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"));
    }
    let http = state.engine.channels().http_stats();
    for (name, help, value) in [
        ("posthaste_http_connections_opened_total", "Connections opened to HTTP targets.", http.opened),
        ("posthaste_http_connections_reused_total", "Answers of HTTP targets over a connection that was used before.", http.reused),
        ("posthaste_http2_answers_total", "Answers of HTTP targets that came by HTTP/2.", http.http2),
        ("posthaste_tls_handshakes_total", "Full TLS handshakes with HTTP targets.", http.handshakes),
        ("posthaste_tls_resumed_total", "TLS handshakes with HTTP targets that took up an earlier session.", http.resumed),
    ] {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n"));
    }
    let origins = state.engine.channels().busiest_origins(ORIGINS);
    for (name, help, value) in BY_ORIGIN {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} counter\n"));
        for one in &origins {
            text.push_str(&format!("{name}{{origin=\"{}\"}} {}\n", one.origin, value(one)));
        }
    }
    if let Some(count) = state.settings.allocations {
        let name = "posthaste_allocations_total";
        text.push_str(&format!("# HELP {name} Allocations of memory.\n# TYPE {name} counter\n{name} {}\n", count()));
    }
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
