//! Event types: names, groups and the rules that find them in inbox documents.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use posthaste_domain::matching::{Rule, check_event_name, default_rule};
use posthaste_domain::resource::{EventType, Scope};
use posthaste_engine::{Entry, new_secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::crud::{self, Crud, Family, Meta, with_etag};
use super::json;
use crate::AppState;
use crate::auth::{Manager, Reader};
use crate::codes::Code;
use crate::cursor::List;
use crate::input::{Id, Input, Param, ParamKind, Params};
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

/// The groups of a workspace.
#[derive(Serialize, ToSchema)]
struct Groups {
    /// Sorted by name; the event types without a group come first, with null as its name.
    items: Vec<GroupView>,
}

/// A group of event types.
#[derive(Serialize, ToSchema)]
#[schema(as = EventTypeGroup)]
struct GroupView {
    /// `Group` or `Group/Subgroup`; null of event types without a group.
    name: Option<String>,
    /// Event types in exactly this group.
    event_types: usize,
}

/// A rule to try.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RuleTestInput {
    /// The event type that the rule is or will be of, if it is one that exists: it is not compared with itself.
    #[serde(default)]
    id: Option<String>,
    /// Name from which the rule is made if none is given.
    #[serde(default)]
    name: Option<String>,
    /// The rule.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    rule: Option<Value>,
    /// A document to try it on.
    #[serde(default, deserialize_with = "given")]
    data: Option<Value>,
}

/// A field that may be null without being absent.
fn given<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(input).map(Some)
}

/// An event type, named.
#[derive(Serialize, ToSchema)]
struct EventTypeName {
    id: String,
    name: String,
    /// Its rule.
    #[schema(value_type = Object)]
    rule: Value,
}

impl EventTypeName {
    fn of(entry: &Entry<EventType>) -> Self {
        Self { id: entry.id.clone(), name: entry.doc.name.clone(), rule: entry.doc.rule.clone() }
    }
}

/// What a rule does.
#[derive(Serialize, ToSchema)]
struct RuleTestView {
    /// The rule that was tried.
    #[schema(value_type = Object)]
    rule: Value,
    /// Other event types of which some document could match both rules; the first 20, oldest first.
    overlaps: Vec<EventTypeName>,
    /// Whether the rule matches the document; null without a document.
    matched: Option<bool>,
    /// Other event types whose rule matches the document; the first 20, oldest first.
    others: Vec<EventTypeName>,
}

/// Most event types that a test of a rule names.
const MAX_NAMED: usize = 20;

impl Crud for EventType {
    type Input = EventTypeInput;
    type View = EventTypeView;
    const NOUN: &'static str = "event type";
    const LIST: List = List::EventTypes;
    const READ_ONLY: &'static [&'static str] = &["rule_is_default"];

    const FILTERS: &'static [Param] = &[Param::new("group", ParamKind::Text, "Only event types of this group and of the groups below it.")];

    fn search_text(&self) -> &str {
        &self.name
    }

    fn fits(&self, params: &Params) -> Result<bool, Problem> {
        let is_in = |wanted: &str, group: &str| group.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        Ok(params.text("group").is_none_or(|wanted| self.group.as_deref().is_some_and(|group| is_in(wanted, group))))
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
    api.add(
        Op::get("/event-types/groups", "listEventTypeGroups", "List the groups, with the number of event types in each")
            .scope(Scope::Read)
            .answer::<Groups>(StatusCode::OK, "The groups, by name."),
        groups,
    );
    api.add(
        Op::post("/event-types/test", "testEventTypeRule", "Try a rule: which others it meets, and whether it takes a document")
            .about("Nothing is stored. An inbox document that several rules match goes to the oldest of their event types.")
            .scope(Scope::Read)
            .body::<RuleTestInput>()
            .answer::<RuleTestView>(StatusCode::OK, "What the rule does."),
        test_rule,
    );
}

async fn create(State(state): State<AppState>, Manager(caller): Manager, Input(input): Input<EventTypeInput>) -> Result<Response, Problem> {
    let doc = EventType::build(&state, input, None)?;
    let entry = state.by(&caller).engine.create(caller.workspace(), doc).await?;
    let created = CreatedEventType { view: EventType::view(&state, &entry).await, secret: entry.doc.secret.clone() };
    Ok(with_etag(json(StatusCode::CREATED, &created), entry.version))
}

async fn groups(State(state): State<AppState>, Reader(caller): Reader) -> Response {
    let mut counts: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for entry in state.engine.list::<EventType>(caller.workspace()) {
        *counts.entry(entry.doc.group.clone()).or_default() += 1;
    }
    let items = counts.into_iter().map(|(name, event_types)| GroupView { name, event_types }).collect();
    json(StatusCode::OK, &Groups { items })
}

async fn test_rule(State(state): State<AppState>, Reader(caller): Reader, Input(input): Input<RuleTestInput>) -> Result<Response, Problem> {
    let (rule, is_default) = match (input.rule, &input.name) {
        (Some(rule), name) => {
            let rule = Rule::parse(rule).map_err(|error| Problem::invalid("rule", error.to_string()))?;
            let is_default = name.as_deref().is_some_and(|name| default_rule(name) == rule);
            (rule, is_default)
        }
        (None, Some(name)) => {
            check_event_name(name).map_err(|error| Problem::invalid("name", error.to_string()))?;
            (default_rule(name), true)
        }
        (None, None) => return Err(Problem::new(Code::MissingField, "rule: this field is needed, or else name").at("rule")),
    };
    let all = state.engine.list::<EventType>(caller.workspace());
    let (mut overlaps, mut others) = (Vec::new(), Vec::new());
    for entry in all.iter().filter(|entry| input.id.as_deref() != Some(entry.id.as_str())) {
        let Ok(other) = Rule::parse(entry.doc.rule.clone()) else { continue };
        if overlaps.len() < MAX_NAMED && rule.overlaps(&other) {
            overlaps.push(EventTypeName::of(entry));
        }
        if others.len() < MAX_NAMED && input.data.as_ref().is_some_and(|data| other.matches_definition(data, entry.doc.rule_is_default)) {
            others.push(EventTypeName::of(entry));
        }
    }
    let matched = input.data.as_ref().map(|data| rule.matches_definition(data, is_default));
    Ok(json(StatusCode::OK, &RuleTestView { rule: rule.into(), overlaps, matched, others }))
}

async fn secret(State(state): State<AppState>, Manager(caller): Manager, Id(id): Id) -> Result<Response, Problem> {
    let entry = crud::find::<EventType>(&state, caller.workspace(), &id)?;
    Ok(json(StatusCode::OK, &EventTypeSecret { secret: entry.doc.secret.clone() }))
}
