//! Subscriptions, and the test of a filter against a sample.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use posthaste_domain::id;
use posthaste_domain::matching::{Filter, TypePattern, parse_document};
use posthaste_domain::resource::{Kind, Scope, Subscription, Target, TemplateDoc};
use posthaste_engine::{Edit, Entry};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::crud::{self, Crud, Family, Meta, shown};
use super::deliveries::target_number;
use super::targets::TargetInput;
use super::templates::TemplateInput;
use super::{accounts, json};
use crate::AppState;
use crate::auth::{Manager, Reader};
use crate::codes::Code;
use crate::cursor::List;
use crate::input::{Input, JsonBytes, Param, ParamKind, Params, check_json, parse_field, raw_fields};
use crate::problem::Problem;

/// A subscription as clients write it.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscriptionInput {
    /// Names and wildcards: `order.paid`, `order.*`, `*`.
    #[schema(min_items = 1, max_items = 100, example = json!(["order.*"]))]
    event_types: Vec<String>,
    /// Where the events go.
    target_id: String,
    /// Template that renders them; needed only where the default rendering does not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    template_id: Option<String>,
    /// Wire format for webhook targets: `standard` unless given, `raw`, `msggo`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    /// Condition on the payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, example = json!({"amount": {"$gt": 100}}))]
    filter: Option<Value>,
    /// Overrides of the target's and the format's policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    policy: Option<Value>,
    /// Who is mailed when a delivery fails for good: `owner` or an e-mail address. Nobody if absent, except where the format says otherwise
    /// (`msgine`: the owner). There is an event `posthaste.delivery.failed` as well then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notify: Option<String>,
    /// Free text.
    #[serde(default)]
    description: String,
    /// Switched-off subscriptions match nothing.
    #[serde(default = "yes")]
    #[schema(default = true)]
    enabled: bool,
}

fn yes() -> bool {
    true
}

/// A new subscription, perhaps with what it needs: all of it is made, or nothing.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSubscription {
    /// Names and wildcards: `order.paid`, `order.*`, `*`.
    #[schema(min_items = 1, max_items = 100, example = json!(["order.*"]))]
    event_types: Vec<String>,
    /// Where the events go. Either this or `target` is needed.
    #[serde(default)]
    target_id: Option<String>,
    /// A new target for the events, made with the subscription.
    #[serde(default)]
    target: Option<TargetInput>,
    /// Template that renders them; needed only where the default rendering does not do.
    #[serde(default)]
    template_id: Option<String>,
    /// A new template, made with the subscription.
    #[serde(default)]
    template: Option<TemplateInput>,
    /// Wire format for webhook targets: `standard` unless given, `raw`, `msggo`, …
    #[serde(default)]
    format: Option<String>,
    /// Condition on the payload.
    #[serde(default)]
    #[schema(value_type = Option<Object>, example = json!({"amount": {"$gt": 100}}))]
    filter: Option<Value>,
    /// Overrides of the target's and the format's policy.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    policy: Option<Value>,
    /// Who is mailed when a delivery fails for good: `owner` or an e-mail address.
    #[serde(default)]
    notify: Option<String>,
    /// Free text.
    #[serde(default)]
    description: String,
    /// Switched-off subscriptions match nothing.
    #[serde(default = "yes")]
    #[schema(default = true)]
    enabled: bool,
}

impl NewSubscription {
    /// What is made, in the order in which one needs the other, and the id of the subscription.
    ///
    /// # Errors
    /// If something is said twice, is missing, or cannot be used.
    fn plan(self, state: &AppState) -> Result<(Vec<Edit>, String), Problem> {
        let Self { event_types, target_id, target, template_id, template, format, filter, policy, notify, description, enabled } = self;
        let new_id = |kind: Kind| id::resource_id(kind.prefix(), state.engine.now_ms(), rand::random());
        let mut edits = Vec::new();
        let target_id = match (target_id, target) {
            (Some(known), None) => known,
            (None, Some(target)) => {
                let target = Target::build(state, target, None).map_err(|problem| problem.under("target"))?;
                let id = new_id(Kind::Target);
                edits.push(Edit::target(id.as_str(), target).at("target"));
                id
            }
            (None, None) => return Err(Problem::new(Code::MissingField, "target_id: this field, or target, is needed").at("target_id")),
            (Some(_), Some(_)) => return Err(Problem::invalid("target", "either this or target_id")),
        };
        let template_id = match (template_id, template) {
            (known, None) => known,
            (None, Some(template)) => {
                let template = TemplateDoc::build(state, template, None).map_err(|problem| problem.under("template"))?;
                let id = new_id(Kind::Template);
                edits.push(Edit::template(id.as_str(), template).at("template"));
                Some(id)
            }
            (Some(_), Some(_)) => return Err(Problem::invalid("template", "either this or template_id")),
        };
        let input = SubscriptionInput { event_types, target_id, template_id, format, filter, policy, notify, description, enabled };
        let id = new_id(Kind::Subscription);
        edits.push(Edit::subscription(id.as_str(), Subscription::build(state, input, None)?));
        Ok((edits, id))
    }
}

/// A subscription.
#[derive(Serialize, ToSchema)]
#[schema(as = Subscription)]
pub(crate) struct SubscriptionView {
    id: String,
    #[serde(flatten)]
    input: SubscriptionInput,
    #[serde(flatten)]
    meta: Meta,
}

/// A filter and a payload to try it on.
#[derive(ToSchema)]
struct FilterTestInput {
    /// The filter.
    #[schema(value_type = Object)]
    #[expect(dead_code, reason = "describes what is read from the raw body")]
    filter: Value,
    /// The payload.
    #[expect(dead_code, reason = "describes what is read from the raw body")]
    sample: Value,
}

/// What one condition of the filter found.
#[derive(Serialize, ToSchema)]
struct FindingView {
    /// Where the condition stands in the filter.
    path: String,
    /// The condition with its operator.
    condition: Value,
    /// Whether this condition alone holds.
    held: bool,
    /// The value that it looked at; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Value>,
}

/// Whether the filter takes the sample, and why.
#[derive(Serialize, ToSchema)]
struct FilterTestView {
    matched: bool,
    /// What each condition found, in the order of writing.
    findings: Vec<FindingView>,
}

impl Crud for Subscription {
    type Input = SubscriptionInput;
    type View = SubscriptionView;
    const NOUN: &'static str = "subscription";
    const LIST: List = List::Subscriptions;
    const FILTERS: &'static [Param] = &[
        Param::new("event_type", ParamKind::Text, "Only subscriptions that take events of this type, by name or by wildcard."),
        Param::new("target_id", ParamKind::Text, "Only subscriptions that send to this target."),
        Param::new("template_id", ParamKind::Text, "Only subscriptions that use this template."),
    ];

    fn search_text(&self) -> &str {
        &self.description
    }

    fn check_filters(state: &AppState, workspace: i64, params: &Params) -> Result<(), Problem> {
        if let Some(id) = params.text("target_id") {
            target_number(state, workspace, id)?;
        }
        match params.text("template_id") {
            Some(id) if state.engine.get::<TemplateDoc>(workspace, id).is_none() => {
                Err(Problem::new(Code::InvalidParameter, "template_id: there is no such template").at("template_id"))
            }
            _ => Ok(()),
        }
    }

    fn fits(&self, params: &Params) -> Result<bool, Problem> {
        let takes =
            |name: &str| self.event_types.iter().filter_map(|text| TypePattern::parse(text).ok()).any(|pattern| pattern.matches(name));
        Ok(params.text("event_type").is_none_or(takes)
            && params.text("target_id").is_none_or(|id| self.target_id == id)
            && params.text("template_id").is_none_or(|id| self.template_id.as_deref() == Some(id)))
    }

    fn input(&self) -> SubscriptionInput {
        let Self { event_types, target_id, template_id, format, filter, policy, notify, description, enabled, .. } = self.clone();
        SubscriptionInput { event_types, target_id, template_id, format, filter, policy, notify, description, enabled }
    }

    fn build(_: &AppState, input: SubscriptionInput, old: Option<&Entry<Self>>) -> Result<Self, Problem> {
        let SubscriptionInput { event_types, target_id, template_id, format, filter, policy, notify, description, enabled } = input;
        let base = old.map_or_else(|| Self::new(Vec::new(), String::new()), |old| old.doc.clone());
        Ok(Self { event_types, target_id, template_id, format, filter, policy, notify, description, enabled, ..base })
    }

    /// Formats sign with secrets of the workspace's account.
    async fn saved(state: &AppState, entry: &Entry<Self>) -> Result<(), Problem> {
        match &entry.doc.format {
            Some(format) => accounts::ensure(state, entry.workspace, format).await,
            None => Ok(()),
        }
    }

    async fn view(_: &AppState, entry: &Entry<Self>) -> SubscriptionView {
        SubscriptionView { id: entry.id.clone(), input: entry.doc.input(), meta: Meta::of(entry) }
    }
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("subscriptions", "Which events go to which target, in which form, under which policy.");
    api.add(
        Op::post("/subscriptions", "createSubscription", "Create")
            .about("It receives every event that is accepted after this has been answered. A target and a template may be made with it.")
            .scope(Scope::Manage)
            .body::<NewSubscription>()
            .answer::<SubscriptionView>(StatusCode::CREATED, "It is in force."),
        create,
    );
    crud::routes::<Subscription>(
        api,
        &Family {
            all: "/subscriptions",
            one: "/subscriptions/{id}",
            ids: ["listSubscriptions", "readSubscription", "replaceSubscription", "changeSubscription", "deleteSubscription"],
        },
    );
    api.add(
        Op::post("/filters/test", "testFilter", "Try a filter on a sample")
            .scope(Scope::Read)
            .body::<FilterTestInput>()
            .answer::<FilterTestView>(StatusCode::OK, "Whether it matches, and what each condition found."),
        test_filter,
    );
}

async fn create(
    State(state): State<AppState>,
    Manager(caller): Manager,
    Input(input): Input<NewSubscription>,
) -> Result<Response, Problem> {
    let (edits, id) = input.plan(&state)?;
    state.by(&caller).engine.edit(caller.workspace(), move |_| Ok(edits)).await?;
    let entry = crud::find::<Subscription>(&state, caller.workspace(), &id)?;
    Subscription::saved(&state, &entry).await?;
    Ok(shown(&state, StatusCode::CREATED, &*entry).await)
}

async fn test_filter(Reader(_): Reader, JsonBytes(body): JsonBytes) -> Result<Response, Problem> {
    check_json(&body)?;
    let fields = raw_fields(&body, &["filter", "sample"])?;
    let filter = parse_field("filter", fields.need("filter")?)?;
    let filter = Filter::parse(&filter).map_err(|error| Problem::invalid(error.path, error.problem.to_string()))?;
    // The sample is seen exactly as an event's payload is.
    let sample = parse_document(fields.need("sample")?).unwrap_or(Value::Null);
    let findings = filter.explain(&sample).into_iter().map(|finding| FindingView {
        path: finding.path,
        condition: finding.condition,
        held: finding.held,
        found: finding.found,
    });
    Ok(json(StatusCode::OK, &FilterTestView { matched: filter.matches(&sample), findings: findings.collect() }))
}
