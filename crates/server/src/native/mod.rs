//! The native API: one file per resource, all below `/posthaste/v1`.

mod accounts;
mod api;
mod audit;
mod bins;
mod channels;
mod cluster;
mod crud;
mod deliveries;
mod domains;
mod event_types;
mod events;
mod keys;
mod members;
mod messages;
mod replays;
mod settings;
mod statistics;
mod subscriptions;
mod suppressions;
mod targets;
mod templates;
mod view;
mod workspaces;

use std::sync::LazyLock;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use posthaste_store::Order;
use serde::Serialize;
use utoipa::openapi::OpenApi;

use crate::AppState;
use crate::cursor::{self, List};
use api::{Api, PREFIX};
pub(crate) use events::publish;
pub use settings::EffectiveSetting;

/// Where events are published.
pub(crate) const EVENTS_PATH: &str = "/posthaste/v1/events";

fn operations() -> (Router<AppState>, OpenApi) {
    let mut api = Api::new();
    events::operations(&mut api);
    event_types::operations(&mut api);
    targets::operations(&mut api);
    channels::operations(&mut api);
    templates::operations(&mut api);
    subscriptions::operations(&mut api);
    deliveries::operations(&mut api);
    replays::operations(&mut api);
    keys::operations(&mut api);
    bins::operations(&mut api);
    workspaces::operations(&mut api);
    statistics::operations(&mut api);
    domains::operations(&mut api);
    messages::operations(&mut api);
    suppressions::operations(&mut api);
    accounts::operations(&mut api);
    members::operations(&mut api);
    audit::operations(&mut api);
    settings::operations(&mut api);
    cluster::operations(&mut api);
    api.finish()
}

/// All routes of the native API.
pub(crate) fn router() -> Router<AppState> {
    let (router, _) = operations();
    router.route(&format!("{PREFIX}/openapi.json"), get(openapi))
}

/// The OpenAPI 3.1 document of the native API, as the server serves it and as it is checked in.
pub fn openapi_json() -> String {
    let (_, document) = operations();
    let mut text = document.to_pretty_json().expect("the description always serialises");
    text.push('\n');
    text
}

async fn openapi() -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(openapi_json);
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], DOCUMENT.as_str()).into_response()
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let bytes = serde_json::to_vec(value).expect("answers always serialise");
    json_bytes(status, bytes)
}

/// A JSON answer that is written already.
pub(crate) fn json_bytes(status: StatusCode, bytes: Vec<u8>) -> Response {
    let fixed = HeaderValue::from_static;
    // Payloads of strangers are in it: no browser may take it for a page.
    (status, [(header::CONTENT_TYPE, fixed("application/json")), (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"))], bytes).into_response()
}

/// A page of a list; `next` is the key after which it goes on.
pub(crate) fn list_page<T: Serialize>(list: List, order: Order, items: &[T], next: Option<i64>) -> Response {
    #[derive(Serialize)]
    struct Page<'a, T> {
        items: &'a [T],
        next: Option<String>,
    }
    json(StatusCode::OK, &Page { items, next: next.map(|key| cursor::encode(list, order, key)) })
}
