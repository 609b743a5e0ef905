//! Targets: where messages go, how they fare, and their secrets.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use posthaste_domain::clock::rfc3339;
use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::resource::{Mark, Scope, SigningKey, Subscription, Target, TargetStatus};
use posthaste_domain::signature::SigningSecret;
use posthaste_engine::{Desk, Edit, Engine, Entry, LaneHealth, Sample, new_secret};
use posthaste_store::{DeliveryFilter, Order, Range};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::crud::{self, Crud, Family, MASK, Meta, shown, with_etag};
use super::json;
use super::view::AttemptView;
use crate::AppState;
use crate::auth::{Manager, Reader};
use crate::cursor::List;
use crate::input::{Id, Input, JsonBytes, OptionalInput, Param, ParamKind, Params, check_json, parse_field, raw_fields};
use crate::problem::Problem;

/// A target as clients write it.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetInput {
    /// Display name.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    /// Kind of target: `webhook`, `slack`, `discord`, `email`.
    #[schema(example = "webhook")]
    channel: String,
    /// What the channel needs; for `webhook`: `url`, and perhaps `method`, `headers`, `auth`.
    #[schema(value_type = Object, example = json!({"url": "https://example.com/hook"}))]
    settings: Value,
    /// Policy that the subscriptions of this target inherit: `timeout`, `retry`, `success`, `stop`, `batch`, `rate`, `concurrency`, `order`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    policy: Option<Value>,
    /// On creation only: a signing secret to use instead of a new one, `whsec_…` or `whsk_…`.
    #[serde(default, skip_serializing)]
    #[schema(write_only)]
    secret: Option<String>,
}

/// A target.
#[derive(Serialize, ToSchema)]
#[schema(as = Target)]
pub(crate) struct TargetView {
    id: String,
    #[serde(flatten)]
    input: TargetInput,
    /// `active`, `paused` or `disabled`.
    #[schema(pattern = "^(active|paused|disabled)$")]
    status: &'static str,
    /// Why it is not active.
    status_reason: Option<String>,
    health: Health,
    /// The signing secrets in use, newest first, without the secrets themselves.
    signing: Vec<SigningView>,
    /// The vendor's API through which it was made and is best changed; null for one made here.
    managed_by: Option<ManagedBy>,
    #[serde(flatten)]
    meta: Meta,
}

/// A webhook of a vendor's API.
#[derive(Serialize, ToSchema)]
struct ManagedBy {
    /// Name of the dialect.
    dialect: String,
    /// The webhook's id there, if it has one.
    id: Option<String>,
}

impl ManagedBy {
    fn of(mark: &Mark) -> Self {
        Self { dialect: mark.dialect.clone(), id: mark.data.get("id").and_then(Value::as_str).map(str::to_owned) }
    }
}

/// How the deliveries of a target end.
#[derive(Serialize, ToSchema)]
struct Outcomes {
    /// `pending`: nothing was sent yet. `failed`: a delivery of the last 24 hours failed, or its last attempt did. `ok`: none did.
    #[schema(pattern = "^(pending|ok|failed)$")]
    status: &'static str,
}

/// How a target fares.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `active`, `probing` (trouble: one try at a time), `paused` or `disabled`.
    #[schema(pattern = "^(active|probing|paused|disabled)$")]
    pub(super) state: String,
    /// Pending deliveries.
    pub(super) queued: u64,
    /// Attempts under way, and those that ended and are not on disk yet.
    in_flight: u32,
    /// Time of receipt of the oldest waiting delivery.
    #[schema(format = DateTime)]
    pub(super) oldest_at: Option<String>,
    /// Last success since the server started.
    #[schema(format = DateTime)]
    last_success_at: Option<String>,
    /// Last failure since the server started.
    #[schema(format = DateTime)]
    pub(super) last_failure_at: Option<String>,
    /// Until when the rate limit holds deliveries back.
    #[schema(format = DateTime)]
    rate_limited_until: Option<String>,
}

impl Health {
    pub(super) fn of(lane: LaneHealth, status: TargetStatus, now_ms: i64) -> Self {
        let time = |ms: i64| (ms > 0).then(|| rfc3339(ms));
        // A lane hears of a pause a moment later than the catalog.
        let state = if status == TargetStatus::Active { lane.breaker } else { status_name(status).to_owned() };
        Self {
            state,
            queued: lane.backlog,
            in_flight: lane.in_flight,
            oldest_at: lane.oldest_ms.map(rfc3339),
            last_success_at: time(lane.last_success_ms),
            last_failure_at: time(lane.last_failure_ms),
            rate_limited_until: time(lane.limited_until_ms).filter(|_| lane.limited_until_ms > now_ms),
        }
    }
}

/// A signing secret without the secret.
#[derive(Serialize, ToSchema)]
pub(super) struct SigningView {
    /// `v1` (HMAC-SHA256) or `v1a` (Ed25519).
    #[schema(pattern = "^(v1|v1a)$")]
    scheme: &'static str,
    /// Of an Ed25519 key: what receivers verify with, `whpk_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    /// When it stops signing; null for the current one.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

impl SigningView {
    fn of(key: &SigningKey) -> Self {
        let secret = SigningSecret::parse(&key.secret).ok();
        Self {
            scheme: if matches!(secret, Some(SigningSecret::Ed25519(_))) { "v1a" } else { "v1" },
            public_key: secret.and_then(|secret| secret.public_key_text()),
            created_at: rfc3339(key.created_ms),
            expires_at: key.expires_ms.map(rfc3339),
        }
    }
}

/// A new target, with its signing secret.
#[derive(Serialize, ToSchema)]
struct CreatedTarget {
    #[serde(flatten)]
    view: TargetView,
    /// The signing secret. Also at `/targets/{id}/secret`.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// A signing secret.
#[derive(Serialize, ToSchema)]
struct TargetSecret {
    /// The current signing secret, `whsec_…` or `whsk_…`.
    secret: String,
    #[serde(flatten)]
    current: SigningView,
    /// Older secrets that still sign beside it, newest first.
    previous: Vec<SigningView>,
}

/// Why a target is paused.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PauseInput {
    /// Shown with the target.
    #[serde(default)]
    reason: Option<String>,
}

/// How to rotate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RotateInput {
    /// The new secret; made if absent.
    #[serde(default)]
    secret: Option<String>,
    /// Make an Ed25519 key instead of an HMAC secret.
    #[serde(default)]
    asymmetric: bool,
}

/// What to send as a test.
#[derive(ToSchema)]
struct TestInput {
    /// Type of the event; `posthaste.test` if absent. Formats that know few types need one of theirs.
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "describes what is read from the raw body")]
    type_name: Option<String>,
    /// The payload; a small sample if absent.
    #[expect(dead_code, reason = "describes what is read from the raw body")]
    data: Option<Value>,
}

/// What came of a test.
#[derive(Serialize, ToSchema)]
#[schema(as = TestReport)]
struct TestView {
    /// Whether the target took it.
    delivered: bool,
    attempt: AttemptView,
}

/// What a test would send.
#[derive(Serialize, ToSchema)]
#[schema(as = TestPreview)]
struct PreviewView {
    /// Request line and headers, one a line, secrets masked and what is new in each request in braces; empty where HTTP plays no part.
    request: String,
    /// The body; bytes that are not UTF-8 are replaced.
    body: String,
}

fn status_name(status: TargetStatus) -> &'static str {
    match status {
        TargetStatus::Active => "active",
        TargetStatus::Paused => "paused",
        TargetStatus::Disabled => "disabled",
    }
}

/// Puts the stored secrets back where a client sent the mask, and refuses a mask that stands for nothing.
fn unmask(settings: &mut Value, old: Option<&Target>) -> Result<(), Problem> {
    for pointer in old.iter().flat_map(|old| &old.secret_settings) {
        if let (Some(new), Some(stored)) = (settings.pointer_mut(pointer), old.and_then(|old| old.settings.pointer(pointer)))
            && new.as_str() == Some(MASK)
        {
            *new = stored.clone();
        }
    }
    match find_mask(settings, "settings") {
        Some(field) => Err(Problem::invalid(field, "this is the mask of a secret, and there is no stored secret to keep")),
        None => Ok(()),
    }
}

fn find_mask(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::String(text) => (text == MASK).then(|| path.to_owned()),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| find_mask(item, &format!("{path}[{index}]"))),
        Value::Object(map) => map.iter().find_map(|(name, item)| find_mask(item, &format!("{path}.{name}"))),
        _ => None,
    }
}

/// What `status` takes.
const STATUSES: &[&str] = &["active", "paused", "disabled"];

impl Crud for Target {
    type Input = TargetInput;
    type View = TargetView;
    const NOUN: &'static str = "target";
    const LIST: List = List::Targets;
    const READ_ONLY: &'static [&'static str] = &["status", "status_reason", "signing", "managed_by"];
    const FILTERS: &'static [Param] = &[
        Param::new("status", ParamKind::OneOf(STATUSES), "Only with one of these statuses."),
        Param::new("channel", ParamKind::Text, "Only of this channel."),
    ];
    const VOLATILE: &'static [&'static str] = &["health"];
    const DELETION: &'static [Param] = &[Param::new(
        "subscriptions",
        ParamKind::Flag,
        "`true` deletes the subscriptions to it as well, all in one step. Without it a target that has some is refused.",
    )];

    fn search_text(&self) -> &str {
        &self.name
    }

    fn fits(&self, params: &Params) -> Result<bool, Problem> {
        let wanted = params.words("status", STATUSES)?;
        let is_wanted = wanted.is_empty() || wanted.contains(&status_name(self.status));
        Ok(is_wanted && params.text("channel").is_none_or(|channel| channel == self.channel))
    }

    fn input(&self) -> TargetInput {
        TargetInput {
            name: self.name.clone(),
            channel: self.channel.clone(),
            settings: self.settings.clone(),
            policy: self.policy.clone(),
            secret: None,
        }
    }

    fn build(state: &AppState, mut input: TargetInput, old: Option<&Entry<Self>>) -> Result<Self, Problem> {
        unmask(&mut input.settings, old.map(|old| &old.doc))?;
        let signing = match (old, input.secret) {
            (Some(_), Some(_)) => return Err(Problem::invalid("secret", "an existing target gets a new secret through rotate-secret")),
            (Some(old), None) => old.doc.signing.clone(),
            (None, given) => {
                // Channels that take messages have no signature.
                let signs =
                    state.engine.channels().get(&input.channel).is_some_and(|channel| channel.takes(posthaste_channels::ContentKind::Wire));
                let secret = given.or_else(|| signs.then(|| new_secret(false)));
                let key = |secret| SigningKey { secret, created_ms: state.engine.now_ms(), expires_ms: None };
                secret.map(key).into_iter().collect()
            }
        };
        Ok(Self {
            name: input.name,
            channel: input.channel,
            settings: input.settings,
            secret_settings: old.map(|old| old.doc.secret_settings.clone()).unwrap_or_default(),
            signing,
            policy: input.policy,
            status: old.map(|old| old.doc.status).unwrap_or_default(),
            status_reason: old.and_then(|old| old.doc.status_reason.clone()),
            dialect: old.and_then(|old| old.doc.dialect.clone()),
        })
    }

    async fn remove(state: &AppState, workspace: i64, id: &str, params: &Params) -> Result<(), Problem> {
        if !params.flag("subscriptions")? {
            return Ok(state.engine.delete::<Self>(workspace, id).await?);
        }
        let target = id.to_owned();
        let plan = move |desk: &Desk<'_>| {
            let users = desk.list::<Subscription>().into_iter().filter(|entry| entry.doc.target_id == target);
            Ok(users.map(|entry| Edit::delete(entry.id.as_str())).chain([Edit::delete(target.as_str())]).collect())
        };
        Ok(state.engine.edit(workspace, plan).await?)
    }

    async fn view(state: &AppState, entry: &Entry<Self>) -> TargetView {
        let mut input = entry.doc.input();
        for pointer in &entry.doc.secret_settings {
            if let Some(secret) = input.settings.pointer_mut(pointer) {
                *secret = Value::String(MASK.to_owned());
            }
        }
        TargetView {
            id: entry.id.clone(),
            input,
            status: status_name(entry.doc.status),
            status_reason: entry.doc.status_reason.clone(),
            health: Health::of(state.engine.health(entry.number).await, entry.doc.status, state.engine.now_ms()),
            signing: in_use(&state.engine, &entry.doc).map(SigningView::of).collect(),
            managed_by: entry.doc.dialect.as_ref().map(ManagedBy::of),
            meta: Meta::of(entry),
        }
    }
}

/// The secrets that sign now.
fn in_use<'t>(engine: &Engine, target: &'t Target) -> impl Iterator<Item = &'t SigningKey> {
    let now_ms = engine.now_ms();
    target.signing.iter().filter(move |key| key.expires_ms.is_none_or(|until| until > now_ms))
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("targets", "Where messages go.");
    api.add(
        Op::post("/targets", "createTarget", "Create")
            .scope(Scope::Manage)
            .body::<TargetInput>()
            .answer::<CreatedTarget>(StatusCode::CREATED, "It is in force."),
        create,
    );
    crud::routes::<Target>(
        api,
        &Family {
            all: "/targets",
            one: "/targets/{id}",
            ids: ["listTargets", "readTarget", "replaceTarget", "changeTarget", "deleteTarget"],
        },
    );
    api.add(
        Op::post("/targets/{id}/pause", "pauseTarget", "Hold its deliveries")
            .about("Nothing is lost; attempts under way finish.")
            .scope(Scope::Manage)
            .optional_body::<PauseInput>()
            .answer::<TargetView>(StatusCode::OK, "It is paused."),
        pause,
    );
    api.add(
        Op::post("/targets/{id}/resume", "resumeTarget", "Let its deliveries flow again, gently")
            .about("From paused and from disabled.")
            .scope(Scope::Manage)
            .answer::<TargetView>(StatusCode::OK, "It is active."),
        resume,
    );
    api.add(
        Op::post("/targets/{id}/test", "testTarget", "Send a sample once and report exactly what came back")
            .about("Nothing is stored, and no retry follows.")
            .scope(Scope::Manage)
            .optional_body::<TestInput>()
            .answer::<TestView>(StatusCode::OK, "What came of it, good or bad."),
        test,
    );
    api.add(
        Op::post("/targets/{id}/preview", "previewTargetTest", "Show what a test would send")
            .scope(Scope::Manage)
            .optional_body::<TestInput>()
            .answer::<PreviewView>(StatusCode::OK, "The request; nothing was sent."),
        preview,
    );
    api.add(
        Op::get("/targets/{id}/outcomes", "readTargetOutcomes", "Tell how its deliveries end")
            .scope(Scope::Read)
            .answer::<Outcomes>(StatusCode::OK, "The status."),
        outcomes,
    );
    api.add(
        Op::get("/targets/{id}/secret", "readTargetSecret", "Read the signing secret")
            .scope(Scope::Manage)
            .answer::<TargetSecret>(StatusCode::OK, "The secret."),
        secret,
    );
    api.add(
        Op::post("/targets/{id}/rotate-secret", "rotateTargetSecret", "Give it a new signing secret")
            .about("The old one goes on signing beside the new one for a day.")
            .scope(Scope::Manage)
            .optional_body::<RotateInput>()
            .answer::<TargetSecret>(StatusCode::OK, "The new secret."),
        rotate,
    );
}

async fn create(State(state): State<AppState>, Manager(caller): Manager, Input(input): Input<TargetInput>) -> Result<Response, Problem> {
    let doc = Target::build(&state, input, None)?;
    let entry = state.by(&caller).engine.create(caller.workspace(), doc).await?;
    let secret = entry.doc.signing.first().map(|key| key.secret.clone());
    let created = CreatedTarget { view: Target::view(&state, &entry).await, secret };
    Ok(with_etag(json(StatusCode::CREATED, &created), entry.version))
}

async fn pause(
    State(state): State<AppState>,
    Manager(caller): Manager,
    Id(id): Id,
    OptionalInput(input): OptionalInput<PauseInput>,
) -> Result<Response, Problem> {
    crud::find::<Target>(&state, caller.workspace(), &id)?;
    let reason = input.reason.unwrap_or_else(|| format!("paused by hand with {}", caller.actor().id().unwrap_or("the console")));
    if reason.chars().count() > 1000 {
        return Err(Problem::invalid("reason", "at most 1,000 characters"));
    }
    let entry = state.by(&caller).engine.pause(caller.workspace(), &id, &reason).await?;
    Ok(shown(&state, StatusCode::OK, &*entry).await)
}

async fn resume(State(state): State<AppState>, Manager(caller): Manager, Id(id): Id) -> Result<Response, Problem> {
    crud::find::<Target>(&state, caller.workspace(), &id)?;
    let entry = state.by(&caller).engine.resume(caller.workspace(), &id).await?;
    Ok(shown(&state, StatusCode::OK, &*entry).await)
}

async fn test(
    State(state): State<AppState>,
    Manager(caller): Manager,
    Id(id): Id,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    crud::find::<Target>(&state, caller.workspace(), &id)?;
    let sample = sample(&body)?;
    let report = state.engine.test_target(caller.workspace(), &id, sample).await?;
    Ok(json(StatusCode::OK, &TestView { delivered: report.delivered, attempt: AttemptView::of(&report.attempt, None) }))
}

/// The sample that the body of a request for a test describes.
fn sample(body: &[u8]) -> Result<Sample, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(Sample::default());
    }
    check_json(body)?;
    let fields = raw_fields(body, &["type", "data"])?;
    let type_name = match fields.get("type").map(|raw| parse_field("type", raw)).transpose()? {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if (1..=255).contains(&name.chars().count()) => Some(name),
        Some(_) => return Err(Problem::invalid("type", "must be a text of 1 to 255 characters")),
    };
    Ok(Sample { type_name, data: fields.get("data").map(Bytes::copy_from_slice) })
}

async fn preview(
    State(state): State<AppState>,
    Manager(caller): Manager,
    Id(id): Id,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    crud::find::<Target>(&state, caller.workspace(), &id)?;
    let preview = state.engine.preview_test(caller.workspace(), &id, sample(&body)?).await?;
    Ok(json(StatusCode::OK, &PreviewView { request: preview.request, body: String::from_utf8_lossy(&preview.body).into_owned() }))
}

/// How far back a failure counts.
const FAILED_FOR_MS: i64 = 24 * 3600 * 1000;
/// Deliveries waiting for another attempt among which one that failed is looked for.
const MAX_WAITING: usize = 200;

async fn outcomes(State(state): State<AppState>, Reader(caller): Reader, Id(id): Id) -> Result<Response, Problem> {
    let entry = crud::find::<Target>(&state, caller.workspace(), &id)?;
    let newest = |states: &[DeliveryState], limit: usize, from_ms: Option<i64>| {
        let filter = DeliveryFilter { targets: Some(vec![entry.number]), states: Some(states.to_vec()), type_name: None };
        let range = Range { order: Order::Desc, after: None, limit, from_ms, to_ms: None };
        state.engine.history().deliveries(entry.workspace, filter, range)
    };
    let since_ms = Some(state.engine.now_ms() - FAILED_FOR_MS);
    let is_failing = !newest(&[DeliveryState::Failed], 1, since_ms).await?.is_empty()
        || newest(&[DeliveryState::Scheduled], MAX_WAITING, since_ms).await?.iter().any(|delivery| delivery.attempts > 0);
    let status = if is_failing {
        "failed"
    } else if newest(&[DeliveryState::Delivered, DeliveryState::Failed], 1, None).await?.is_empty() {
        "pending"
    } else {
        "ok"
    };
    Ok(json(StatusCode::OK, &Outcomes { status }))
}

fn secret_view(engine: &Engine, id: &str, target: &Target) -> Result<TargetSecret, Problem> {
    let mut keys = in_use(engine, target);
    let current = keys.next().ok_or_else(|| Problem::not_found("signing secret of the target", id))?;
    let previous = keys.map(SigningView::of).collect();
    Ok(TargetSecret { secret: current.secret.clone(), current: SigningView::of(current), previous })
}

async fn secret(State(state): State<AppState>, Manager(caller): Manager, Id(id): Id) -> Result<Response, Problem> {
    let entry = crud::find::<Target>(&state, caller.workspace(), &id)?;
    Ok(json(StatusCode::OK, &secret_view(&state.engine, &id, &entry.doc)?))
}

async fn rotate(
    State(state): State<AppState>,
    Manager(caller): Manager,
    Id(id): Id,
    OptionalInput(input): OptionalInput<RotateInput>,
) -> Result<Response, Problem> {
    crud::find::<Target>(&state, caller.workspace(), &id)?;
    let entry = state.by(&caller).engine.rotate_secret(caller.workspace(), &id, input.secret, input.asymmetric).await?;
    Ok(json(StatusCode::OK, &secret_view(&state.engine, &id, &entry.doc)?))
}
