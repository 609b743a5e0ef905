//! What this server can send: its channels and wire formats.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use posthaste_channels::ContentKind;
use posthaste_domain::resource::Scope;
use serde::Serialize;
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::json;
use crate::AppState;
use crate::auth::Reader;

/// What this server can send.
#[derive(Serialize, ToSchema)]
struct Channels {
    /// Kinds of targets, by name.
    items: Vec<ChannelView>,
    /// Wire formats that a subscription of a channel with `takes_formats` may name.
    formats: Vec<&'static str>,
}

/// A kind of target.
#[derive(Serialize, ToSchema)]
#[schema(as = Channel)]
struct ChannelView {
    name: &'static str,
    /// Whether deliveries are requests in a wire format; otherwise they are messages, which a template writes.
    takes_formats: bool,
}

/// Adds the operation.
pub(super) fn operations(api: &mut Api) {
    api.tag("channels", "Kinds of targets and wire formats that this server knows.");
    let list = Op::get("/channels", "listChannels", "List the channels and the wire formats");
    api.add(list.scope(Scope::Read).answer::<Channels>(StatusCode::OK, "What this server can send."), channels);
}

async fn channels(State(state): State<AppState>, Reader(_): Reader) -> Response {
    let channels = state.engine.channels();
    let view = |name: &'static str| ChannelView { name, takes_formats: channels.get(name).is_some_and(|c| c.takes(ContentKind::Wire)) };
    json(StatusCode::OK, &Channels { items: channels.names().map(view).collect(), formats: state.engine.formats().names().collect() })
}
