//! The Events API: `GET /v3/{domain}/events` (section 10 of the documents).

mod fields;
mod page;
mod query;
mod token;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::get;
use http::request::Parts;
use http::{StatusCode, header};
use posthaste_domain::resource::Scope;
use serde_json::json;

use super::MailgunState;
use super::access::Call;
use super::answer::{self, Refusal, Service};
use page::Source;
use query::Query;
use token::{Place, Walk};

/// Pages that are read at once; a filter that few events fulfil may have to look at all of them.
pub(super) const READERS: usize = 4;

/// The routes of the Events API.
pub(super) fn router() -> Router<MailgunState> {
    Router::new().route("/v3/{domain}/events", get(first)).route("/v3/{domain}/events/{token}", get(at_token))
}

async fn first(State(state): State<MailgunState>, Path(domain): Path<String>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Messages, Scope::Read).await?;
    let token = call.query.first("page").map(str::to_owned);
    serve(&state, &call, &domain, token.as_deref()).await
}

async fn at_token(
    State(state): State<MailgunState>,
    Path((domain, token)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Messages, Scope::Read).await?;
    serve(&state, &call, &domain, Some(&token)).await
}

async fn serve(state: &MailgunState, call: &Call, domain: &str, token: Option<&str>) -> Result<Response, Refusal> {
    let (shared, engine) = (&state.shared, &state.shared.engine);
    let domain = shared.domain(call.workspace, domain)?;
    let now_ms = engine.now_ms();
    let (walk, place) = match token {
        Some(token) => Walk::read(token).ok_or_else(|| Refusal::bad("the page token is not valid"))?,
        None => {
            let query = Query::read(&call.query, now_ms.saturating_mul(1000)).map_err(|error| Refusal::bad(error.to_string()))?;
            // A descending walk begins at what is there now.
            let ceiling = (!query.ascending).then(|| *engine.committed().borrow());
            (Walk { query, ceiling }, Place::First)
        }
    };
    let kept_ms = now_ms.saturating_sub(engine.settings().retention.max_age_ms).max(0);
    let source = Source {
        engine,
        workspace: call.workspace,
        domain: &domain,
        late: shared.settings.events_late,
        kept_from_us: kept_ms.saturating_mul(1000),
    };
    // Never closed, so there is always a permit in the end.
    let _permit = shared.readers.acquire().await.map_err(|_| Refusal::internal())?;
    let page = source.page(&walk, place).await.map_err(|error| {
        tracing::error!(%error, "events could not be read");
        Refusal::internal()
    })?;
    let base = base_url(&call.parts, &engine.settings().public_base_url);
    let link = |place| {
        let token = walk.token(place);
        format!("{base}/v3/{domain}/events/{token}?page={token}")
    };
    let paging = json!({
        "next": link(page.next), "previous": link(page.previous), "first": link(Place::First), "last": link(Place::Last)
    });
    let mut body = String::with_capacity(page.items.iter().map(String::len).sum::<usize>() + 2048);
    body.push_str(r#"{"items":["#);
    for (number, item) in page.items.iter().enumerate() {
        if number > 0 {
            body.push(',');
        }
        body.push_str(item);
    }
    body.push_str(r#"],"paging":"#);
    body.push_str(&paging.to_string());
    body.push('}');
    Ok(answer::json_text(StatusCode::OK, body.into_bytes()))
}

/// Where the client reached this server. A wrong `X-Forwarded-Proto` spoils nobody's links but the sender's own.
fn base_url(parts: &Parts, public: &str) -> String {
    let text = |name: header::HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let Some(host) = parts.uri.authority().map(|authority| authority.as_str()).or_else(|| text(header::HOST)) else {
        return public.to_owned();
    };
    let forwarded = parts.headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let scheme = match forwarded {
        Some(scheme) if ["http", "https"].contains(&scheme) => scheme,
        // Behind a proxy that speaks TLS for the public name.
        _ if public.strip_prefix("https://") == Some(host) => "https",
        _ => "http",
    };
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn links_lead_to_where_the_client_called() {
        let base = |headers: &[(&str, &str)], public: &str| {
            let mut request = Request::builder().uri("/v3/d/events");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            base_url(&request.body(()).expect("a request").into_parts().0, public)
        };
        assert_eq!(base(&[("host", "127.0.0.1:8080")], "https://mail.test"), "http://127.0.0.1:8080");
        assert_eq!(base(&[("host", "mail.test")], "https://mail.test"), "https://mail.test");
        assert_eq!(base(&[("host", "a.test"), ("x-forwarded-proto", "https")], "http://mail.test"), "https://a.test");
        assert_eq!(base(&[("host", "a.test"), ("x-forwarded-proto", "gopher")], ""), "http://a.test");
        assert_eq!(base(&[], "http://mail.test"), "http://mail.test");
    }
}
