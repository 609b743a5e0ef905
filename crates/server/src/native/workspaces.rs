//! Workspaces.
//!
//! The oldest workspace is the operator's: its administrators see all workspaces and make new ones. Everybody else sees their own.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::MethodFilter;
use http::{HeaderMap, StatusCode};
use posthaste_domain::people::{Actor, Member, Role};
use posthaste_domain::resource::{KeyKind, Scope, Workspace};
use posthaste_engine::{Entry, NewKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::crud::{Crud, LIST, Meta, change, list_entries, merged, object, shown, with_etag};
use super::json;
use crate::AppState;
use crate::auth::{Admin, Caller};
use crate::codes::Code;
use crate::cursor::List;
use crate::input::{Id, Input, Params};
use crate::problem::Problem;

/// A workspace as clients write it.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkspaceInput {
    /// Display name.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    /// Id of the workspace whose keys may act for this one, where a dialect knows sub-accounts (MessageMedia).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
}

/// A workspace.
#[derive(Serialize, ToSchema)]
#[schema(as = Workspace)]
pub(crate) struct WorkspaceView {
    id: String,
    #[serde(flatten)]
    input: WorkspaceInput,
    #[serde(flatten)]
    meta: Meta,
}

/// A new workspace, with the token of its first administrator.
#[derive(Serialize, ToSchema)]
struct CreatedWorkspace {
    #[serde(flatten)]
    view: WorkspaceView,
    /// Private key of the new workspace with the scope `admin`. It is shown this once.
    token: String,
}

impl Crud for Workspace {
    type Input = WorkspaceInput;
    type View = WorkspaceView;
    const NOUN: &'static str = "workspace";
    const LIST: List = List::Workspaces;

    fn search_text(&self) -> &str {
        &self.name
    }

    fn input(&self) -> WorkspaceInput {
        WorkspaceInput { name: self.name.clone(), parent: self.parent.clone() }
    }

    fn build(_: &AppState, input: WorkspaceInput, _: Option<&Entry<Self>>) -> Result<Self, Problem> {
        Ok(Self { name: input.name, parent: input.parent })
    }

    async fn view(_: &AppState, entry: &Entry<Self>) -> WorkspaceView {
        WorkspaceView { id: entry.id.clone(), input: entry.doc.input(), meta: Meta::of(entry) }
    }
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("workspaces", "Tenants. Nothing crosses from one to another.");
    api.add(
        Op::get("/workspaces", "listWorkspaces", "List")
            .about("All of them for an administrator of the first workspace; one's own otherwise.")
            .scope(Scope::Admin)
            .query(&[&LIST])
            .page_of::<WorkspaceView>(),
        list,
    );
    api.add(
        Op::post("/workspaces", "createWorkspace", "Create")
            .about("Only for administrators of the first workspace.")
            .scope(Scope::Admin)
            .body::<WorkspaceInput>()
            .answer::<CreatedWorkspace>(StatusCode::CREATED, "It is there, with a first key."),
        create,
    );
    api.add(
        Op::get("/workspaces/{id}", "readWorkspace", "Read one")
            .scope(Scope::Admin)
            .answer::<WorkspaceView>(StatusCode::OK, "The workspace."),
        read,
    );
    api.add(
        Op::new(MethodFilter::PATCH, "/workspaces/{id}", "changeWorkspace", "Rename")
            .scope(Scope::Admin)
            .if_match()
            .patch_body::<WorkspaceInput>()
            .answer::<WorkspaceView>(StatusCode::OK, "The new state."),
        patch,
    );
}

/// Whether somebody rules the installation: an administrator of the first workspace.
pub(super) fn is_operator(state: &AppState, caller: &Caller) -> bool {
    state.engine.workspaces().first() == Some(&caller.workspace())
}

/// The workspaces that a caller may see, oldest first.
fn visible(state: &AppState, caller: &Caller) -> Vec<std::sync::Arc<Entry<Workspace>>> {
    let numbers = if is_operator(state, caller) { state.engine.workspaces() } else { vec![caller.workspace()] };
    numbers.into_iter().filter_map(|number| state.engine.by_number(number)).collect()
}

fn find(state: &AppState, caller: &Caller, id: &str) -> Result<std::sync::Arc<Entry<Workspace>>, Problem> {
    visible(state, caller).into_iter().find(|entry| entry.id == id).ok_or_else(|| Problem::not_found("workspace", id))
}

async fn list(State(state): State<AppState>, Admin(caller): Admin, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), &LIST)?;
    list_entries(&state, &params, visible(&state, &caller)).await
}

async fn create(State(state): State<AppState>, Admin(caller): Admin, Input(input): Input<WorkspaceInput>) -> Result<Response, Problem> {
    if !is_operator(&state, &caller) {
        return Err(Problem::new(Code::ScopeMissing, "only administrators of the first workspace make workspaces"));
    }
    let entry = state.by(&caller).engine.create_workspace(Workspace::build(&state, input, None)?).await?;
    // Who makes it from the console may go there.
    if let Actor::Member { id, .. } = caller.actor() {
        let workspace = entry.id.clone();
        let change = move |old: &Member| {
            let mut member = old.clone();
            member.roles.insert(workspace.clone(), Role::Administrator);
            Ok(member)
        };
        state.by(&caller).engine.change_member(id, change).await?;
    }
    let scopes = Some(vec![Scope::Admin]);
    let key = NewKey { description: "First administrator".to_owned(), scopes, ..NewKey::new(KeyKind::Private) };
    let (_, token) = state.by(&caller).engine.create_key(entry.number, key).await?;
    let created = CreatedWorkspace { view: Workspace::view(&state, &entry).await, token };
    Ok(with_etag(json(StatusCode::CREATED, &created), entry.version))
}

async fn read(State(state): State<AppState>, Admin(caller): Admin, Id(id): Id) -> Result<Response, Problem> {
    Ok(shown(&state, StatusCode::OK, &*find(&state, &caller, &id)?).await)
}

async fn patch(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Id(id): Id,
    headers: HeaderMap,
    Input(body): Input<Value>,
) -> Result<Response, Problem> {
    let old = find(&state, &caller, &id)?;
    let patch = object(body)?;
    change(&state.by(&caller), &headers, old, |doc| merged(doc, patch.clone())).await
}
