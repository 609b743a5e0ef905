//! Bins for everybody, as Mailgun's `bin.mailgun.net` gave them away (`docs/dialects/mailgun.md`): no key, a short address, few requests.
//!
//! They are request bins as any other and belong to the oldest workspace, where the native API shows them; their short token is what
//! tells them apart. Invariants: what strangers can make the server hold is bounded: so many bins, so many requests of so many bytes
//! in each; a full bin refuses, it forgets nothing.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use http::{HeaderValue, Method, StatusCode, header};
use posthaste_domain::policy::Rate;
use posthaste_domain::resource::Bin;
use posthaste_domain::signature::hex;
use posthaste_engine::{Entry, ResourceError};
use serde_json::json;

use crate::AppState;
use crate::bins::{BinRequestView, bin_url, caught, keep_request, look_page};
use crate::native::json_bytes;
use crate::pages::html;
use crate::problem::Problem;

/// Characters of a token. Bins made by the native API have longer ones.
const TOKEN: usize = 8;

/// Limits of the bins for everybody; the documented ones by default.
#[derive(Clone, Debug)]
pub struct PublicBins {
    /// Whether there are any.
    pub enabled: bool,
    /// How long a bin lives.
    pub life: Duration,
    /// Requests that a bin takes.
    pub requests: usize,
    /// Largest body that it takes, in bytes.
    pub body_bytes: usize,
    /// Bins that there may be at once.
    pub most: usize,
    /// Bins that may be made in a minute, by all strangers together.
    pub made_per_minute: u32,
}

impl Default for PublicBins {
    fn default() -> Self {
        Self { enabled: true, life: Duration::from_secs(5 * 86_400), requests: 20, body_bytes: 512 << 10, most: 100, made_per_minute: 60 }
    }
}

impl PublicBins {
    pub(crate) fn rate(&self) -> Rate {
        Rate { limit: self.made_per_minute, per: Duration::from_secs(60) }
    }
}

/// `/bin/`, which makes a bin, and its small API.
pub(crate) fn router(settings: &PublicBins) -> Router<AppState> {
    if !settings.enabled {
        return Router::new();
    }
    Router::new()
        .route("/bin", get(create_and_look))
        .route("/bin/", get(create_and_look))
        .route("/bin/api/new", get(create_by_api))
        .route("/bin/api/{token}", get(arrivals))
        .route("/bin/api/{token}/delete", delete(remove))
}

/// Whether a text can be the token of such a bin.
pub(crate) fn is_token(text: &str) -> bool {
    text.len() == TOKEN && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The living bin with this token.
pub(crate) fn find(state: &AppState, token: &str) -> Option<Arc<Entry<Bin>>> {
    let workspace = state.engine.workspaces().into_iter().min()?;
    let now_ms = state.engine.now_ms();
    is_token(token)
        .then(|| state.engine.list::<Bin>(workspace))
        .and_then(|bins| bins.into_iter().find(|bin| bin.doc.token == token && bin.doc.expires_ms > now_ms))
}

fn message(status: StatusCode, text: &str) -> Response {
    let mut response = json_bytes(status, json!({ "message": text }).to_string().into_bytes());
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn gone() -> Response {
    message(StatusCode::NOT_FOUND, "Sorry, Bin has expired or deleted. Create a new one.")
}

async fn create(state: &AppState) -> Result<Arc<Entry<Bin>>, Response> {
    let too_many = || message(StatusCode::TOO_MANY_REQUESTS, "Too many bins. Try again later!");
    let settings = &state.settings.public_bins;
    let now_ms = state.engine.now_ms();
    // The limiter stays usable whatever panicked while holding it.
    state.bins_made.lock().unwrap_or_else(PoisonError::into_inner).take(now_ms).map_err(|_| too_many())?;
    let workspace = state.engine.workspaces().into_iter().min().ok_or_else(gone)?;
    let public = state.engine.list::<Bin>(workspace).into_iter().filter(|bin| is_token(&bin.doc.token) && bin.doc.expires_ms > now_ms);
    if public.count() >= settings.most {
        return Err(too_many());
    }
    let random: [u8; TOKEN / 2] = rand::random();
    let life_ms = i64::try_from(settings.life.as_millis()).unwrap_or(i64::MAX);
    let doc = Bin { name: "Mailgun".to_owned(), token: hex(&random), expires_ms: now_ms.saturating_add(life_ms), status: 200 };
    state.engine.create(workspace, doc).await.map_err(|error| match error {
        ResourceError::Limit { .. } => too_many(),
        error => Problem::from(error).into_response(),
    })
}

async fn create_and_look(State(state): State<AppState>) -> Response {
    match create(&state).await {
        Ok(bin) => (StatusCode::FOUND, [(header::LOCATION, format!("/bin/{}", bin.doc.token))]).into_response(),
        Err(refusal) => refusal,
    }
}

async fn create_by_api(State(state): State<AppState>) -> Response {
    match create(&state).await {
        Ok(bin) => {
            let url = bin_url(&state.engine.settings().public_base_url, &bin);
            json_bytes(StatusCode::OK, json!({ "url": url }).to_string().into_bytes())
        }
        Err(refusal) => refusal,
    }
}

/// Takes a request for a bin, or shows the bin to whoever asks for it by `GET`.
pub(crate) async fn serve(state: &AppState, token: &str, request: Request) -> Response {
    let Some(bin) = find(state, token) else { return gone() };
    let is_bare = request.uri().path().trim_end_matches('/').ends_with(token);
    if is_bare && matches!(*request.method(), Method::GET | Method::HEAD) {
        let href = format!("/bin/api/{token}");
        return look_page(state, &bin, &href, None).await.map_or_else(IntoResponse::into_response, html);
    }
    let settings = &state.settings.public_bins;
    let room = posthaste_store::BinRoom { requests: settings.requests, bytes: u64::MAX, when_full: posthaste_store::WhenFull::Refuse };
    match keep_request(state, &bin, request, settings.body_bytes, room).await {
        Ok(Some(_)) => message(StatusCode::from_u16(bin.doc.status).unwrap_or(StatusCode::OK), "Post received. Thanks!"),
        Ok(None) => message(StatusCode::TOO_MANY_REQUESTS, "Too many posts. Create a new bin!"),
        Err(problem) if problem.code().status() == StatusCode::PAYLOAD_TOO_LARGE => {
            message(StatusCode::PAYLOAD_TOO_LARGE, "Post too large. Try again!")
        }
        Err(problem) => problem.into_response(),
    }
}

/// What arrived, newest first.
async fn arrivals(State(state): State<AppState>, Path(token): Path<String>) -> Result<Response, Problem> {
    let Some(bin) = find(&state, &token) else { return Ok(gone()) };
    let (requests, _) = caught(&state, &bin, None, state.settings.public_bins.requests).await?;
    let views: Vec<BinRequestView> = requests.into_iter().map(BinRequestView::from).collect();
    let body = serde_json::to_vec(&views).expect("texts and numbers can be written");
    Ok(json_bytes(StatusCode::OK, body))
}

async fn remove(State(state): State<AppState>, Path(token): Path<String>) -> Result<Response, Problem> {
    let Some(bin) = find(&state, &token) else { return Ok(gone()) };
    state.engine.delete::<Bin>(bin.workspace, &bin.id).await?;
    Ok(message(StatusCode::OK, "Bin has been deleted."))
}
