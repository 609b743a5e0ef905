//! Keys. Only administrators see and make them; a token is shown once.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::MethodFilter;
use http::{HeaderMap, StatusCode};
use posthaste_domain::resource::{Key, KeyKind, Scope};
use posthaste_engine::{Entry, NewKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::crud::{self, Crud, LIST, Meta, change, list_entries, merged, object, shown, with_etag};
use super::json;
use crate::AppState;
use crate::auth::Admin;
use crate::codes::Code;
use crate::cursor::List;
use crate::input::{Id, Input, Params};
use crate::problem::Problem;

/// Private or public.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = KeyKind)]
enum KindInput {
    Private,
    Public,
}

/// What a key may do.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Scope)]
enum ScopeInput {
    /// Everything, keys and workspaces included.
    Admin,
    /// Publish events.
    Publish,
    /// Read everything but secrets.
    Read,
    /// Change configuration, read signing secrets, resend and replay.
    Manage,
}

/// A key as clients write it.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyInput {
    /// `private` for servers, `public` for browsers. Cannot be changed.
    kind: KindInput,
    /// Free text.
    #[serde(default)]
    description: String,
    /// What it may do: `["admin"]` for a private key unless given; a public key may only `publish`.
    #[serde(default)]
    scopes: Option<Vec<ScopeInput>>,
    /// Of a public key: hosts whose pages may use it; `*.example.com` covers subdomains.
    #[serde(default)]
    allowed_domains: Vec<String>,
    /// Whether requests may prove the key by HMAC instead of sending it (MessageMedia); its token is then kept, encrypted. Cannot be
    /// changed.
    #[serde(default)]
    hmac: bool,
}

/// A key without its token.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct KeyView {
    id: String,
    #[serde(flatten)]
    input: KeyInput,
    /// The last four characters of the token, to tell keys apart.
    token_hint: String,
    #[serde(flatten)]
    meta: Meta,
}

/// A new key, with its token.
#[derive(Serialize, ToSchema)]
struct CreatedKey {
    #[serde(flatten)]
    view: KeyView,
    /// The token. It is shown this once; only a hash of it is stored, unless `hmac` is set.
    token: String,
}

const fn to_scope(scope: ScopeInput) -> Scope {
    match scope {
        ScopeInput::Admin => Scope::Admin,
        ScopeInput::Publish => Scope::Publish,
        ScopeInput::Read => Scope::Read,
        ScopeInput::Manage => Scope::Manage,
    }
}

const fn from_scope(scope: Scope) -> ScopeInput {
    match scope {
        Scope::Admin => ScopeInput::Admin,
        Scope::Publish => ScopeInput::Publish,
        Scope::Read => ScopeInput::Read,
        Scope::Manage => ScopeInput::Manage,
    }
}

const fn to_kind(kind: KindInput) -> KeyKind {
    match kind {
        KindInput::Private => KeyKind::Private,
        KindInput::Public => KeyKind::Public,
    }
}

impl Crud for Key {
    type Input = KeyInput;
    type View = KeyView;
    const NOUN: &'static str = "key";
    const LIST: List = List::Keys;
    const READ_ONLY: &'static [&'static str] = &["token_hint"];

    fn search_text(&self) -> &str {
        &self.description
    }

    fn input(&self) -> KeyInput {
        KeyInput {
            kind: match self.kind {
                KeyKind::Private => KindInput::Private,
                KeyKind::Public => KindInput::Public,
            },
            description: self.description.clone(),
            scopes: Some(self.scopes.iter().copied().map(from_scope).collect()),
            allowed_domains: self.allowed_domains.clone(),
            hmac: self.secret.is_some(),
        }
    }

    /// Only ever a change: keys are made by the engine, which makes the token.
    fn build(state: &AppState, input: KeyInput, old: Option<&Entry<Self>>) -> Result<Self, Problem> {
        let old = old.ok_or_else(|| Problem::new(Code::Internal, "a key is made with its token"))?;
        if to_kind(input.kind) != old.doc.kind {
            return Err(Problem::invalid("kind", "a key stays private or public; make another one"));
        }
        if input.hmac != old.doc.secret.is_some() {
            return Err(Problem::invalid("hmac", "cannot be changed: the token is no longer known; make another key"));
        }
        let scopes = checked_scopes(input.scopes)?.unwrap_or_else(|| old.doc.scopes.clone());
        if !scopes.contains(&Scope::Admin) {
            keep_an_admin(state, old)?;
        }
        Ok(Self { description: input.description, scopes, allowed_domains: input.allowed_domains, ..old.doc.clone() })
    }

    async fn view(_: &AppState, entry: &Entry<Self>) -> KeyView {
        KeyView { id: entry.id.clone(), input: entry.doc.input(), token_hint: entry.doc.token_hint.clone(), meta: Meta::of(entry) }
    }
}

fn checked_scopes(scopes: Option<Vec<ScopeInput>>) -> Result<Option<Vec<Scope>>, Problem> {
    let Some(given) = scopes else { return Ok(None) };
    if given.is_empty() {
        return Err(Problem::invalid("scopes", "at least one of admin, publish, read, manage"));
    }
    let mut scopes: Vec<Scope> = Vec::with_capacity(given.len());
    for scope in given.into_iter().map(to_scope) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    Ok(Some(scopes))
}

/// Refuses to take the workspace's last administrator away: nobody could make keys after that.
fn keep_an_admin(state: &AppState, leaving: &Entry<Key>) -> Result<(), Problem> {
    let is_admin = |entry: &Entry<Key>| entry.doc.scopes.contains(&Scope::Admin);
    if !is_admin(leaving) || state.engine.list::<Key>(leaving.workspace).iter().any(|other| other.id != leaving.id && is_admin(other)) {
        return Ok(());
    }
    Err(Problem::new(Code::WrongState, "this is the last key with the scope admin; make another one first"))
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("keys", "Credentials. They never expire; at most 100 are active in a workspace.");
    api.add(
        Op::post("/keys", "createKey", "Create")
            .scope(Scope::Admin)
            .body::<KeyInput>()
            .answer::<CreatedKey>(StatusCode::CREATED, "The key with its token, this once."),
        create,
    );
    api.add(Op::get("/keys", "listKeys", "List").scope(Scope::Admin).query(&[&LIST]).page_of::<KeyView>(), list);
    api.add(Op::get("/keys/{id}", "readKey", "Read one").scope(Scope::Admin).answer::<KeyView>(StatusCode::OK, "The key."), read);
    api.add(
        Op::new(MethodFilter::PATCH, "/keys/{id}", "changeKey", "Change description, scopes or allowed domains")
            .scope(Scope::Admin)
            .if_match()
            .patch_body::<KeyInput>()
            .answer::<KeyView>(StatusCode::OK, "The new state."),
        patch,
    );
    api.add(
        Op::delete("/keys/{id}", "deleteKey", "Delete")
            .scope(Scope::Admin)
            .empty(StatusCode::NO_CONTENT, "Its token is refused from now on."),
        delete,
    );
}

async fn create(State(state): State<AppState>, Admin(caller): Admin, Input(input): Input<KeyInput>) -> Result<Response, Problem> {
    let scopes = checked_scopes(input.scopes)?;
    let kind = to_kind(input.kind);
    let key = NewKey {
        description: input.description,
        scopes,
        allowed_domains: input.allowed_domains,
        may_sign: input.hmac,
        ..NewKey::new(kind)
    };
    let (entry, token) = state.by(&caller).engine.create_key(caller.workspace(), key).await?;
    let created = CreatedKey { view: Key::view(&state, &entry).await, token };
    Ok(with_etag(json(StatusCode::CREATED, &created), entry.version))
}

async fn list(State(state): State<AppState>, Admin(caller): Admin, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), &LIST)?;
    list_entries(&state, &params, state.engine.list::<Key>(caller.workspace())).await
}

async fn read(State(state): State<AppState>, Admin(caller): Admin, Id(id): Id) -> Result<Response, Problem> {
    Ok(shown(&state, StatusCode::OK, &*crud::find::<Key>(&state, caller.workspace(), &id)?).await)
}

async fn patch(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Id(id): Id,
    headers: HeaderMap,
    Input(body): Input<Value>,
) -> Result<Response, Problem> {
    let old = crud::find::<Key>(&state, caller.workspace(), &id)?;
    let patch = object(body)?;
    change(&state.by(&caller), &headers, old, |doc| merged(doc, patch.clone())).await
}

async fn delete(State(state): State<AppState>, Admin(caller): Admin, Id(id): Id) -> Result<StatusCode, Problem> {
    let entry = crud::find::<Key>(&state, caller.workspace(), &id)?;
    keep_an_admin(&state, &entry)?;
    state.by(&caller).engine.delete::<Key>(caller.workspace(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
