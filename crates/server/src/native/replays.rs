//! Bulk replays: past deliveries sent again, behind live traffic.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode};
use posthaste_domain::clock::{parse_rfc3339, rfc3339};
use posthaste_domain::resource::{OneRequest, Replay, ReplayState, Scope};
use posthaste_domain::signature::hex;
use posthaste_engine::Entry;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::crud::{self, Crud, LIST, Meta, list_entries, shown};
use super::events::{REPLAYED, idempotency};
use super::json;
use crate::AppState;
use crate::auth::{Manager, Reader};
use crate::codes::Code;
use crate::cursor::List;
use crate::input::{Id, Input, JsonBytes, Params, parse_json, read_value};
use crate::problem::Problem;

/// What to replay. Every field may be left out.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayInput {
    /// Only deliveries to this target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_id: Option<String>,
    /// Only events of exactly this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    /// Deliveries in these states: `failed` unless given; `delivered`, `cancelled`.
    #[serde(default = "failed")]
    #[schema(default = json!(["failed"]))]
    states: Vec<String>,
    /// Events received at or after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Events received before this; now if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    to: Option<String>,
}

fn failed() -> Vec<String> {
    vec!["failed".to_owned()]
}

/// A replay and how far it got.
#[derive(Serialize, ToSchema)]
#[schema(as = Replay)]
pub(crate) struct ReplayView {
    id: String,
    #[serde(flatten)]
    input: ReplayInput,
    /// `running`, `done` or `cancelled`.
    #[schema(pattern = "^(running|done|cancelled)$")]
    state: &'static str,
    /// How many deliveries there were to look at when it began; null if there were too many to count.
    total: Option<u64>,
    /// Deliveries looked at.
    scanned: u64,
    /// Deliveries sent again.
    resent: u64,
    #[serde(flatten)]
    meta: Meta,
}

/// What a replay has before it.
#[derive(Serialize, ToSchema)]
struct ReplayCount {
    /// Deliveries that fit. Messages that this server sends itself are among them, and are sent again only when their carrier is named.
    count: u64,
    /// Whether that is all; counting ends after some tens of thousands.
    is_all: bool,
}

impl Crud for Replay {
    type Input = ReplayInput;
    type View = ReplayView;
    const NOUN: &'static str = "replay";
    const LIST: List = List::Replays;

    fn search_text(&self) -> &str {
        self.event_type.as_deref().unwrap_or_default()
    }

    fn input(&self) -> ReplayInput {
        ReplayInput {
            target_id: self.target_id.clone(),
            event_type: self.event_type.clone(),
            states: self.states.clone(),
            from: Some(rfc3339(self.from_ms)),
            to: Some(rfc3339(self.to_ms)),
        }
    }

    fn build(state: &AppState, input: ReplayInput, _: Option<&Entry<Self>>) -> Result<Self, Problem> {
        let time = |field: &'static str, text: Option<String>, default: i64| match text {
            None => Ok(default),
            Some(text) => {
                parse_rfc3339(&text).ok_or_else(|| Problem::invalid(field, "expected an RFC 3339 time such as 2026-11-21T12:00:00Z"))
            }
        };
        if input.states.is_empty() {
            return Err(Problem::invalid("states", "at least one of failed, delivered, cancelled"));
        }
        Ok(Self {
            from_ms: time("from", input.from, 0)?,
            // What arrives while the job runs is not its business.
            to_ms: time("to", input.to, state.engine.now_ms() + 1)?,
            target_id: input.target_id,
            event_type: input.event_type,
            states: input.states,
            state: ReplayState::Running,
            total: None,
            scanned: 0,
            resent: 0,
            position: 0,
            request: None,
        })
    }

    async fn view(_: &AppState, entry: &Entry<Self>) -> ReplayView {
        ReplayView {
            id: entry.id.clone(),
            input: entry.doc.input(),
            state: match entry.doc.state {
                ReplayState::Running => "running",
                ReplayState::Done => "done",
                ReplayState::Cancelled => "cancelled",
            },
            total: entry.doc.total,
            scanned: entry.doc.scanned,
            resent: entry.doc.resent,
            meta: Meta::of(entry),
        }
    }
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("replays", "Jobs that send past deliveries again, behind live traffic.");
    api.add(
        Op::post("/replays", "createReplay", "Start")
            .about("Deliveries keep their ids; their schedules begin anew. The job survives restarts.")
            .scope(Scope::Manage)
            .header(
                "Idempotency-Key",
                "1 to 255 visible ASCII characters. Starts it once: the same key and body give the replay that was started, as it is now, marked with \
                 `Idempotent-Replayed: true`; another body is refused (422).",
            )
            .body::<ReplayInput>()
            .answer::<ReplayView>(StatusCode::CREATED, "It runs."),
        create,
    );
    api.add(
        Op::post("/replays/count", "countReplay", "Count what a replay would look at")
            .about("Nothing is sent.")
            .scope(Scope::Read)
            .body::<ReplayInput>()
            .answer::<ReplayCount>(StatusCode::OK, "The count."),
        count,
    );
    api.add(Op::get("/replays", "listReplays", "List").scope(Scope::Read).query(&[&LIST]).page_of::<ReplayView>(), list);
    api.add(
        Op::get("/replays/{id}", "readReplay", "Read one, with its progress")
            .scope(Scope::Read)
            .answer::<ReplayView>(StatusCode::OK, "The replay."),
        read,
    );
    api.add(
        Op::post("/replays/{id}/cancel", "cancelReplay", "Stop")
            .about("What was sent again stays sent.")
            .scope(Scope::Manage)
            .answer::<ReplayView>(StatusCode::OK, "It stops."),
        cancel,
    );
}

async fn create(
    State(state): State<AppState>,
    Manager(caller): Manager,
    headers: HeaderMap,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    let request = idempotency(&headers, &body)?.map(|one| OneRequest { key: one.key, body_hash: hex(&one.body_hash) });
    let doc = Replay { request, ..Replay::build(&state, read_value(parse_json(&body)?)?, None)? };
    let started = state.by(&caller).engine.start_replay(caller.workspace(), doc).await?;
    let mut response = shown(&state, StatusCode::CREATED, &*started.entry).await;
    if started.replayed {
        response.headers_mut().insert(&REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn count(State(state): State<AppState>, Reader(caller): Reader, Input(input): Input<ReplayInput>) -> Result<Response, Problem> {
    let doc = Replay::build(&state, input, None)?;
    let (count, is_all) = state.engine.count_replay(caller.workspace(), doc).await?;
    Ok(json(StatusCode::OK, &ReplayCount { count, is_all }))
}

async fn list(State(state): State<AppState>, Reader(caller): Reader, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), &LIST)?;
    list_entries(&state, &params, state.engine.list::<Replay>(caller.workspace())).await
}

async fn read(State(state): State<AppState>, Reader(caller): Reader, Id(id): Id) -> Result<Response, Problem> {
    Ok(shown(&state, StatusCode::OK, &*crud::find::<Replay>(&state, caller.workspace(), &id)?).await)
}

async fn cancel(State(state): State<AppState>, Manager(caller): Manager, Id(id): Id) -> Result<Response, Problem> {
    let entry = crud::find::<Replay>(&state, caller.workspace(), &id)?;
    if entry.doc.state != ReplayState::Running {
        return Err(Problem::new(Code::WrongState, "the replay is finished"));
    }
    let entry = state.by(&caller).engine.cancel_replay(caller.workspace(), &id).await?;
    Ok(shown(&state, StatusCode::OK, &*entry).await)
}
