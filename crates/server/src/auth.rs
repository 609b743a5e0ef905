//! Who is asking, and what they may do.
//!
//! Each extractor names the scope that its route needs ([`Reader`], [`Publisher`], [`Manager`], [`Admin`]), so a handler cannot be written
//! without one by mistake. `admin` holds every scope; the others hold only themselves.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, header};
use posthaste_dialects::auth::Insider;
use posthaste_domain::event::Source;
use posthaste_domain::people::{Actor, Role};
use posthaste_domain::resource::{KeyKind, Scope};

use crate::AppState;
use crate::codes::Code;
use crate::problem::Problem;

/// Alternative to `Authorization`, for tools that cannot set it.
const KEY_HEADER: &str = "x-posthaste-key";

/// Somebody who is known, by a key or as a member, and where the request comes from.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Number of the workspace that everything is about.
    workspace: i64,
    scopes: Vec<Scope>,
    actor: Actor,
    pub ip: Option<IpAddr>,
}

impl Caller {
    /// Number of the caller's workspace.
    pub(crate) fn workspace(&self) -> i64 {
        self.workspace
    }

    /// Whether the caller holds a scope.
    pub(crate) fn has(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|held| *held == scope || *held == Scope::Admin)
    }

    /// Who it is.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The source that events of this caller carry: a member sends from the console.
    pub(crate) fn source(&self) -> Arc<Source> {
        let via = if matches!(self.actor, Actor::Member { .. }) { "console" } else { "api" };
        Arc::new(Source { via: via.to_owned(), key: self.actor.id().map(str::to_owned), ip: self.ip.map(|ip| ip.to_string()) })
    }

    /// Refuses a caller without the scope.
    fn holding(self, needed: Scope) -> Result<Self, Problem> {
        if self.has(needed) {
            return Ok(self);
        }
        let held: Vec<&str> = self.scopes.iter().copied().map(scope_name).collect();
        let (needed, held) = (scope_name(needed), held.join(", "));
        let detail = match self.actor {
            Actor::Member { .. } => format!("this needs the scope {needed}; your role in this workspace has {held}"),
            _ => format!("this needs the scope {needed}; the key has {held}"),
        };
        Err(Problem::new(Code::ScopeMissing, detail))
    }
}

/// Who asks, said by code of this process that has made sure of it: the native API takes it from the extensions of a request instead of a
/// key in the headers. Nothing that comes over the network can carry one.
#[derive(Clone, Debug)]
pub struct Principal(Caller);

impl Principal {
    /// A member acting in a workspace, from this address. The scopes are those of the member's role there.
    pub fn member(workspace: i64, role: Role, actor: Actor, ip: Option<IpAddr>) -> Self {
        Self(Caller { workspace, scopes: role.scopes().to_vec(), actor, ip })
    }
}

/// Lets a [`Principal`] into the vendors' APIs.
pub(crate) async fn vouch(mut request: Request, next: Next) -> Response {
    if let Some(Principal(caller)) = request.extensions().get::<Principal>().cloned() {
        request.extensions_mut().insert(Insider::new(caller.workspace, caller.scopes, caller.actor));
    }
    next.run(request).await
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
    let actor = Actor::Key { id: key.id.clone(), description: key.doc.description.clone() };
    Caller { workspace: key.workspace, scopes: key.doc.scopes.clone(), actor, ip }.holding(needed)
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
            #[doc = concat!("A caller who holds the scope `", stringify!($scope), "`.")]
            pub(crate) struct $name(pub Caller);

            impl FromRequestParts<AppState> for $name {
                type Rejection = Problem;

                async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
                    match parts.extensions.get::<Principal>() {
                        Some(Principal(caller)) => caller.clone().holding(Scope::$scope).map(Self),
                        None => find(token(&parts.headers)?, peer(parts), state, Scope::$scope).map(Self),
                    }
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
