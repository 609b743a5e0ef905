//! Request bins: `/bin/{token}` takes anything and shows it.
//!
//! The path segment is the bin's number in base 36, a hyphen, and its unguessable token: the number finds the bin without a search, the
//! token is compared in constant time. Bins for everybody ([`public_bins`]) have a short segment of their own. What strangers sent is shown as escaped text, never interpreted.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, StatusCode, Uri, header};
use posthaste_domain::clock::rfc3339;
use posthaste_domain::resource::Bin;
use posthaste_domain::signature::constant_time_eq;
use posthaste_engine::Entry;
use posthaste_store::{BinRequest, BinRoom, Order, WhenFull};
use serde::Serialize;
use utoipa::ToSchema;

use crate::AppState;
use crate::auth::peer;
use crate::codes::Code;
use crate::cursor::{self, List};
use crate::input::{PAGE, Param, Params, read_body};
use crate::native::{json_bytes, list_page};
use crate::pages::{document, escape, html};
use crate::problem::Problem;
use crate::public_bins;

/// Requests that one look page shows.
const LOOK: usize = 50;
/// Bytes of a body that the look page shows.
const SHOWN_BODY: usize = 16 << 10;
/// How long a browser may remember what it may send to a bin.
const PREFLIGHT_AGE: &str = "86400";
/// Most headers of a request that are kept.
const MAX_HEADERS: usize = 100;

/// `/bin/{token}` and what is below it.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/bin/{token}", any(catch))
        .route("/bin/{token}/", any(catch))
        .route("/bin/{token}/_", get(look))
        .route("/bin/{token}/_.json", get(look_json))
        .route("/bin/{token}/{*rest}", any(catch))
}

/// Where a bin takes requests; `base` is the server's public URL without a trailing slash.
pub fn bin_url(base: &str, bin: &Entry<Bin>) -> String {
    if public_bins::is_token(&bin.doc.token) {
        return format!("{base}/bin/{}", bin.doc.token);
    }
    format!("{base}/bin/{}-{}", base36(bin.number), bin.doc.token)
}

fn base36(mut number: i64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize]);
        number /= 36;
        if number <= 0 {
            break;
        }
    }
    digits.iter().rev().map(|digit| char::from(*digit)).collect()
}

/// A request that a bin caught.
#[derive(Serialize, ToSchema)]
#[schema(as = BinRequest)]
pub(crate) struct BinRequestView {
    /// Ascending within the bin, from 1.
    number: i64,
    #[schema(format = DateTime)]
    at: String,
    method: String,
    /// Path below the bin and query.
    target: String,
    /// Pairs of name and value, in the order of arrival.
    headers: Vec<(String, String)>,
    /// The body; bytes that are not UTF-8 are replaced.
    body: String,
    /// The exact bytes, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// Address of the sender; `null` for what this server sent itself.
    ip: Option<String>,
}

impl From<BinRequest> for BinRequestView {
    fn from(request: BinRequest) -> Self {
        let text = String::from_utf8_lossy(&request.body);
        let body_base64 = matches!(text, std::borrow::Cow::Owned(_)).then(|| STANDARD.encode(&request.body));
        Self {
            number: request.number,
            at: rfc3339(request.at_ms),
            method: request.method,
            target: request.target,
            headers: request.headers,
            body: text.into_owned(),
            body_base64,
            ip: request.ip,
        }
    }
}

/// The living bin of a path segment.
fn find(state: &AppState, segment: &str) -> Result<Arc<Entry<Bin>>, Problem> {
    let not_found = || Problem::new(Code::NotFound, "there is no such request bin");
    if public_bins::is_token(segment) {
        return public_bins::find(state, segment).ok_or_else(not_found);
    }
    let (number, token) = segment.split_once('-').ok_or_else(not_found)?;
    let number = i64::from_str_radix(number, 36).map_err(|_| not_found())?;
    let entry = state.engine.by_number::<Bin>(number).ok_or_else(not_found)?;
    if !constant_time_eq(entry.doc.token.as_bytes(), token.as_bytes()) {
        return Err(not_found());
    }
    if entry.doc.expires_ms <= state.engine.now_ms() {
        return Err(Problem::new(Code::BinExpired, format!("this request bin expired at {}", rfc3339(entry.doc.expires_ms))));
    }
    Ok(entry)
}

/// The path segment that names the bin. Taken from the path as sent: what is below may be anything, UTF-8 or not.
fn segment(uri: &Uri) -> &str {
    uri.path().split('/').nth(2).unwrap_or_default()
}

/// Takes any request, keeps it, and answers with the bin's status.
async fn catch(State(state): State<AppState>, request: Request) -> Response {
    let is_preflight = request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let token = segment(request.uri()).to_owned();
    let answer = match () {
        () if is_preflight => preflight(&state, &request),
        () if public_bins::is_token(&token) => Ok(public_bins::serve(&state, &token, request).await),
        () => keep(&state, request).await,
    };
    let mut response = match answer {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    // Pages of any origin may try a bin out.
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// A browser's question before it sends: every method and header may come. The question itself is not kept.
fn preflight(state: &AppState, request: &Request) -> Result<Response, Problem> {
    find(state, segment(request.uri()))?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    for (asked, allowed) in [
        (header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_ALLOW_METHODS),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, header::ACCESS_CONTROL_ALLOW_HEADERS),
    ] {
        if let Some(value) = request.headers().get(asked) {
            headers.insert(allowed, value.clone());
        }
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_AGE));
    Ok(response)
}

async fn keep(state: &AppState, request: Request) -> Result<Response, Problem> {
    let bin = find(state, segment(request.uri()))?;
    let is_head = request.method() == Method::HEAD;
    let settings = &state.settings;
    let room = BinRoom { requests: settings.bin_keep, bytes: settings.bin_keep_bytes, when_full: WhenFull::DropOldest };
    let number = keep_request(state, &bin, request, settings.max_bin_body_bytes, room).await?;
    let status = StatusCode::from_u16(bin.doc.status).unwrap_or(StatusCode::OK);
    if is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok((status, Body::empty()).into_response());
    }
    let number = number.unwrap_or_default();
    Ok(json_bytes(status, format!("{{\"ok\":{},\"number\":{number}}}", status.is_success()).into_bytes()))
}

/// Stores a request in a bin; answers its number, or `None` if the bin refuses.
pub(crate) async fn keep_request(
    state: &AppState,
    bin: &Entry<Bin>,
    request: Request,
    max_body: usize,
    room: BinRoom,
) -> Result<Option<i64>, Problem> {
    let _permit = state
        .bin_permits
        .try_acquire()
        .map_err(|_| Problem::new(Code::TooManyRequests, "request bins are storing as many requests as they may").retry_after(1))?;
    let (parts, body) = request.into_parts();
    let body = read_body(&parts.headers, body, max_body, state.settings.body_time).await?;
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let below = parts.uri.path().splitn(4, '/').nth(3).unwrap_or_default();
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let caught = BinRequest {
        number: 0,
        at_ms: state.engine.now_ms(),
        method: parts.method.to_string(),
        target: format!("/{below}{query}"),
        headers: parts.headers.iter().take(MAX_HEADERS).map(|(name, value)| (name.to_string(), text(value))).collect(),
        body,
        ip: peer(&parts).map(|ip| ip.to_string()),
    };
    Ok(state.engine.bins().put(bin.number, caught, room).await?)
}

/// Parameters of the list of what a bin caught.
pub(crate) const REQUESTS: [Param; 2] = [PAGE[0], PAGE[1]];

/// A page of what a bin caught, newest first, and where the next page begins.
pub(crate) async fn caught(
    state: &AppState,
    bin: &Entry<Bin>,
    before: Option<i64>,
    limit: usize,
) -> Result<(Vec<BinRequest>, Option<i64>), Problem> {
    let mut requests = state.engine.bins().list(bin.number, before, limit + 1).await?;
    let more = requests.len() > limit;
    requests.truncate(limit);
    let next = requests.last().map(|request| request.number).filter(|_| more);
    Ok((requests, next))
}

/// [`caught`] as the API lists it.
pub(crate) async fn caught_list(state: &AppState, bin: &Entry<Bin>, params: &Params) -> Result<Response, Problem> {
    let (before, limit) = (params.cursor(List::BinRequests, Order::Desc)?, params.limit()?);
    let (requests, next) = caught(state, bin, before, limit).await?;
    let views: Vec<BinRequestView> = requests.into_iter().map(BinRequestView::from).collect();
    Ok(list_page(List::BinRequests, Order::Desc, &views, next))
}

async fn look_json(State(state): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    let bin = find(&state, segment(&uri))?;
    let params = Params::read(uri.query(), &REQUESTS)?;
    caught_list(&state, &bin, &params).await
}

async fn look(State(state): State<AppState>, uri: Uri) -> Response {
    let shown = async {
        let bin = find(&state, segment(&uri))?;
        let params = Params::read(uri.query(), &REQUESTS[..1])?;
        look_page(&state, &bin, "_.json", params.cursor(List::BinRequests, Order::Desc)?).await
    };
    match shown.await {
        Ok(page) => html(page),
        Err(problem) => {
            let body = format!("<h1>{}</h1><p>{}</p>", escape(problem.code().title()), escape(problem.detail()));
            (problem.code().status(), html(document(problem.code().title(), &body))).into_response()
        }
    }
}

/// The look page of a bin; `json_href` leads to the same as JSON.
pub(crate) async fn look_page(state: &AppState, bin: &Entry<Bin>, json_href: &str, before: Option<i64>) -> Result<String, Problem> {
    let (requests, next) = caught(state, bin, before, LOOK).await?;
    let older = next.map(|before| cursor::encode(List::BinRequests, Order::Desc, before));
    Ok(page(&bin.doc, &bin_url(&state.engine.settings().public_base_url, bin), json_href, requests, older.as_deref()))
}

fn page(bin: &Bin, url: &str, json_href: &str, requests: Vec<BinRequest>, older: Option<&str>) -> String {
    let title = if bin.name.is_empty() { "Request bin" } else { bin.name.as_str() };
    let mut body = format!(
        "<h1>{}</h1><p>Send anything to <code>{}</code>. It is kept until {}. Reload this page to see more; \
         the same as <a href=\"{}\">JSON</a>.</p>",
        escape(title),
        escape(url),
        rfc3339(bin.expires_ms),
        escape(json_href)
    );
    if requests.is_empty() {
        body.push_str("<p class=\"dim\">Nothing has arrived yet.</p>");
    }
    for request in requests {
        let headers: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        body.push_str(&format!(
            "<article><h2>#{} {} {}</h2><small>{}{}</small><pre>{}</pre>",
            request.number,
            escape(&request.method),
            escape(&request.target),
            rfc3339(request.at_ms),
            request.ip.as_deref().map(|ip| format!(" from {}", escape(ip))).unwrap_or_default(),
            escape(&headers)
        ));
        let (shown, hidden) = request.body.split_at(request.body.len().min(SHOWN_BODY));
        if !shown.is_empty() {
            body.push_str(&format!("<pre>{}</pre>", escape(&String::from_utf8_lossy(shown))));
        }
        if !hidden.is_empty() {
            body.push_str(&format!("<p class=\"dim\">… and {} bytes more, which the JSON has.</p>", hidden.len()));
        }
        body.push_str("</article>");
    }
    if let Some(cursor) = older {
        body.push_str(&format!("<p><a href=\"?cursor={}\">Older requests</a></p>", escape(cursor)));
    }
    document(title, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_send_is_shown_as_text() {
        let bin = Bin { name: "<b>".into(), token: "t".into(), expires_ms: 0, status: 200 };
        let request = BinRequest {
            number: 1,
            at_ms: 0,
            method: "POST".into(),
            target: "/?<script>1</script>".into(),
            headers: vec![("x\"".into(), "<script>2</script>".into())],
            body: bytes::Bytes::from_static(b"</pre><script>3</script>\xff"),
            ip: None,
        };
        let page = page(&bin, "http://h/bin/1-t", "_.json", vec![request], None);
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;/pre&gt;&lt;script&gt;3"));
        assert!(!page.contains("Older requests"));
    }

    #[test]
    fn large_bodies_are_shown_in_part() {
        let bin = Bin { name: String::new(), token: "t".into(), expires_ms: 0, status: 200 };
        let request = BinRequest {
            number: 1,
            at_ms: 0,
            method: "POST".into(),
            target: "/".into(),
            headers: vec![],
            body: "é".repeat(SHOWN_BODY).into(),
            ip: None,
        };
        let page = page(&bin, "http://h/bin/1-t", "_.json", vec![request], Some("abc"));
        assert!(page.len() < SHOWN_BODY + 4000, "{} bytes", page.len());
        assert!(page.contains(&format!("and {SHOWN_BODY} bytes more")) && page.contains("<a href=\"?cursor=abc\">"), "{page}");
    }

    #[test]
    fn numbers_round_trip_in_base_36() {
        for number in [0, 1, 35, 36, 1 << 42] {
            assert_eq!(i64::from_str_radix(&base36(number), 36), Ok(number));
        }
    }
}
