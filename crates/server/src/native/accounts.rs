//! Accounts: what a workspace chose in one dialect. Each dialect checks its own settings.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::routing::MethodFilter;
use http::{HeaderMap, StatusCode};
use posthaste_dialects::accounts::AccountRules;
use posthaste_domain::resource::{Account, Scope};
use posthaste_engine::{Edit, Entry, ResourceError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::crud::{MASK, expected_version, with_etag};
use super::json;
use crate::AppState;
use crate::auth::{Caller, Manager, Reader};
use crate::input::{Id, Input};
use crate::problem::Problem;

/// How often settings are put together anew when others change them at the same moment.
const TRIES: u32 = 100;

/// A workspace's settings in a dialect, as clients write them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AccountInput {
    /// What the dialect has to choose; what is left out goes back to the server's default. The page of the dialect lists the fields.
    #[schema(value_type = Object, example = json!({"sender_id": "MyApp", "tier": "professional"}))]
    settings: Map<String, Value>,
    /// The version that was read, to be refused (412) when it is no longer the present one.
    #[serde(default)]
    version: Option<i64>,
}

/// A workspace's settings in a dialect.
#[derive(Serialize, ToSchema)]
#[schema(as = Account)]
struct AccountView {
    /// Name of the dialect.
    dialect: &'static str,
    /// Its settings, defaults in place. Secrets are shown to keys with the scope `manage` and masked for others.
    #[schema(value_type = Object)]
    settings: Value,
    /// 0 while nothing was chosen, one more at each change. Also the `ETag`.
    version: i64,
}

/// The dialects that keep settings.
#[derive(Serialize, ToSchema)]
struct AccountList {
    /// Names for `/accounts/{dialect}`; those that the server does not speak are left out.
    items: Vec<AccountName>,
}

/// A dialect that keeps settings.
#[derive(Serialize, ToSchema)]
struct AccountName {
    dialect: &'static str,
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("accounts", "What the workspace chose in each dialect: secrets, defaults, limits.");
    api.add(
        Op::get("/accounts", "listAccounts", "List the dialects that keep settings")
            .scope(Scope::Read)
            .answer::<AccountList>(StatusCode::OK, "Their names."),
        list,
    );
    api.add(
        Op::get("/accounts/{dialect}", "readAccount", "Read the settings in a dialect")
            .about("The first reading with the scope `manage` makes the secrets that the dialect needs.")
            .scope(Scope::Read)
            .answer::<AccountView>(StatusCode::OK, "The settings."),
        read,
    );
    api.add(
        Op::new(MethodFilter::PUT, "/accounts/{dialect}", "replaceAccount", "Choose the settings in a dialect")
            .about("Secrets that are left out or masked stay as they are; `null` makes a new one. It is in force at once.")
            .scope(Scope::Manage)
            .if_match()
            .body::<AccountInput>()
            .answer::<AccountView>(StatusCode::OK, "The new settings."),
        replace,
    );
}

fn rules(state: &AppState, dialect: &str) -> Result<Arc<dyn AccountRules>, Problem> {
    state.accounts.get(dialect).cloned().ok_or_else(|| Problem::not_found("account for the dialect", dialect))
}

fn view(caller: &Caller, rules: &dyn AccountRules, entry: Option<&Entry<Account>>) -> Response {
    let mut settings = rules.show(entry.map_or(&Value::Null, |entry| &entry.doc.settings));
    if !caller.has(Scope::Manage) {
        for pointer in rules.secrets() {
            if let Some(secret) = settings.pointer_mut(pointer).filter(|secret| !secret.is_null()) {
                *secret = Value::from(MASK);
            }
        }
    }
    let version = entry.map_or(0, |entry| entry.version);
    with_etag(json(StatusCode::OK, &AccountView { dialect: rules.dialect(), settings, version }), version)
}

/// Puts the stored secrets back where a client sent the mask.
fn unmask(settings: Map<String, Value>, rules: &dyn AccountRules, stored: Option<&Value>) -> Map<String, Value> {
    let mut settings = Value::Object(settings);
    for pointer in rules.secrets() {
        if let (Some(sent), Some(kept)) = (settings.pointer_mut(pointer), stored.and_then(|stored| stored.pointer(pointer)))
            && sent.as_str() == Some(MASK)
        {
            *sent = kept.clone();
        }
    }
    match settings {
        Value::Object(settings) => settings,
        _ => unreachable!("only values inside the object were replaced"),
    }
}

/// Stores settings; without any, what is there is enough. Whatever else is changed meanwhile stays, unless the client names a version.
async fn store(
    state: &AppState,
    workspace: i64,
    rules: &dyn AccountRules,
    version: Option<i64>,
    settings: Option<Map<String, Value>>,
) -> Result<Arc<Entry<Account>>, Problem> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let (dialect, now) = (rules.dialect(), state.engine.account(workspace, rules.dialect()));
        let (settings, now) = match (&settings, now) {
            (None, Some(entry)) => return Ok(entry),
            (settings, now) => (settings.clone().unwrap_or_default(), now),
        };
        let stored = now.as_ref().map(|entry| &entry.doc.settings);
        let settings = rules.write(unmask(settings, rules, stored), stored, rand::random())?;
        // Only secrets that are there can be sealed.
        let secret_settings =
            rules.secrets().iter().filter(|pointer| settings.pointer(pointer).is_some()).map(|p| (*p).to_owned()).collect();
        let doc = Account { dialect: dialect.to_owned(), settings, secret_settings };
        let stored = match now {
            Some(entry) => state.engine.update(workspace, &entry.id, version.or(Some(entry.version)), doc).await,
            None if version.is_some_and(|version| version != 0) => {
                Err(ResourceError::Conflict { expected: version.unwrap_or_default(), found: 0 })
            }
            None => {
                let made = state.engine.edit(workspace, |desk| Ok(vec![Edit::account(desk.new_id::<Account>(), doc)])).await;
                made.and_then(|()| state.engine.account(workspace, dialect).ok_or(ResourceError::NotFound))
            }
        };
        match stored {
            Err(ResourceError::Conflict { .. } | ResourceError::Duplicate { .. }) if version.is_none() && tries > 0 => {}
            other => return Ok(other?),
        }
    }
}

/// Makes the account of a dialect that has rules for one, if the workspace has none: its secrets are there before they are needed.
pub(super) async fn ensure(state: &AppState, workspace: i64, dialect: &str) -> Result<(), Problem> {
    let Some(rules) = state.accounts.get(dialect) else { return Ok(()) };
    store(state, workspace, rules.as_ref(), None, None).await.map(drop)
}

async fn list(State(state): State<AppState>, Reader(_): Reader) -> Response {
    let items = state.accounts.names().map(|dialect| AccountName { dialect }).collect();
    json(StatusCode::OK, &AccountList { items })
}

async fn read(State(state): State<AppState>, Reader(caller): Reader, Id(dialect): Id) -> Result<Response, Problem> {
    let rules = rules(&state, &dialect)?;
    let mut entry = state.engine.account(caller.workspace(), rules.dialect());
    if entry.is_none() && caller.has(Scope::Manage) && !rules.secrets().is_empty() {
        entry = Some(store(&state.by(&caller), caller.workspace(), rules.as_ref(), None, None).await?);
    }
    Ok(view(&caller, rules.as_ref(), entry.as_deref()))
}

async fn replace(
    State(state): State<AppState>,
    Manager(caller): Manager,
    Id(dialect): Id,
    headers: HeaderMap,
    Input(input): Input<AccountInput>,
) -> Result<Response, Problem> {
    let rules = rules(&state, &dialect)?;
    let version = expected_version(&headers, input.version.map(Value::from))?;
    let entry = store(&state.by(&caller), caller.workspace(), rules.as_ref(), version, Some(input.settings)).await?;
    Ok(view(&caller, rules.as_ref(), Some(&entry)))
}
