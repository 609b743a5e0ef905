//! The audit log: what was changed in a workspace, by whom, and from what to what. Nothing but time takes entries away.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use posthaste_domain::clock::rfc3339;
use posthaste_domain::people::Actor;
use posthaste_domain::people::audit::{Action, FieldChange};
use posthaste_domain::resource::Scope;
use posthaste_store::{AuditFilter, AuditRecord, Order};
use serde::Serialize;
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::list_page;
use crate::AppState;
use crate::auth::Admin;
use crate::codes::Code;
use crate::cursor::List;
use crate::input::{PAGE, Param, ParamKind, Params};
use crate::problem::Problem;

/// The kinds of things that entries are about.
const KINDS: &[&str] =
    &["workspace", "key", "event_type", "target", "template", "subscription", "bin", "replay", "domain", "account", "member", "session"];
/// What is done to them.
const ACTIONS: &[&str] = &["create", "update", "delete", "pause", "resume", "disable", "rotate", "start", "cancel", "revoke"];

const LIST: [Param; 8] = [
    PAGE[0],
    PAGE[1],
    Param::new("kind", ParamKind::OneOf(KINDS), "Only about things of this kind; one."),
    Param::new("id", ParamKind::Text, "Only about the thing with this id."),
    Param::new("actor", ParamKind::Text, "Only by the key or member with this id, or by the `server`."),
    Param::new("action", ParamKind::OneOf(ACTIONS), "Only this action; one."),
    Param::new("from", ParamKind::Time, "Not earlier than this."),
    Param::new("to", ParamKind::Time, "Earlier than this."),
];

/// Who did it, in the words of that moment.
#[derive(Serialize, ToSchema)]
#[schema(as = Actor)]
struct ActorView {
    /// `key`, `member` or `server`.
    #[serde(rename = "type")]
    #[schema(pattern = "^(key|member|server)$")]
    kind: &'static str,
    /// Id of the key or member.
    id: Option<String>,
    /// Description of the key, or name of the member.
    name: String,
}

/// What it was done to.
#[derive(Serialize, ToSchema)]
struct AuditedThing {
    /// Its kind.
    kind: String,
    /// Its id.
    id: String,
    /// Its name at that time.
    name: String,
}

/// A field that changed.
#[derive(Serialize, ToSchema)]
#[schema(as = FieldChange)]
struct ChangeView {
    /// Its path, with dots.
    field: String,
    /// The value before as JSON text, cut after 200 characters; null if there was none or if it is secret.
    before: Option<String>,
    /// The value after, in the same way.
    after: Option<String>,
    /// Whether the values are left out because they are secret.
    secret: bool,
}

/// One change.
#[derive(Serialize, ToSchema)]
struct AuditEntry {
    /// Its place in the log: later ones have larger numbers.
    number: i64,
    /// When.
    #[schema(format = DateTime)]
    at: String,
    actor: ActorView,
    /// What was done.
    #[schema(pattern = "^(create|update|delete|pause|resume|disable|rotate|start|cancel|revoke)$")]
    action: &'static str,
    resource: AuditedThing,
    /// What changed; of something that was deleted, nothing. At most 50.
    changes: Vec<ChangeView>,
}

impl AuditEntry {
    fn of(AuditRecord { number, entry }: AuditRecord) -> Self {
        let actor = &entry.actor;
        Self {
            number,
            at: rfc3339(entry.at_ms),
            actor: ActorView { kind: actor.kind(), id: Actor::id(actor).map(str::to_owned), name: actor.label().to_owned() },
            action: entry.action.name(),
            resource: AuditedThing { kind: entry.kind, id: entry.id, name: entry.name },
            changes: entry.fields.into_iter().map(ChangeView::of).collect(),
        }
    }
}

impl ChangeView {
    fn of(FieldChange { field, before, after, secret }: FieldChange) -> Self {
        Self { field, before, after, secret }
    }
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("audit", "What was changed, by whom, and from what to what, for a year unless configured otherwise.");
    api.add(Op::get("/audit", "listAudit", "List, newest first").scope(Scope::Admin).query(&[&LIST]).page_of::<AuditEntry>(), list);
}

/// The one word of a parameter.
fn word(params: &Params, name: &'static str, known: &'static [&'static str]) -> Result<Option<&'static str>, Problem> {
    match params.words(name, known)?.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err(Problem::new(Code::InvalidParameter, format!("{name}: one value at a time")).at(name)),
    }
}

async fn list(State(state): State<AppState>, Admin(caller): Admin, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), &LIST)?;
    let limit = params.limit()?;
    let before = params.cursor(List::Audit, Order::Desc)?;
    let filter = AuditFilter {
        kind: word(&params, "kind", KINDS)?.map(str::to_owned),
        actor: params.text("actor").map(str::to_owned),
        action: word(&params, "action", ACTIONS)?.and_then(Action::from_name),
        id: params.text("id").map(str::to_owned),
        from_ms: params.time("from")?,
        to_ms: params.time("to")?,
    };
    let mut found = state.engine.audit(caller.workspace(), filter, before, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| last.number);
    let items: Vec<AuditEntry> = found.into_iter().map(AuditEntry::of).collect();
    Ok(list_page(List::Audit, Order::Desc, &items, next))
}

#[cfg(test)]
mod tests {
    use posthaste_domain::people::audit::SESSION;
    use posthaste_domain::resource::Kind;

    use super::*;

    #[test]
    fn the_words_of_the_filters_are_those_of_the_log() {
        let kinds: Vec<&str> = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Health).map(Kind::name).chain([SESSION]).collect();
        assert_eq!(KINDS, kinds);
        assert_eq!(ACTIONS, Action::ALL.map(Action::name));
    }
}
