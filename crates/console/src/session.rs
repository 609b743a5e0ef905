//! Who sits in front of a page.
//!
//! [`Seat`] is the extractor of every page: without a session it answers with the log-in page. [`Post`] is the extractor of every form that
//! changes something: a seat and a form whose `csrf` field was checked. A handler that takes neither shows nothing of anybody.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, OptionalFromRequestParts, Request};
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use posthaste_domain::people::Role;
use posthaste_server::Closing;
use posthaste_server::people::{CSRF_HEADER, Room, SignedIn, Visitor, check_csrf};

use crate::Console;
use crate::api::Api;
use crate::form::{Form, Unread};
use crate::kept::{self, Kept};
use crate::query::Query;
use crate::ui;

/// Cookie of the chosen workspace.
const WORKSPACE: &str = "posthaste_workspace";
/// Cookie of the chosen theme.
const THEME: &str = "posthaste_theme";
/// Forms that have nothing to do with the workspace, by their addresses below `/console`.
pub(crate) const ANYWHERE: [&str; 3] = ["/theme", "/workspace", "/logout"];
/// A year, for choices that are no secret.
const KEEP_S: u32 = 31_536_000;

/// Light, dark, or as the system has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// As the system.
    #[default]
    Auto,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// Its name in the cookie and the form; anything else is `auto`.
    pub fn named(name: &str) -> Self {
        match name {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::Auto,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// What `<html data-theme>` says: the server writes it, so that no page flashes in the other theme first.
    pub(crate) fn attribute(self) -> Option<&'static str> {
        Some(self.name()).filter(|_| self != Self::Auto)
    }
}

/// Somebody who is logged in, in one workspace.
#[derive(Clone)]
pub struct Seat {
    /// Display name.
    pub name: String,
    /// E-mail address.
    pub email: String,
    /// The token of [`ui::csrf`]: the session's, and the workspace that the page is about. A form is not carried out in another one.
    pub csrf: String,
    /// The workspace that the page is about.
    pub workspace: Room,
    /// All workspaces that the person may enter.
    pub workspaces: Vec<Room>,
    /// The chosen theme.
    pub theme: Theme,
    /// Whether the workspace is the first one, whose administrators rule the server.
    pub is_first: bool,
    /// Path and query of the page.
    pub query: Query,
    /// The native API as this person.
    pub api: Api,
    /// How this server is reached from outside, without a slash at the end: for curl lines and links to copy.
    pub base_url: String,
    /// The session.
    pub signed_in: SignedIn,
    /// Where the request comes from.
    pub visitor: Visitor,
}

impl Seat {
    /// Whether the person administers the workspace.
    pub fn is_admin(&self) -> bool {
        self.workspace.role == Role::Administrator
    }

    /// Whether the person rules the server: an administrator of the first workspace.
    pub fn is_operator(&self) -> bool {
        self.is_first && self.is_admin()
    }

    /// Whether the navigation shows an address to this person. What is hidden is refused by the API anyway.
    pub(crate) fn may_see(&self, address: &str) -> bool {
        self.is_admin() || !matches!(address, "/console/keys" | "/console/members" | "/console/audit")
    }
}

/// What a page needs to look right for anybody.
pub(crate) struct Look {
    pub theme: Theme,
    pub query: Query,
    pub visitor: Visitor,
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// A cookie for a choice that is no secret.
pub(crate) fn choice_cookie(name: Choice, value: &str) -> HeaderValue {
    let name = match name {
        Choice::Workspace => WORKSPACE,
        Choice::Theme => THEME,
    };
    let value: String = value.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    let text = format!("{name}={value}; Path=/console; Max-Age={KEEP_S}; SameSite=Lax; HttpOnly");
    HeaderValue::from_str(&text).expect("letters, digits and the words above")
}

/// A choice that a cookie keeps.
#[derive(Clone, Copy)]
pub(crate) enum Choice {
    Workspace,
    Theme,
}

/// Bytes of an address to go back to at most.
const LONGEST_BACK: usize = 2048;

/// An address of this console, or `/console/`: what a form says about where to go next is not trusted.
pub(crate) fn local(back: &str) -> &str {
    let is_local = back.len() <= LONGEST_BACK
        && back.starts_with("/console/")
        && !back.contains("//")
        && back.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_local { back } else { "/console/" }
}

impl FromRequestParts<Console> for Look {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Infallible> {
        let Ok(query) = Query::from_request_parts(parts, console).await;
        let theme = Theme::named(cookie(&parts.headers, THEME).unwrap_or_default());
        Ok(Self { theme, query, visitor: Visitor::of(&console.app, &parts.headers, &parts.extensions) })
    }
}

async fn seat(parts: &mut Parts, console: &Console) -> Option<Seat> {
    let people = console.app.people();
    let signed_in = people.session(&parts.headers).await?;
    let Ok(Look { theme, query, visitor }) = Look::from_request_parts(parts, console).await;
    let workspaces = people.rooms(&signed_in);
    let chosen = cookie(&parts.headers, WORKSPACE).unwrap_or_default();
    let workspace = workspaces.iter().find(|room| room.id == chosen).or(workspaces.first())?.clone();
    let principal = people.principal(&signed_in, workspace.workspace, &visitor)?;
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let closing = parts.extensions.get::<Closing>().cloned();
    let member = &signed_in.member.doc;
    Some(Seat {
        name: member.name.clone(),
        email: member.email.clone(),
        csrf: format!("{}.{}", signed_in.csrf(), workspace.id),
        is_first: console.app.engine.workspaces().first() == Some(&workspace.workspace),
        workspace,
        workspaces,
        theme,
        query,
        api: Api::stranger(console.native.clone(), peer, closing).with(principal),
        base_url: console.base_url().to_owned(),
        signed_in,
        visitor,
    })
}

/// Whether a request is for a part of a page: a fragment, or a stream of them.
fn is_for_a_script(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    headers.contains_key("hx-request") || accepts.contains("text/event-stream")
}

impl FromRequestParts<Console> for Seat {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Response> {
        if let Some(seat) = seat(parts, console).await {
            return Ok(seat);
        }
        if !console.app.people().has_members() {
            return Err(Redirect::to("/console/setup").into_response());
        }
        let Ok(query) = Query::from_request_parts(parts, console).await;
        let back = if parts.method == http::Method::GET { query.with("done", None) } else { "/console/".to_owned() };
        // A part of a page that is fetched by a script must not become the log-in page within the page.
        if is_for_a_script(&parts.headers) {
            let login = HeaderValue::from_str(&ui::login_href("/console/")).expect("an address of letters");
            return Err((StatusCode::UNAUTHORIZED, [("hx-redirect", login)]).into_response());
        }
        Err(Redirect::to(&ui::login_href(&back)).into_response())
    }
}

impl OptionalFromRequestParts<Console> for Seat {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Option<Self>, Infallible> {
        Ok(seat(parts, console).await)
    }
}

/// The page that a form was on, if the browser tells and it is one of this console.
fn referring(headers: &HeaderMap) -> Option<String> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let page: http::Uri = text(header::REFERER)?.parse().ok()?;
    let is_ours = page.authority().map(|authority| authority.as_str()) == text(header::HOST);
    page.path_and_query().filter(|_| is_ours).map(|path| path.as_str().to_owned())
}

/// A form that changes something, sent by somebody who is logged in, from a page of this console.
pub struct Post {
    /// Who.
    pub seat: Seat,
    /// What.
    pub form: Form,
}

/// The answer to a form that came without a session: the log-in, which carries what was typed. Nothing is read of another site's form.
async fn late(headers: &HeaderMap, theme: Theme, to: &str, body: Body, console: &Console) -> Response {
    let log_in = || Redirect::to(&ui::login_href(local(&referring(headers).unwrap_or_default()))).into_response();
    if !kept::is_ours(headers) {
        return log_in();
    }
    match Form::read_of_stranger(body, kept::MOST + (64 << 10), &console.room).await {
        Ok(form) => Kept::of(to, &form).map_or_else(log_in, |kept| crate::pages::log_in_first(theme, &kept.draft())),
        Err(Unread::TooLarge(_)) => crate::pages::log_in_first(theme, &kept::too_long()),
        Err(refusal) => refusal.into_response(),
    }
}

impl FromRequest<Console> for Post {
    type Rejection = Response;

    async fn from_request(request: Request, console: &Console) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let seat = <Seat as FromRequestParts<Console>>::from_request_parts(&mut parts, console).await;
        let headers = parts.headers.clone();
        let typed = parts.extensions.get::<kept::Typed>().cloned().unwrap_or_default();
        let is_of_any_workspace = ANYWHERE.contains(&parts.uri.path().trim_start_matches("/console"));
        let Ok(Look { theme, query, .. }) = Look::from_request_parts(&mut parts, console).await;
        let to = query.with("done", None);
        let seat = match seat {
            Ok(seat) => seat,
            // A script would put the page into a page.
            Err(refusal) if headers.contains_key("hx-request") || !console.app.people().has_members() => return Err(refusal),
            Err(_) => return Err(late(&headers, theme, &to, body, console).await),
        };
        let form = Form::read(body).await.map_err(IntoResponse::into_response)?;
        let sent = || Kept::of(&to, &form);
        let kept = || kept::is_ours(&headers).then(sent).flatten();
        let shown = Some(form.raw("csrf")).filter(|text| !text.is_empty());
        let shown = shown.or_else(|| headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok()));
        let (token, workspace) = shown.and_then(|shown| shown.split_once('.')).unzip();
        if check_csrf(&seat.signed_in, token, &headers).is_err() {
            return Err(match kept() {
                Some(kept) => kept.page(seat.theme, StatusCode::FORBIDDEN, kept::LATE, seat.signed_in.csrf(), kept.room(&seat.workspaces)),
                None => crate::pages::problem::stale(&seat),
            });
        }
        if workspace != Some(&seat.workspace.id) && !is_of_any_workspace {
            return Err(crate::pages::problem::elsewhere(&seat, sent().as_ref()));
        }
        typed.put(sent());
        Ok(Self { seat, form })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_console_are_gone_back_to() {
        for bad in ["https://evil.example/", "//evil.example", "/console//evil", "/console/\\evil", "/elsewhere", "", "/console/a\r\nb"] {
            assert_eq!(local(bad), "/console/", "{bad:?}");
        }
        assert_eq!(local("/console/inbox?type=a"), "/console/inbox?type=a");
        assert_eq!(local(&format!("/console/inbox?type={}", "a".repeat(LONGEST_BACK))), "/console/");
    }

    #[test]
    fn cookies_are_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; posthaste_theme=dark; posthaste_themes=x"));
        assert_eq!((cookie(&headers, THEME), cookie(&headers, WORKSPACE)), (Some("dark"), None));
    }
}
