//! Suppressions: addresses that nothing more is sent to.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use posthaste_domain::clock::rfc3339;
use posthaste_domain::resource::Scope;
use posthaste_store::{Suppression, SuppressionReason};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::json;
use crate::AppState;
use crate::auth::{Manager, Reader};
use crate::codes::Code;
use crate::input::{Input, PAGE, Param, ParamKind, Params};
use crate::problem::Problem;

const LIST: [Param; 3] = [PAGE[0], PAGE[1], Param::new("scope", ParamKind::Text, "Only of this mail domain, or `sms`.")];
const ONE: [Param; 2] =
    [Param::new("scope", ParamKind::Text, "The mail domain, or `sms`."), Param::new("address", ParamKind::Text, "The address or number.")];
/// What cursors of this list begin with.
const CURSOR: &str = "suppressions 1\n";
/// Characters of a scope or an address at most.
const MAX_TEXT: usize = 320;

/// Why nothing more is sent.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SuppressionReason)]
enum Reason {
    Bounce,
    Unsubscribe,
    Complaint,
}

/// An address to suppress.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SuppressionInput {
    /// The mail domain that sends nothing more to it, or `sms`.
    scope: String,
    /// The address or number.
    address: String,
    /// Why.
    reason: Reason,
}

/// A suppressed address.
#[derive(Serialize, ToSchema)]
#[schema(as = Suppression)]
struct SuppressionView {
    /// The mail domain that sends nothing more to it, or `sms`.
    scope: String,
    /// The address or number, in lower case.
    address: String,
    /// `bounce`, `unsubscribe` or `complaint`.
    reason: &'static str,
    /// Since when.
    #[schema(format = DateTime)]
    since: String,
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("suppressions", "Addresses that nothing more is sent to.");
    api.add(
        Op::get("/suppressions", "listSuppressions", "List, by scope and address")
            .scope(Scope::Read)
            .query(&[&LIST])
            .page_of::<SuppressionView>(),
        list,
    );
    api.add(
        Op::post("/suppressions", "suppress", "Send nothing more to an address")
            .scope(Scope::Manage)
            .body::<SuppressionInput>()
            .empty(StatusCode::NO_CONTENT, "It is in force."),
        suppress,
    );
    api.add(
        Op::delete("/suppressions", "unsuppress", "Send to an address again")
            .scope(Scope::Manage)
            .query(&[&ONE])
            .empty(StatusCode::NO_CONTENT, "It is in force, also if there was no such suppression."),
        unsuppress,
    );
}

async fn list(State(state): State<AppState>, Reader(caller): Reader, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Page {
        items: Vec<SuppressionView>,
        next: Option<String>,
    }
    let params = Params::read(query.as_deref(), &LIST)?;
    let limit = params.limit()?;
    let after = params.text("cursor").map(read_cursor).transpose()?;
    let scope = params.text("scope").map(str::to_owned);
    let mut found = state.engine.suppressions().suppressions(caller.workspace(), scope, after, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(cursor);
    let shown =
        |one: Suppression| SuppressionView { scope: one.scope, address: one.address, reason: one.reason.name(), since: rfc3339(one.at_ms) };
    Ok(json(StatusCode::OK, &Page { items: found.into_iter().map(shown).collect(), next }))
}

fn cursor(last: &Suppression) -> String {
    URL_SAFE_NO_PAD.encode(format!("{CURSOR}{}\n{}", last.scope, last.address))
}

fn read_cursor(text: &str) -> Result<(String, String), Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let read = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = read
        .as_deref()
        .and_then(|text| text.strip_prefix(CURSOR)?.split_once('\n'))
        .map(|(scope, address)| (scope.to_owned(), address.to_owned()));
    pair.ok_or_else(|| Problem::new(Code::InvalidCursor, "the cursor is not one that this server gave out").at("cursor"))
}

fn check(name: &'static str, text: &str) -> Result<(), Problem> {
    let good = !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if good { Ok(()) } else { Err(Problem::invalid(name, format!("expected 1 to {MAX_TEXT} bytes without spaces"))) }
}

async fn suppress(
    State(state): State<AppState>,
    Manager(caller): Manager,
    Input(input): Input<SuppressionInput>,
) -> Result<StatusCode, Problem> {
    check("scope", &input.scope)?;
    check("address", &input.address)?;
    let reason = match input.reason {
        Reason::Bounce => SuppressionReason::Bounce,
        Reason::Unsubscribe => SuppressionReason::Unsubscribe,
        Reason::Complaint => SuppressionReason::Complaint,
    };
    let suppression = Suppression { scope: input.scope, address: input.address, reason, at_ms: state.engine.now_ms() };
    state.engine.suppressions().suppress(caller.workspace(), suppression).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unsuppress(State(state): State<AppState>, Manager(caller): Manager, RawQuery(query): RawQuery) -> Result<StatusCode, Problem> {
    let params = Params::read(query.as_deref(), &ONE)?;
    let needed = |name: &'static str| {
        params.text(name).ok_or_else(|| Problem::new(Code::InvalidParameter, format!("{name}: this parameter is needed")).at(name))
    };
    state.engine.suppressions().unsuppress(caller.workspace(), needed("scope")?, needed("address")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
