//! Who calls, and what was sent: the same steps before every endpoint.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use http::request::Parts;
use http::{HeaderMap, header};
use posthaste_domain::policy::Rate;
use posthaste_domain::policy::limiter::RateLimiter;
use posthaste_domain::resource::{Key, Scope};
use posthaste_engine::{Engine, Entry, ResourceError};

use super::Shared;
use super::answer::{Refusal, Service};
use super::params::Params;
use crate::auth;
use crate::body::{self, BodyError};

/// The user name that stands beside a key.
const USER: &str = "api";

/// A request that may go on.
pub(crate) struct Call {
    /// The key's workspace.
    pub(crate) workspace: i64,
    /// The engine in the hands of the key: what is changed through it is recorded as the key's doing.
    pub(crate) by: Engine,
    /// Method, URI and headers.
    pub(crate) parts: Parts,
    /// Parameters of the query.
    pub(crate) query: Params,
    /// Parameters of the body.
    pub(crate) form: Params,
}

/// Requests of each workspace to the webhooks API within the last minute.
#[derive(Default)]
pub(super) struct Rates(HashMap<i64, RateLimiter>);

impl Rates {
    fn take(&mut self, workspace: i64, per_minute: u32, now_ms: i64) -> bool {
        let rate = Rate { limit: per_minute, per: Duration::from_secs(60) };
        self.0.entry(workspace).or_insert_with(|| RateLimiter::new(rate)).take(now_ms).is_ok()
    }
}

impl Shared {
    /// The key of a request, if there is one and it may do this.
    pub(crate) fn caller(&self, headers: &HeaderMap, service: Service, scope: Scope) -> Result<Arc<Entry<Key>>, Refusal> {
        let token = auth::basic(headers).filter(|(user, _)| user == USER).map(|(_, token)| token);
        let key = token.and_then(|token| auth::private_key(&self.engine, &token)).ok_or_else(|| Refusal::unauthorized(service))?;
        if !auth::may(&key.doc, scope) {
            return Err(Refusal::forbidden());
        }
        Ok(key)
    }

    /// Key, rate and body of a request.
    pub(crate) async fn open(&self, request: Request, service: Service, scope: Scope) -> Result<Call, Refusal> {
        let (parts, mut body) = request.into_parts();
        let key = match auth::insider(&parts.extensions) {
            Some(key) if auth::may(&key.doc, scope) => key,
            Some(_) => return Err(Refusal::forbidden()),
            None => self.caller(&parts.headers, service, scope)?,
        };
        let workspace = key.workspace;
        let per_minute = self.settings.webhook_requests_per_minute;
        if service == Service::Webhooks && per_minute > 0 {
            // The limiter stays usable whatever panicked while holding it: at worst one request was not counted.
            let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
            if !rates.take(workspace, per_minute, self.engine.now_ms()) {
                return Err(Refusal::too_many_requests());
            }
        }
        let bytes = body::read(&mut body, self.settings.max_body_bytes, self.settings.body_timeout).await.map_err(refuse_body)?;
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let form = Params::body(content_type, bytes).map_err(|error| Refusal::bad(error.to_string()))?;
        let query = Params::query(parts.uri.query());
        Ok(Call { workspace, by: auth::hand(&self.engine, &parts.extensions, &key), parts, query, form })
    }

    /// The domain of a path in lower case, if the workspace has it.
    pub(crate) fn domain(&self, workspace: i64, name: &str) -> Result<String, Refusal> {
        let name = name.to_ascii_lowercase();
        self.engine.find_domain(workspace, &name).map(|_| name).ok_or_else(Refusal::no_domain)
    }
}

fn refuse_body(error: BodyError) -> Refusal {
    use http::StatusCode;
    let status = match error {
        BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
        BodyError::Broken => StatusCode::BAD_REQUEST,
    };
    Refusal::message(status, error.to_string())
}

/// What is left to say when the engine refuses a change or cannot make it.
pub(crate) fn refuse_change(error: ResourceError) -> Refusal {
    match error {
        ResourceError::Invalid { field, reason } if field == "settings.url" => Refusal::reason(format!("URL is not a valid url: {reason}")),
        ResourceError::Invalid { field, reason } => Refusal::reason(format!("{field}: {reason}")),
        ResourceError::Limit { .. }
        | ResourceError::Duplicate { .. }
        | ResourceError::AnotherBody
        | ResourceError::InUse { .. }
        | ResourceError::State { .. } => Refusal::bad(error.to_string()),
        error => {
            tracing::error!(%error, "a change of the Mailgun API failed");
            Refusal::internal()
        }
    }
}
