//! `/api/v1/webhooks`: paths, keys, parameters and bodies.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode, header};
use jiff::tz::TimeZone;
use posthaste_domain::resource::{Key, Scope};
use posthaste_engine::{Engine, Entry};
use serde_json::{Map, Value};

use super::answer::{Refusal, no_content, results};
use super::{MomentumSettings, documentation, handlers};
use crate::auth;
use crate::body::{self, BodyError};

/// What the dialect works with. A cheap clone.
#[derive(Clone)]
pub struct MomentumState {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) settings: MomentumSettings,
}

impl MomentumState {
    /// The dialect in front of an engine.
    pub fn new(engine: Engine, settings: MomentumSettings) -> Self {
        Self { shared: Arc::new(Shared { engine, settings }) }
    }
}

/// The routes below `/api/v1/webhooks`; none if the dialect is switched off.
///
/// Absolute links name the scheme and host of the request; the scheme is `http` unless a trusted proxy says otherwise in
/// `X-Forwarded-Proto`, which needs the `ConnectInfo<SocketAddr>` extension.
pub fn router(state: MomentumState) -> Router {
    if !state.shared.settings.enabled {
        return Router::new();
    }
    Router::new()
        .route("/api/v1/webhooks", any(serve))
        .route("/api/v1/webhooks/", any(serve))
        .route("/api/v1/webhooks/{*rest}", any(serve))
        .with_state(state)
}

/// What a path names.
#[derive(Debug, PartialEq)]
enum Place<'a> {
    Collection,
    Webhook(&'a str),
    Validate(&'a str),
    BatchStatus(&'a str),
    Documentation,
    Samples,
    Nowhere,
}

impl<'a> Place<'a> {
    /// Case counts; one trailing slash does not.
    fn of(path: &'a str) -> Self {
        let rest = path.strip_prefix("/api/v1/webhooks").unwrap_or_default();
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let segments: Vec<&str> = rest.split('/').skip(1).collect();
        match segments[..] {
            [] => Self::Collection,
            ["events", "documentation"] => Self::Documentation,
            ["events", "samples"] => Self::Samples,
            [id] if !id.is_empty() => Self::Webhook(id),
            [id, "validate"] => Self::Validate(id),
            [id, "batch-status"] => Self::BatchStatus(id),
            _ => Self::Nowhere,
        }
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Collection => "GET, POST",
            Self::Webhook(_) => "GET, PUT, DELETE",
            Self::Validate(_) => "POST",
            Self::BatchStatus(_) | Self::Documentation | Self::Samples => "GET",
            Self::Nowhere => "",
        }
    }
}

/// A call that may be served.
pub(super) struct Call {
    pub(super) workspace: i64,
    /// The engine in the hands of the key, if there is one: what is changed through it is recorded as the key's doing.
    pub(super) by: Engine,
    /// Scheme and host that the client used.
    pub(super) base: String,
    /// Whether secrets are shown: to keys that may only read they are masked.
    pub(super) sees_secrets: bool,
    query: Vec<(String, String)>,
}

impl Call {
    /// The last value of a query parameter.
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// `timezone`, UTC without one.
    pub(super) fn time_zone(&self) -> Result<TimeZone, Refusal> {
        let Some(name) = self.parameter("timezone") else { return Ok(TimeZone::UTC) };
        TimeZone::get(name).map_err(|_| Refusal::Parameter(format!("parameter 'timezone' names no time zone: '{name}'")))
    }

    /// `limit`, 1000 without one.
    pub(super) fn limit(&self) -> Result<usize, Refusal> {
        let Some(text) = self.parameter("limit") else { return Ok(DEFAULT_LIMIT) };
        let limit = text.parse().ok().filter(|limit| *limit > 0);
        limit
            .map(|limit: usize| limit.min(MAX_LIMIT))
            .ok_or_else(|| Refusal::Parameter("parameter 'limit' must be a number above 0".to_owned()))
    }
}

/// Records of the batch status.
const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 10_000;

async fn serve(State(state): State<MomentumState>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    match state.shared.serve(&parts, &mut body).await {
        Ok(response) => response,
        Err(refusal) => {
            if !parts.headers.contains_key(header::EXPECT) {
                body::discard(&mut body).await;
            }
            refusal.into_response()
        }
    }
}

impl Shared {
    async fn serve(&self, parts: &Parts, raw: &mut Body) -> Result<Response, Refusal> {
        let place = Place::of(parts.uri.path());
        let is_read = matches!(parts.method, Method::GET | Method::HEAD);
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        // What everybody may read.
        if matches!(place, Place::Documentation | Place::Samples) && is_read {
            let call = Call { workspace: 0, by: self.engine.clone(), base: String::new(), sees_secrets: false, query };
            return Ok(results(match place {
                Place::Samples => documentation::samples(call.parameter("events"))?,
                _ => documentation::documentation(),
            }));
        }
        let key = self.authenticate(parts)?;
        let is_known = match place {
            Place::Nowhere => return Err(Refusal::NotFound),
            Place::Collection => is_read || parts.method == Method::POST,
            Place::Webhook(_) => is_read || parts.method == Method::PUT || parts.method == Method::DELETE,
            Place::Validate(_) => parts.method == Method::POST,
            Place::BatchStatus(_) => is_read,
            Place::Documentation | Place::Samples => false,
        };
        if !is_known {
            return Err(Refusal::MethodNotAllowed(place.methods()));
        }
        let workspace = self.workspace(key.as_deref(), is_read)?;
        let sees_secrets = key.as_deref().is_none_or(|key| auth::may(&key.doc, Scope::Manage));
        let by = key.as_deref().map_or_else(|| self.engine.clone(), |key| auth::hand(&self.engine, &parts.extensions, key));
        let call = Call { workspace, by, base: self.base(parts), sees_secrets, query };
        match (place, &parts.method) {
            (Place::Collection, &Method::POST) => handlers::create(self, &call, &self.object(parts, raw).await?).await.map(results),
            (Place::Collection, _) => handlers::list(self, &call).await.map(results),
            (Place::Webhook(id), &Method::PUT) => handlers::update(self, &call, id, &self.object(parts, raw).await?).await.map(results),
            (Place::Webhook(id), &Method::DELETE) => handlers::delete(self, &call, id).await.map(|()| no_content()),
            (Place::Webhook(id), _) => handlers::retrieve(self, &call, id).await.map(results),
            (Place::Validate(id), _) => handlers::validate(self, &call, id, self.json(parts, raw).await?).await.map(results),
            (Place::BatchStatus(id), _) => handlers::batch_status(self, &call, id).await.map(results),
            (Place::Documentation | Place::Samples | Place::Nowhere, _) => Err(Refusal::NotFound),
        }
    }

    /// The key of a call; `None` if none is needed and none that is known was sent.
    fn authenticate(&self, parts: &Parts) -> Result<Option<Arc<Entry<Key>>>, Refusal> {
        if let Some(key) = auth::insider(&parts.extensions) {
            return Ok(Some(key));
        }
        let token = match auth::basic(&parts.headers) {
            Some((user, _)) => Some(user),
            None => auth::authorization(&parts.headers).map(str::to_owned),
        };
        let key = token.and_then(|token| auth::private_key(&self.engine, &token));
        if key.is_none() && self.settings.auth_required {
            return Err(Refusal::Unauthorized);
        }
        Ok(key)
    }

    /// The workspace that a key acts on, if it may. *View* is the scope `read`, *Modify* is `manage`.
    fn workspace(&self, key: Option<&Entry<Key>>, is_read: bool) -> Result<i64, Refusal> {
        let Some(key) = key else {
            return self.engine.workspaces().first().copied().ok_or(Refusal::NotFound);
        };
        let may = auth::may(&key.doc, Scope::Manage) || (is_read && auth::may(&key.doc, Scope::Read));
        // Without authentication a key is only the name of a workspace.
        if may || !self.settings.auth_required { Ok(key.workspace) } else { Err(Refusal::Forbidden) }
    }

    fn base(&self, parts: &Parts) -> String {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        let is_proxy = peer.is_some_and(|peer| self.settings.trusted_proxies.iter().any(|net| net.contains(&peer)));
        let forwarded = parts.headers.get("x-forwarded-proto").filter(|_| is_proxy).and_then(|value| value.to_str().ok());
        // The client's is the first of several.
        let forwarded = forwarded.and_then(|list| list.split(',').next()).map(str::trim);
        let scheme = if forwarded.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")) { "https" } else { "http" };
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| parts.uri.authority().map(|authority| authority.as_str())).unwrap_or("localhost");
        format!("{scheme}://{host}")
    }

    /// A body that may be missing.
    async fn json(&self, parts: &Parts, raw: &mut Body) -> Result<Option<Value>, Refusal> {
        let read = body::read(raw, self.settings.max_body_bytes, self.settings.body_timeout).await;
        let bytes: Bytes = read.map_err(|error| {
            let status = match error {
                BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                BodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
                BodyError::Broken => StatusCode::BAD_REQUEST,
            };
            Refusal::Body(status, error.to_string())
        })?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        if parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| !is_json(kind.to_str().unwrap_or_default())) {
            return Err(Refusal::MediaType);
        }
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|error| Refusal::Body(StatusCode::BAD_REQUEST, format!("the body is no JSON: {error}")))
    }

    /// A body that has to be an object.
    async fn object(&self, parts: &Parts, raw: &mut Body) -> Result<Map<String, Value>, Refusal> {
        match self.json(parts, raw).await? {
            Some(Value::Object(object)) => Ok(object),
            _ => Err(Refusal::Body(StatusCode::BAD_REQUEST, "the body must be a JSON object".to_owned())),
        }
    }
}

/// `application/json` or a type built on it, whatever its parameters.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_case_sensitive_and_a_trailing_slash_means_nothing() {
        for (path, place) in [
            ("/api/v1/webhooks", Place::Collection),
            ("/api/v1/webhooks/", Place::Collection),
            ("/api/v1/webhooks/a", Place::Webhook("a")),
            ("/api/v1/webhooks/a/", Place::Webhook("a")),
            ("/api/v1/webhooks/a/validate/", Place::Validate("a")),
            ("/api/v1/webhooks/a/batch-status", Place::BatchStatus("a")),
            ("/api/v1/webhooks/events/documentation", Place::Documentation),
            ("/api/v1/webhooks/events/samples/", Place::Samples),
            ("/api/v1/webhooks/a/Validate", Place::Nowhere),
            ("/api/v1/webhooks/a//", Place::Nowhere),
            ("/api/v1/webhooks//", Place::Nowhere),
            ("/api/v1/webhooks/a/validate/b", Place::Nowhere),
        ] {
            assert_eq!(Place::of(path), place, "{path}");
        }
    }

    #[test]
    fn json_is_json_by_any_of_its_names() {
        assert!(is_json("application/json; charset=utf-8") && is_json("Application/Problem+JSON"));
        assert!(!is_json("text/json") && !is_json("application/x-www-form-urlencoded") && !is_json(""));
    }
}
