//! Event types: names, groups and the rules that find them in inbox documents.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use posthaste_domain::resource::{EventType, Scope};
use posthaste_engine::{Entry, new_secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::crud::{self, Crud, Family, Meta, with_etag};
use super::json;
use crate::AppState;
use crate::auth::Manager;
use crate::cursor::List;
use crate::input::{Id, Input};
use crate::problem::Problem;

/// An event type as clients write it.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventTypeInput {
    /// 3 to 255 characters, unique in the workspace.
    #[schema(min_length = 3, max_length = 255)]
    name: String,
    /// JSON object that an inbox document must contain. Without it the rule is made from the name, and follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    rule: Option<Value>,
    /// `Group` or `Group/Subgroup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// Free text.
    #[serde(default)]
    description: String,
    /// JSON Schema of the payload, for readers; it is not enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
}

/// An event type.
#[derive(Serialize, ToSchema)]
#[schema(as = EventType)]
pub(crate) struct EventTypeView {
    id: String,
    #[serde(flatten)]
    input: EventTypeInput,
    /// Whether the rule was made from the name and never edited.
    rule_is_default: bool,
    #[serde(flatten)]
    meta: Meta,
}

/// A new event type, with the secret of its MsgGO signatures.
#[derive(Serialize, ToSchema)]
struct CreatedEventType {
    #[serde(flatten)]
    view: EventTypeView,
    /// Key of `X-signature` in MsgGO deliveries. Also at `/event-types/{id}/secret`.
    secret: String,
}

/// The secret of an event type.
#[derive(Serialize, ToSchema)]
struct EventTypeSecret {
    /// Key of `X-signature` in MsgGO deliveries.
    secret: String,
}

impl Crud for EventType {
    type Input = EventTypeInput;
    type View = EventTypeView;
    const NOUN: &'static str = "event type";
    const LIST: List = List::EventTypes;
    const READ_ONLY: &'static [&'static str] = &["rule_is_default"];

    fn search_text(&self) -> &str {
        &self.name
    }

    fn input(&self) -> EventTypeInput {
        EventTypeInput {
            name: self.name.clone(),
            rule: (!self.rule_is_default).then(|| self.rule.clone()),
            group: self.group.clone(),
            description: self.description.clone(),
            schema: self.schema.clone(),
        }
    }

    fn build(_: &AppState, input: EventTypeInput, old: Option<&Entry<Self>>) -> Result<Self, Problem> {
        // A rule that is sent back as it was made from the name is still unedited.
        let is_unedited =
            |rule: &Value| old.is_some_and(|old| old.doc.rule_is_default && old.doc.name == input.name && old.doc.rule == *rule);
        let rule = input.rule.filter(|rule| !is_unedited(rule));
        Ok(Self {
            rule_is_default: rule.is_none(),
            rule: rule.unwrap_or(Value::Null),
            name: input.name,
            group: input.group,
            description: input.description,
            schema: input.schema,
            secret: old.map_or_else(|| new_secret(false), |old| old.doc.secret.clone()),
        })
    }

    async fn view(_: &AppState, entry: &Entry<Self>) -> EventTypeView {
        let input = EventTypeInput { rule: Some(entry.doc.rule.clone()), ..entry.doc.input() };
        EventTypeView { id: entry.id.clone(), input, rule_is_default: entry.doc.rule_is_default, meta: Meta::of(entry) }
    }
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("event-types", "Names that the workspace knows, with the rules that find them in inbox documents.");
    api.add(
        Op::post("/event-types", "createEventType", "Create")
            .scope(Scope::Manage)
            .body::<EventTypeInput>()
            .answer::<CreatedEventType>(StatusCode::CREATED, "It is in force."),
        create,
    );
    crud::routes::<EventType>(
        api,
        &Family {
            all: "/event-types",
            one: "/event-types/{id}",
            ids: ["listEventTypes", "readEventType", "replaceEventType", "changeEventType", "deleteEventType"],
        },
    );
    api.add(
        Op::get("/event-types/{id}/secret", "readEventTypeSecret", "Read the secret of its MsgGO signatures")
            .scope(Scope::Manage)
            .answer::<EventTypeSecret>(StatusCode::OK, "The secret."),
        secret,
    );
}

async fn create(State(state): State<AppState>, Manager(caller): Manager, Input(input): Input<EventTypeInput>) -> Result<Response, Problem> {
    let doc = EventType::build(&state, input, None)?;
    let entry = state.by(&caller).engine.create(caller.workspace(), doc).await?;
    let created = CreatedEventType { view: EventType::view(&state, &entry).await, secret: entry.doc.secret.clone() };
    Ok(with_etag(json(StatusCode::CREATED, &created), entry.version))
}

async fn secret(State(state): State<AppState>, Manager(caller): Manager, Id(id): Id) -> Result<Response, Problem> {
    let entry = crud::find::<EventType>(&state, caller.workspace(), &id)?;
    Ok(json(StatusCode::OK, &EventTypeSecret { secret: entry.doc.secret.clone() }))
}
