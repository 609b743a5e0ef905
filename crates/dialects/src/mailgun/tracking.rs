//! What a domain watches: `/v3/domains/{domain}/tracking` (section 11.4 of the documents).

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, put};
use http::StatusCode;
use posthaste_domain::resource::{Domain, Scope};
use posthaste_engine::{Desk, Edit, ResourceError};
use serde_json::{Map, Value, json};

use super::MailgunState;
use super::access::refuse_change;
use super::answer::{self, Refusal, Service};
use super::params::truth;

/// Where the footers stand in [`Domain::extra`].
const FOOTERS: &str = "unsubscribe_footers";
const HTML_FOOTER: &str = "\n<br>\n<p><a href=\"%unsubscribe_url%\">unsubscribe</a></p>\n";
const TEXT_FOOTER: &str = "\n\nTo unsubscribe click: <%unsubscribe_url%>\n\n";
/// Bytes of a footer at most.
const MAX_FOOTER: usize = 16 * 1024;

/// What is added to mails that offer no other way to unsubscribe.
pub(super) struct Footers {
    pub(super) html: String,
    pub(super) text: String,
}

impl Footers {
    /// Those of a domain.
    pub(super) fn of(domain: &Domain) -> Self {
        let footer = |name: &str, usual: &str| {
            domain.extra.get(FOOTERS).and_then(|footers| footers.get(name)).and_then(Value::as_str).unwrap_or(usual).to_owned()
        };
        Self { html: footer("html_footer", HTML_FOOTER), text: footer("text_footer", TEXT_FOOTER) }
    }
}

/// Reading and changing.
pub(super) fn router() -> Router<MailgunState> {
    Router::new().route("/v3/domains/{domain}/tracking", get(show)).route("/v3/domains/{domain}/tracking/{name}", put(change))
}

fn settings(domain: &Domain) -> Value {
    let footers = Footers::of(domain);
    json!({
        "open": { "active": domain.track.opens, "place_at_the_top": false },
        "click": { "active": if domain.track.html_clicks_only { json!("htmlonly") } else { json!(domain.track.clicks) } },
        "unsubscribe": { "active": domain.track.unsubscribe, "html_footer": footers.html, "text_footer": footers.text },
    })
}

async fn show(State(state): State<MailgunState>, Path(name): Path<String>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Messages, Scope::Read).await?;
    let domain = state.shared.engine.find_domain(call.workspace, &name.to_ascii_lowercase()).ok_or_else(Refusal::no_domain)?;
    Ok(answer::ok(&json!({ "tracking": settings(&domain.doc) })))
}

/// One change of a domain.
enum Change {
    Opens(bool),
    Clicks { on: bool, html_only: bool },
    Unsubscribe { on: Option<bool>, html: Option<String>, text: Option<String> },
}

impl Change {
    fn apply(self, domain: &mut Domain) {
        match self {
            Self::Opens(on) => domain.track.opens = on,
            Self::Clicks { on, html_only } => (domain.track.clicks, domain.track.html_clicks_only) = (on, html_only),
            Self::Unsubscribe { on, html, text } => {
                domain.track.unsubscribe = on.unwrap_or(domain.track.unsubscribe);
                let kept = domain.extra.get(FOOTERS).and_then(Value::as_object).cloned();
                let mut footers: Map<String, Value> = kept.unwrap_or_default();
                for (name, footer) in [("html_footer", html), ("text_footer", text)] {
                    if let Some(footer) = footer {
                        footers.insert(name.to_owned(), Value::String(footer));
                    }
                }
                if !footers.is_empty() {
                    domain.extra.insert(FOOTERS.to_owned(), Value::Object(footers));
                }
            }
        }
    }
}

async fn change(
    State(state): State<MailgunState>,
    Path((name, which)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Messages, Scope::Manage).await?;
    let name = state.shared.domain(call.workspace, &name)?;
    let active = call.form.first("active").or_else(|| call.query.first("active"));
    let missing = || Refusal::bad("Missing parameter 'active'");
    let on = |text: &str| truth(text).ok_or_else(|| Refusal::bad("active parameter must be yes, no, true or false"));
    let change = match which.as_str() {
        "open" => Change::Opens(on(active.ok_or_else(missing)?)?),
        "click" => match active.ok_or_else(missing)?.trim() {
            text if text.eq_ignore_ascii_case("htmlonly") => Change::Clicks { on: true, html_only: true },
            text => Change::Clicks { on: on(text)?, html_only: false },
        },
        "unsubscribe" => {
            let footer = |name: &str| call.form.first(name).map(str::to_owned);
            let (html, text) = (footer("html_footer"), footer("text_footer"));
            if [&html, &text].into_iter().flatten().any(|footer| footer.len() > MAX_FOOTER) {
                return Err(Refusal::bad("a footer has at most 16 KB"));
            }
            Change::Unsubscribe { on: active.map(on).transpose()?, html, text }
        }
        _ => return Err(Refusal::message(StatusCode::NOT_FOUND, "Not Found")),
    };
    let wanted = name.clone();
    let plan = move |desk: &Desk<'_>| {
        let entry = desk.named::<Domain>(&wanted).ok_or(ResourceError::NotFound)?;
        let mut domain = entry.doc.clone();
        change.apply(&mut domain);
        Ok(vec![Edit::domain(entry.id.clone(), domain)])
    };
    call.by.edit(call.workspace, plan).await.map_err(refuse_change)?;
    let domain = state.shared.engine.find_domain(call.workspace, &name).ok_or_else(Refusal::no_domain)?;
    let changed = settings(&domain.doc);
    Ok(answer::ok(&json!({ "message": "Domain tracking settings have been updated", which.as_str(): changed[which.as_str()] })))
}
