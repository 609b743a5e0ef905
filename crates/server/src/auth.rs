//! Who is asking, and what they may do.
//!
//! Each extractor names the scope that its route needs ([`Reader`], [`Publisher`], [`Manager`], [`Admin`]), so a handler cannot be written
//! without one by mistake. `admin` holds every scope; the others hold only themselves.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;
use http::{HeaderMap, header};
use posthaste_domain::event::Source;
use posthaste_domain::resource::{Key, KeyKind, Scope};
use posthaste_engine::Entry;

use crate::AppState;
use crate::codes::Code;
use crate::problem::Problem;

/// Alternative to `Authorization`, for tools that cannot set it.
const KEY_HEADER: &str = "x-posthaste-key";

/// A known private key and where it is used from.
pub(crate) struct Caller {
    pub key: Arc<Entry<Key>>,
    pub ip: Option<IpAddr>,
}

impl Caller {
    /// Number of the caller's workspace.
    pub(crate) fn workspace(&self) -> i64 {
        self.key.workspace
    }

    /// Whether the key holds a scope.
    pub(crate) fn has(&self, scope: Scope) -> bool {
        self.key.doc.scopes.iter().any(|held| *held == scope || *held == Scope::Admin)
    }

    /// The source that events of this caller carry.
    pub(crate) fn source(&self) -> Arc<Source> {
        Arc::new(Source { via: "api".to_owned(), key: Some(self.key.id.clone()), ip: self.ip.map(|ip| ip.to_string()) })
    }
}

/// The key that a request presents.
pub(crate) fn token(headers: &HeaderMap) -> Result<&str, Problem> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().unwrap_or_default().trim();
        return match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
            _ => Err(Problem::new(Code::KeyInvalid, "the Authorization header must be: Bearer KEY").at("Authorization")),
        };
    }
    match headers.get(KEY_HEADER) {
        Some(value) => Ok(value.to_str().unwrap_or_default().trim()),
        None => Err(Problem::new(Code::KeyMissing, "send a private key as Authorization: Bearer KEY").at("Authorization")),
    }
}

/// Whose key this is, if it is known and holds the scope.
pub(crate) fn find(token: &str, ip: Option<IpAddr>, state: &AppState, needed: Scope) -> Result<Caller, Problem> {
    let key = state.engine.find_key(token).ok_or_else(|| Problem::new(Code::KeyInvalid, "the key is wrong or was deleted"))?;
    if key.doc.kind == KeyKind::Public {
        let detail = "this is a public key, which may only publish through /inbox; the native API takes private keys";
        return Err(Problem::new(Code::PublicKeyRefused, detail));
    }
    let caller = Caller { key, ip };
    if !caller.has(needed) {
        let held: Vec<&str> = caller.key.doc.scopes.iter().copied().map(scope_name).collect();
        let detail = format!("this needs the scope {}; the key has {}", scope_name(needed), held.join(", "));
        return Err(Problem::new(Code::ScopeMissing, detail));
    }
    Ok(caller)
}

/// Address of the peer, if the listener gave it.
pub(crate) fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical())
}

/// A scope as the API writes it.
pub(crate) fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Admin => "admin",
        Scope::Publish => "publish",
        Scope::Read => "read",
        Scope::Manage => "manage",
    }
}

macro_rules! extractors {
    ($($name:ident = $scope:ident;)+) => {
        $(
            #[doc = concat!("A caller whose key holds the scope `", stringify!($scope), "`.")]
            pub(crate) struct $name(pub Caller);

            impl FromRequestParts<AppState> for $name {
                type Rejection = Problem;

                async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
                    find(token(&parts.headers)?, peer(parts), state, Scope::$scope).map(Self)
                }
            }
        )+
    };
}

extractors! {
    Reader = Read;
    Publisher = Publish;
    Manager = Manage;
    Admin = Admin;
}
