//! People who sign in: set-up, log-in, sessions, passwords and the second factor, for the console.
//!
//! Invariants:
//! - What proves something (cookies, links, recovery codes) is random and long, and only its hash is stored; passwords are hashed with
//!   argon2id, at most so many at once, off the threads that answer requests.
//! - Whether an e-mail address belongs to a member shows neither in an answer nor in its time.
//! - A session is worth what its member is worth at that moment: whoever is disabled or deleted is signed out by that.
//! - What comes from a browser with a cookie changes nothing without the token that only our pages know ([`check_csrf`]).

mod account;
mod cookie;
mod enter;
mod links;
mod passwords;
mod pending;

use std::net::IpAddr;
use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderValue, header};
use parking_lot::Mutex;
use posthaste_domain::people::{Actor, MAX_USER_AGENT, Member, Role, Session, Throttle};
use posthaste_domain::resource::Workspace;
use posthaste_domain::signature::{constant_time_eq, hex, hmac_sha256};
use posthaste_engine::{Engine, Entry, ResourceError};
use sha2::{Digest, Sha256};

pub use account::TotpEnrolment;
pub use enter::{FirstMember, Login};
pub use links::{PASSWORD_PATH, SETUP_PATH};
use passwords::Passwords;
use pending::Pending;

use crate::AppState;
use crate::auth::Principal;
use crate::codes::Code;
use crate::problem::Problem;

/// Header in which scripts of our pages send the token that forms send as `csrf`.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// Why a person was not let in, or a change of an account not made.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// E-mail address, password or code do not belong together. Never says which.
    #[error("the e-mail address, the password or the code is wrong")]
    Wrong,
    /// Too many wrong tries.
    #[error("too many tries; wait {seconds} s")]
    Throttled {
        /// Until the next one.
        seconds: u32,
    },
    /// Too many people sign in at this moment.
    #[error("too many people sign in at this moment")]
    Busy,
    /// A link is not known, was used or is too old.
    #[error("the link is not valid any more")]
    Link,
    /// The request does not come from a page of the console, or from one that is too old.
    #[error("the page is too old or not ours; load it again")]
    Forged,
    /// A field cannot be used.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// The second factor is on already.
    #[error("the second factor is on already; turn it off first")]
    HasSecondFactor,
    /// The change was refused.
    #[error(transparent)]
    Resource(#[from] ResourceError),
}

impl PeopleError {
    fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }

    /// The field at fault, if it is one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } => Some(field),
            Self::Resource(ResourceError::Invalid { field, .. }) => Some(field),
            Self::Resource(ResourceError::Duplicate { field }) => Some(field),
            _ => None,
        }
    }
}

impl From<PeopleError> for Problem {
    fn from(error: PeopleError) -> Self {
        match error {
            PeopleError::Wrong => Self::new(Code::SignInRefused, error.to_string()),
            PeopleError::Throttled { seconds } => Self::new(Code::TooManyRequests, error.to_string()).retry_after(seconds),
            PeopleError::Busy => Self::new(Code::Overloaded, error.to_string()).retry_after(1),
            PeopleError::Link => Self::new(Code::LinkInvalid, error.to_string()),
            PeopleError::Forged => Self::new(Code::RequestForged, error.to_string()),
            PeopleError::Invalid { field, reason } => Self::invalid(field, reason),
            PeopleError::HasSecondFactor => Self::new(Code::WrongState, error.to_string()),
            PeopleError::Resource(error) => error.into(),
        }
    }
}

/// Where a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visitor {
    /// Address of the client.
    pub ip: Option<IpAddr>,
    /// What the browser says it is, cut.
    pub user_agent: String,
}

impl Visitor {
    /// The visitor of a request. Behind trusted proxies it is the client that they speak for.
    pub fn of(app: &AppState, headers: &HeaderMap, extensions: &Extensions) -> Self {
        let ip = app.client_ip(headers, extensions);
        let agent = headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
        Self { ip, user_agent: agent.chars().filter(|c| !c.is_control()).take(MAX_USER_AGENT).collect() }
    }
}

/// A member in a session.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Who.
    pub member: Arc<Entry<Member>>,
    /// In which session.
    pub session: Arc<Session>,
    csrf: String,
}

impl SignedIn {
    /// What forms of this session carry as `csrf`, and scripts in the header [`CSRF_HEADER`]. Belongs to the session and proves nothing else.
    pub fn csrf(&self) -> &str {
        &self.csrf
    }

    /// The member as who does something.
    pub fn actor(&self) -> Actor {
        self.member.doc.actor(&self.member.id)
    }
}

/// A workspace that a member may enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Its number.
    pub workspace: i64,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What the member may do there.
    pub role: Role,
}

/// A session that begins, with the cookie for the browser.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Who signed in.
    pub signed_in: SignedIn,
    /// Value of `Set-Cookie`.
    pub cookie: HeaderValue,
}

/// Everything about people. Clones are cheap and mean the same.
#[derive(Clone)]
pub struct People {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    passwords: Passwords,
    throttle: Mutex<Throttle>,
    pending: Mutex<Pending>,
    /// Hash of the link that makes the first member.
    setup: Mutex<Option<String>>,
}

impl People {
    /// The people of an engine.
    pub(crate) fn new(engine: Engine) -> Self {
        let inner = Inner {
            engine,
            passwords: Passwords::default(),
            throttle: Mutex::default(),
            pending: Mutex::default(),
            setup: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// The engine in the hands of a member.
    fn engine_by(&self, who: &SignedIn) -> Engine {
        self.engine().by(who.actor())
    }

    /// Whether there is anybody who could sign in.
    pub fn has_members(&self) -> bool {
        !self.engine().people().is_empty()
    }

    /// Whether browsers reach this server by TLS, as its public address says.
    fn is_secure(&self) -> bool {
        self.engine().settings().public_base_url.starts_with("https://")
    }

    /// The member whose session the cookies name, if it is alive. Notes the visit, once an hour at most.
    pub async fn session(&self, headers: &HeaderMap) -> Option<SignedIn> {
        let token = cookie::read(headers, self.is_secure())?;
        let session = self.engine().session(&hash(&token))?;
        let now_ms = self.engine().now_ms();
        if !session.is_alive(self.engine().settings().sessions, now_ms) {
            return None;
        }
        let member = self.engine().member(&session.member).filter(|member| !member.doc.disabled)?;
        if session.is_due(now_ms)
            && let Err(error) = self.engine().touch_session(&session.token_hash).await
        {
            // The visit is good all the same.
            tracing::warn!(%error, "a visit could not be noted");
        }
        Some(SignedIn { member, session, csrf: csrf_of(&token) })
    }

    /// Whether somebody still is in the session, and in the workspace with the same role: for what goes on after the request that began it.
    pub fn is_still_in(&self, who: &SignedIn, room: &Room) -> bool {
        let (engine, lifetimes) = (self.engine(), self.engine().settings().sessions);
        let is_alive = engine.session(&who.session.token_hash).is_some_and(|session| session.is_alive(lifetimes, engine.now_ms()));
        let member = engine.member(&who.member.id).filter(|member| is_alive && !member.doc.disabled);
        member.is_some_and(|member| member.doc.role(&room.id) == Some(room.role)) && engine.by_number::<Workspace>(room.workspace).is_some()
    }

    /// Waits until somebody is not in any more, as [`is_still_in`](Self::is_still_in) says. Nothing is polled: what a session's age ends is noticed by the next
    /// change, or by whoever looks.
    pub async fn left(&self, who: &SignedIn, room: &Room) {
        let mut changes = self.engine().standing();
        while self.is_still_in(who, room) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// The workspaces that a member may enter, oldest first.
    pub fn rooms(&self, who: &SignedIn) -> Vec<Room> {
        let room = |number: i64| {
            let workspace = self.engine().by_number::<Workspace>(number)?;
            let role = who.member.doc.role(&workspace.id)?;
            Some(Room { workspace: number, id: workspace.id.clone(), name: workspace.doc.name.clone(), role })
        };
        self.engine().workspaces().into_iter().filter_map(room).collect()
    }

    /// Who asks, for requests to the native API: the member in a workspace where it has a role.
    pub fn principal(&self, who: &SignedIn, workspace: i64, visitor: &Visitor) -> Option<Principal> {
        let role = who.member.doc.role(&self.engine().id_of(workspace)?)?;
        Some(Principal::member(workspace, role, who.actor(), visitor.ip))
    }
}

/// Lower-case hex SHA-256: what is kept of a token.
fn hash(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// 256 random bits as text.
fn random_token() -> String {
    hex(&rand::random::<[u8; 32]>())
}

/// The token of a session's forms: made from the cookie, so that it is stored nowhere and nobody without the cookie can make it.
fn csrf_of(token: &str) -> String {
    hex(&hmac_sha256(token.as_bytes(), b"posthaste console form"))
}

/// Whether a request that changes something comes from a page of this session: it sent the session's token, as the field `csrf` or the
/// header [`CSRF_HEADER`], and no browser says that it comes from another site.
///
/// # Errors
/// [`PeopleError::Forged`].
pub fn check_csrf(who: &SignedIn, sent: Option<&str>, headers: &HeaderMap) -> Result<(), PeopleError> {
    check_same_origin(headers)?;
    let header = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
    let sent = sent.or(header).unwrap_or_default();
    if constant_time_eq(sent.as_bytes(), who.csrf.as_bytes()) { Ok(()) } else { Err(PeopleError::Forged) }
}

/// Whether a form without a session (log-in, set-up, a new password) comes from our own pages, as far as the browser says: by
/// `Sec-Fetch-Site`, or by an `Origin` with the host that was asked.
///
/// # Errors
/// [`PeopleError::Forged`].
pub fn check_same_origin(headers: &HeaderMap) -> Result<(), PeopleError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return if matches!(site, "same-origin" | "none") { Ok(()) } else { Err(PeopleError::Forged) };
    }
    match text("origin") {
        // Programs send neither; the token is asked for besides, where there is a session.
        None => Ok(()),
        Some(origin) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            if authority.is_some() && authority == text("host") { Ok(()) } else { Err(PeopleError::Forged) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn requests_of_other_sites_are_refused() {
        for (good, pairs) in [
            (true, &[][..]),
            (true, &[("sec-fetch-site", "same-origin"), ("origin", "http://elsewhere.example")]),
            (true, &[("sec-fetch-site", "none")]),
            (false, &[("sec-fetch-site", "same-site")]),
            (false, &[("sec-fetch-site", "cross-site")]),
            (true, &[("origin", "https://posthaste.example:8443"), ("host", "posthaste.example:8443")]),
            (false, &[("origin", "https://evil.example"), ("host", "posthaste.example")]),
            (false, &[("origin", "null"), ("host", "posthaste.example")]),
            (false, &[("origin", "https://posthaste.example")]),
        ] {
            assert_eq!(check_same_origin(&headers(pairs)).is_ok(), good, "{pairs:?}");
        }
    }
}
