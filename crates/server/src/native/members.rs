//! Members: the people who may sign in to the console, as administrators of a workspace see them.
//!
//! Invariants:
//! - A workspace sees those who have a role in it, with that role; what they may do elsewhere shows nowhere.
//! - Whoever has a role in other workspaces too is ruled by the administrators of the first one: others give and take its role in their own
//!   and nothing else, so that nobody gets into a workspace through another.
//! - Who has an address was seen to by those who invited it. Only people of the first workspace are taken into another as they are. Those of others
//!   come into the first one with a new link, their password and second factor gone, and into a third one not at all: whoever invited them may have
//!   chosen the password.
//! - Every workspace that has an administrator keeps one.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::MethodFilter;
use http::{HeaderMap, StatusCode};
use posthaste_domain::clock::rfc3339;
use posthaste_domain::people::{Member, Role, Session, fold_email};
use posthaste_domain::resource::Scope;
use posthaste_engine::{Entry, ResourceError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::crud::{Found, LIST, Meta, OF_ALL, drop_unchanged, expected_version, merged_input, object, select, with_etag};
use super::workspaces::is_operator;
use super::{json, list_page};
use crate::AppState;
use crate::auth::{Admin, Caller};
use crate::codes::Code;
use crate::cursor::List;
use crate::input::{Id, Input, Params, read_value};
use crate::people::{PASSWORD_PATH, SETUP_PATH};
use crate::problem::Problem;

/// What a member may do in the workspace.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Role)]
enum RoleInput {
    /// Everything, keys, members and settings included.
    Administrator,
    /// Sees everything but keys, members and the audit log; publishes; changes event types, targets, templates and subscriptions.
    Member,
}

/// A member as clients write it.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MemberInput {
    /// How the person is called.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    /// Address, unique without regard to case. The person signs in with it.
    #[schema(max_length = 254)]
    email: String,
    /// What it may do in this workspace.
    role: RoleInput,
    /// Whether it is switched off: it cannot sign in, and its sessions end.
    #[serde(default)]
    disabled: bool,
}

/// A person who may sign in.
#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
struct MemberView {
    id: String,
    #[serde(flatten)]
    input: MemberInput,
    /// Whether it has chosen a password yet.
    has_password: bool,
    /// Whether it signs in with a code of an authenticator, too. `false` in a change turns that off, for a lost telephone, and ends its sessions.
    second_factor: bool,
    /// Until when its link to choose a password works, if it has one.
    #[schema(format = DateTime)]
    link_expires_at: Option<String>,
    /// Its last visit of the sessions that there are, as exact as an hour.
    #[schema(format = DateTime)]
    last_seen_at: Option<String>,
    #[serde(flatten)]
    meta: Meta,
}

/// A new member, with its link.
#[derive(Serialize, ToSchema)]
struct CreatedMember {
    #[serde(flatten)]
    view: MemberView,
    /// Path on this server of the page where the person chooses a password. It is shown this once and works once, for three days. Null if
    /// the person was a member of another workspace already and signs in as before.
    link: Option<String>,
    /// The same with the public address of this server.
    url: Option<String>,
}

/// A link with which a person chooses a password.
#[derive(Serialize, ToSchema)]
struct MemberLink {
    /// Path on this server. It is shown this once and works once; the one before works no more.
    link: String,
    /// The same with the public address of this server.
    url: String,
}

impl MemberLink {
    fn to(state: &AppState, page: &str, token: &str) -> Self {
        let link = format!("{page}{token}");
        Self { url: format!("{}{link}", state.engine.settings().public_base_url), link }
    }
}

/// A browser in which a member is signed in.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
struct SessionView {
    id: String,
    /// What the browser said it is.
    user_agent: String,
    /// Where it was signed in from.
    ip: String,
    /// Since when.
    #[schema(format = DateTime)]
    created_at: String,
    /// Its last visit, as exact as an hour.
    #[schema(format = DateTime)]
    seen_at: String,
}

const fn to_role(role: RoleInput) -> Role {
    match role {
        RoleInput::Administrator => Role::Administrator,
        RoleInput::Member => Role::Member,
    }
}

const fn from_role(role: Role) -> RoleInput {
    match role {
        Role::Administrator => RoleInput::Administrator,
        Role::Member => RoleInput::Member,
    }
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag(
        "members",
        "People who may sign in to the console. Whoever has a role in several workspaces is changed by administrators of the first one; \
         others give and take its role in their own.",
    );
    api.add(
        Op::post("/members", "createMember", "Invite")
            .about("Somebody who is a member of another workspace gets a role in this one and keeps name and password.")
            .scope(Scope::Admin)
            .body::<MemberInput>()
            .answer::<CreatedMember>(StatusCode::CREATED, "The member with its link, this once."),
        create,
    );
    api.add(Op::get("/members", "listMembers", "List").scope(Scope::Admin).query(&[&LIST]).page_of::<MemberView>(), list);
    api.add(
        Op::get("/members/{id}", "readMember", "Read one").scope(Scope::Admin).answer::<MemberView>(StatusCode::OK, "The member."),
        read,
    );
    api.add(
        Op::new(MethodFilter::PATCH, "/members/{id}", "changeMember", "Change role, name or address, or switch off")
            .about("The last administrator of a workspace stays one. Another address makes the member's link void.")
            .scope(Scope::Admin)
            .if_match()
            .patch_body::<MemberInput>()
            .answer::<MemberView>(StatusCode::OK, "The new state."),
        patch,
    );
    api.add(
        Op::delete("/members/{id}", "deleteMember", "Remove from this workspace")
            .about("Somebody with no role in another workspace is deleted. The last administrator of a workspace stays.")
            .scope(Scope::Admin)
            .empty(StatusCode::NO_CONTENT, "It has no role here from now on."),
        delete,
    );
    api.add(
        Op::post("/members/{id}/link", "createMemberLink", "Make a link to choose a password")
            .about(
                "For somebody who lost the invitation or the password. It works for three days. The password stays until the link is used; then \
                 all sessions end.",
            )
            .scope(Scope::Admin)
            .answer::<MemberLink>(StatusCode::OK, "The link, this once."),
        link,
    );
    api.add(
        Op::post("/members/setup-link", "createSetupLink", "Make the link to set the installation up")
            .about(
                "With it the first member makes itself, an administrator of every workspace. Only for administrators of the first workspace, and \
                 only while there is no member. It works until it is used or the server stops.",
            )
            .scope(Scope::Admin)
            .answer::<MemberLink>(StatusCode::OK, "The link, this once."),
        setup_link,
    );
    api.add(
        Op::get("/members/{id}/sessions", "listMemberSessions", "List where it is signed in")
            .about("All of them, at most 50, the one that was seen last first.")
            .scope(Scope::Admin)
            .page_of::<SessionView>(),
        sessions,
    );
    api.add(
        Op::delete("/members/{id}/sessions", "endMemberSessions", "Sign it out everywhere")
            .scope(Scope::Admin)
            .empty(StatusCode::NO_CONTENT, "It is signed in nowhere."),
        end_sessions,
    );
}

/// Id of the caller's workspace.
fn own_id(state: &AppState, caller: &Caller) -> Result<String, Problem> {
    state.engine.id_of(caller.workspace()).ok_or_else(|| ResourceError::NotFound.into())
}

/// A member with a role in the workspace of the id `own`.
fn find(state: &AppState, own: &str, id: &str) -> Result<Arc<Entry<Member>>, Problem> {
    state.engine.member(id).filter(|member| member.doc.role(own).is_some()).ok_or_else(|| Problem::not_found("member", id))
}

/// Refuses who may change nothing of a member but its role here.
fn must_rule(state: &AppState, caller: &Caller, own: &str, member: &Member) -> Result<(), Problem> {
    if is_operator(state, caller) || member.roles.keys().all(|id| id == own) {
        return Ok(());
    }
    let detail = "the member has a role in other workspaces too; only administrators of the first workspace change more than its role here";
    Err(Problem::new(Code::ScopeMissing, detail))
}

fn input_of(member: &Member, role: Role) -> MemberInput {
    MemberInput { name: member.name.clone(), email: member.email.clone(), role: from_role(role), disabled: member.disabled }
}

fn living(state: &AppState, member: &str) -> Vec<Arc<Session>> {
    let (lifetimes, now_ms) = (state.engine.settings().sessions, state.engine.now_ms());
    let mut all = state.engine.sessions_of(member);
    all.retain(|session| session.is_alive(lifetimes, now_ms));
    all
}

fn view(state: &AppState, own: &str, entry: &Entry<Member>) -> MemberView {
    let doc = &entry.doc;
    // Whoever lost the role a moment ago is shown with the lesser one.
    let role = doc.role(own).unwrap_or(Role::Member);
    let link = doc.link.as_ref().filter(|link| link.expires_ms > state.engine.now_ms());
    MemberView {
        id: entry.id.clone(),
        input: input_of(doc, role),
        has_password: doc.password.is_some(),
        second_factor: doc.totp.is_some(),
        link_expires_at: link.map(|link| rfc3339(link.expires_ms)),
        last_seen_at: living(state, &entry.id).first().map(|session| rfc3339(session.seen_ms)),
        meta: Meta::of(entry),
    }
}

fn shown(state: &AppState, own: &str, entry: &Entry<Member>) -> Response {
    with_etag(json(StatusCode::OK, &view(state, own, entry)), entry.version)
}

async fn create(State(state): State<AppState>, Admin(caller): Admin, Input(input): Input<MemberInput>) -> Result<Response, Problem> {
    let own = own_id(&state, &caller)?;
    let by = state.by(&caller).engine;
    let role = to_role(input.role);
    let (entry, link) = match state.engine.member_by_email(&fold_email(&input.email)) {
        Some(known) => {
            if known.doc.role(&own).is_some() {
                return Err(Problem::new(Code::Duplicate, "email: a member of this workspace has this address").at("email"));
            }
            let first = state.engine.workspaces().first().and_then(|number| state.engine.id_of(*number));
            let is_vouched_for = first.is_some_and(|first| known.doc.role(&first).is_some());
            if !is_vouched_for && !is_operator(&state, &caller) {
                let detail =
                    "email: somebody in another workspace has this address; the administrators of the first workspace can invite them";
                return Err(Problem::new(Code::Duplicate, detail).at("email"));
            }
            let fresh = (!is_vouched_for).then(|| state.people().invitation());
            let (own, link) = (own.clone(), fresh.as_ref().map(|(_, link)| link.clone()));
            let join = move |old: &Member| {
                let mut doc = old.clone();
                doc.roles.entry(own.clone()).or_insert(role);
                if let Some(link) = &link {
                    (doc.password, doc.totp, doc.link) = (None, None, Some(link.clone()));
                }
                Ok(doc)
            };
            let entry = by.change_member(&known.id, join).await?;
            if fresh.is_some() {
                by.end_sessions(&entry, false, |_| true).await?;
            }
            (entry, fresh.map(|(token, _)| MemberLink::to(&state, PASSWORD_PATH, &token)))
        }
        None => {
            let (token, link) = state.people().invitation();
            let MemberInput { name, email, disabled, .. } = input;
            let roles = [(own.clone(), role)].into();
            let doc = Member { name, email, password: None, totp: None, link: Some(link), roles, disabled };
            (by.create_member(doc).await?, Some(MemberLink::to(&state, PASSWORD_PATH, &token)))
        }
    };
    let (link, url) = link.map(|MemberLink { link, url }| (link, url)).unzip();
    let created = CreatedMember { view: view(&state, &own, &entry), link, url };
    Ok(with_etag(json(StatusCode::CREATED, &created), entry.version))
}

async fn list(State(state): State<AppState>, Admin(caller): Admin, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), &LIST)?;
    let own = own_id(&state, &caller)?;
    let mut people = state.engine.people();
    people.retain(|member| member.doc.role(&own).is_some());
    let Found { entries, order, next } = select(&params, List::Members, &people, |doc: &Member| format!("{}\n{}", doc.name, doc.email))?;
    let views: Vec<MemberView> = entries.iter().map(|entry| view(&state, &own, entry)).collect();
    Ok(list_page(List::Members, order, &views, next))
}

async fn read(State(state): State<AppState>, Admin(caller): Admin, Id(id): Id) -> Result<Response, Problem> {
    let own = own_id(&state, &caller)?;
    Ok(shown(&state, &own, &*find(&state, &own, &id)?))
}

async fn patch(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Id(id): Id,
    headers: HeaderMap,
    Input(body): Input<Value>,
) -> Result<Response, Problem> {
    let own = own_id(&state, &caller)?;
    let by = state.by(&caller).engine;
    let mut body = object(body)?;
    let version = expected_version(&headers, body.shift_remove("version"))?;
    for name in ["updated_at", "last_seen_at"] {
        body.shift_remove(name);
    }
    loop {
        let old = find(&state, &own, &id)?;
        if let Some(expected) = version.filter(|version| *version != old.version) {
            return Err(ResourceError::Conflict { expected, found: old.version }.into());
        }
        let mut body = body.clone();
        // A lost telephone: whoever rules the member turns the second factor off.
        let forgets = old.doc.totp.is_some() && body.get("second_factor") == Some(&Value::Bool(false));
        if forgets {
            body.shift_remove("second_factor");
        }
        let read_only = ["has_password", "second_factor", "link_expires_at"].into_iter().chain(OF_ALL);
        drop_unchanged(&view(&state, &own, &old), read_only, &mut body)?;
        let role = old.doc.role(&own).unwrap_or(Role::Member);
        let input: MemberInput = read_value(Value::Object(merged_input(&input_of(&old.doc, role), body)))?;
        let mut doc = changed(&old.doc, &own, input);
        doc.totp = doc.totp.filter(|_| !forgets);
        let only_role = Member { roles: doc.roles.clone(), ..old.doc.clone() };
        if doc != only_role {
            must_rule(&state, &caller, &own, &old.doc)?;
        }
        // Only over what was looked at.
        match by.replace_member(&old, doc.clone()).await {
            Err(ResourceError::Conflict { .. }) if version.is_none() => {}
            Err(error @ ResourceError::State { .. }) => {
                let field = if doc.disabled && !old.doc.disabled { "disabled" } else { "role" };
                return Err(Problem::from(error).at(field));
            }
            Err(error) => return Err(error.into()),
            Ok(entry) => {
                if entry.doc.disabled || forgets {
                    by.end_sessions(&entry, false, |_| true).await?;
                }
                return Ok(shown(&state, &own, &entry));
            }
        }
    }
}

/// A member as an input asks for.
fn changed(old: &Member, own: &str, input: MemberInput) -> Member {
    let MemberInput { name, email, role, disabled } = input;
    let mut doc = Member { name, email, disabled, ..old.clone() };
    doc.roles.insert(own.to_owned(), to_role(role));
    if fold_email(&doc.email) != fold_email(&old.email) {
        // It was sent to the old address.
        doc.link = None;
    }
    doc
}

async fn delete(State(state): State<AppState>, Admin(caller): Admin, Id(id): Id) -> Result<StatusCode, Problem> {
    let own = own_id(&state, &caller)?;
    let by = state.by(&caller).engine;
    let entry = find(&state, &own, &id)?;
    if entry.doc.roles.keys().all(|workspace| *workspace == own) {
        by.delete_member(&id).await?;
    } else {
        let leave = move |old: &Member| {
            let mut doc = old.clone();
            doc.roles.remove(&own);
            Ok(doc)
        };
        by.change_member(&id, leave).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A member that the caller may change in every way.
fn ruled(state: &AppState, caller: &Caller, id: &str) -> Result<Arc<Entry<Member>>, Problem> {
    let own = own_id(state, caller)?;
    let entry = find(state, &own, id)?;
    must_rule(state, caller, &own, &entry.doc)?;
    Ok(entry)
}

async fn link(State(state): State<AppState>, Admin(caller): Admin, Id(id): Id) -> Result<Response, Problem> {
    if ruled(&state, &caller, &id)?.doc.disabled {
        return Err(Problem::new(Code::WrongState, "the member is disabled; a link would not let it in"));
    }
    let token = state.people().new_link(&state.by(&caller).engine, &id).await?;
    Ok(json(StatusCode::OK, &MemberLink::to(&state, PASSWORD_PATH, &token)))
}

async fn setup_link(State(state): State<AppState>, Admin(caller): Admin) -> Result<Response, Problem> {
    if !is_operator(&state, &caller) {
        return Err(Problem::new(Code::ScopeMissing, "only administrators of the first workspace set the installation up"));
    }
    let token = state.people().new_setup_token();
    let token = token.ok_or_else(|| Problem::new(Code::WrongState, "the installation was set up: it has members, who invite others"))?;
    Ok(json(StatusCode::OK, &MemberLink::to(&state, SETUP_PATH, &token)))
}

async fn sessions(State(state): State<AppState>, Admin(caller): Admin, Id(id): Id) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Page {
        items: Vec<SessionView>,
        next: Option<String>,
    }
    let member = ruled(&state, &caller, &id)?;
    let shown = |session: Arc<Session>| SessionView {
        id: session.id.clone(),
        user_agent: session.user_agent.clone(),
        ip: session.ip.clone(),
        created_at: rfc3339(session.created_ms),
        seen_at: rfc3339(session.seen_ms),
    };
    let items = living(&state, &member.id).into_iter().map(shown).collect();
    Ok(json(StatusCode::OK, &Page { items, next: None }))
}

async fn end_sessions(State(state): State<AppState>, Admin(caller): Admin, Id(id): Id) -> Result<StatusCode, Problem> {
    let member = ruled(&state, &caller, &id)?;
    state.by(&caller).engine.end_sessions(&member, true, |_| true).await?;
    Ok(StatusCode::NO_CONTENT)
}
