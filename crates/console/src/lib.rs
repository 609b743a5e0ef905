//! The web console: pages over the native API, in the same process and the same binary.
//!
//! | Module | What |
//! |---|---|
//! | [`api`] | the wall: requests to the native API as the person who is logged in |
//! | [`session`] | who that is ([`session::Seat`]), and forms that change something ([`session::Post`]) |
//! | `kept` | what was typed into a form that came after the session's end |
//! | [`form`], [`query`] | what was typed, shown again with what was refused; filters in addresses |
//! | [`ui`] | components |
//! | [`live`] | parts of pages that change by themselves |
//! | `pages` | one file per family of pages |
//!
//! `README.md` beside this crate says how to add a page.
//!
//! Invariants:
//! - The console decides nothing: what the native API refuses is refused here, and what the console can do, the native API can do.
//! - Every page works without a script, as far as something that is live can.
//! - Every answer has the Content-Security-Policy of [`CSP`]. Nothing is loaded from elsewhere, and no script or style is inline.
//! - Everything foreign is escaped where it is written; nothing is escaped twice or by hand.

pub mod api;
mod assets;
pub mod form;
mod kept;
pub mod live;
mod pages;
pub mod query;
pub mod session;
pub mod ui;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http::{HeaderName, HeaderValue, Method, header};
use posthaste_server::AppState;
use tower::ServiceExt;

use api::Failure;
use session::Seat;

/// What browsers may load and do on a page of the console.
pub const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; \
                       frame-ancestors 'none'; base-uri 'none'";

/// Parts that an address of the console has at most: above so many, no page is looked for.
const DEEPEST: usize = 8;

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Console {
    /// The application behind the API: for sessions, which are no business of its routes.
    app: AppState,
    native: Router,
    live: live::Places,
    /// For forms of people without a session.
    room: form::Room,
    /// The routes of the pages alone, to be asked what they take.
    routes: Option<Router>,
}

impl Console {
    /// How this server is reached from outside, without a slash at the end.
    pub(crate) fn base_url(&self) -> &str {
        self.app.engine.settings().public_base_url.trim_end_matches('/')
    }

    /// The address itself if a page is there, else the nearest one above that is a page: what takes forms alone is below the page with the form.
    pub(crate) async fn page_at(&self, address: &str) -> String {
        let mut path = address.split(['?', '#']).next().unwrap_or_default();
        if self.is_page(path).await {
            return address.to_owned();
        }
        for _ in 0..DEEPEST {
            let Some((above, _)) = path.rsplit_once('/') else { break };
            path = above;
            if self.is_page(path).await {
                return path.to_owned();
            }
        }
        "/console/".to_owned()
    }

    async fn is_page(&self, path: &str) -> bool {
        let (Some(routes), Some(below)) = (&self.routes, path.strip_prefix("/console").filter(|below| below.starts_with('/'))) else {
            return false;
        };
        // No route takes this method, so no handler runs; the answer says what the route takes.
        let Ok(question) = Request::builder().method("PROBE").uri(below).body(Body::empty()) else { return false };
        let Ok(answer) = routes.clone().oneshot(question).await;
        answer.headers().get(header::ALLOW).and_then(|allow| allow.to_str().ok()).is_some_and(|allow| allow.contains("GET"))
    }
}

/// What a page answers: itself, or a failure of the API, which is shown as a page.
pub type Answer = Result<Response, Failure>;

/// The console's routes, all below `/console`.
pub fn router(app: AppState) -> Router {
    let native = posthaste_server::native(app.clone());
    let mut console = Console { app, native, live: live::Places::default(), room: form::Room::default(), routes: None };
    console.routes = Some(pages::router().with_state(console.clone()));
    let pages = pages::router().fallback(lost).method_not_allowed_fallback(other_method);
    let pages = pages.layer(axum::middleware::from_fn_with_state(console.clone(), guard)).with_state(console);
    Router::new()
        .route("/console/assets/{file}", get(assets::serve))
        .route("/console", get(|| async { Redirect::permanent("/console/") }))
        .nest("/console/", pages)
        .layer(axum::middleware::map_response(harmless))
}

async fn lost(seat: Option<Seat>, session::Look { theme, .. }: session::Look) -> Response {
    pages::problem::lost(seat.as_ref(), theme)
}

async fn other_method(State(console): State<Console>, seat: Option<Seat>, session::Look { theme, query, .. }: session::Look) -> Response {
    let page = console.page_at(&query.with("done", None)).await;
    pages::problem::other_method(seat.as_ref(), theme, &page)
}

/// Around every page: no other site may post, and failures become pages.
async fn guard(State(console): State<Console>, request: Request, next: Next) -> Response {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD);
    let (mut parts, body) = request.into_parts();
    let typed = kept::Typed::default();
    if !is_safe {
        parts.extensions.insert(typed.clone());
    }
    let mut response = match !is_safe && posthaste_server::people::check_same_origin(&parts.headers).is_err() {
        true => pages::problem::of_another_site().into_response(),
        false => next.run(Request::from_parts(parts.clone(), body)).await,
    };
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        let seat = Seat::from_request_parts(&mut parts, &console).await.ok();
        response = pages::problem::failed(seat.as_ref(), &failure, typed.take().as_ref());
    }
    response
}

/// Around everything: the headers that keep strangers' bytes harmless.
async fn harmless(mut response: Response) -> Response {
    let fixed = HeaderValue::from_static;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, fixed(CSP));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert(header::REFERRER_POLICY, fixed("same-origin"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), fixed("same-origin"));
    headers.insert(HeaderName::from_static("permissions-policy"), fixed("camera=(), geolocation=(), microphone=()"));
    headers.entry(header::CACHE_CONTROL).or_insert(fixed("no-store"));
    response
}

/// The failure travels to [`guard`], which knows the person and shows it as a page.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Goes to another page, after a form.
pub fn go(to: &str) -> Response {
    Redirect::to(to).into_response()
}
