//! Request bins as resources.

use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use posthaste_domain::clock::rfc3339;
use posthaste_domain::id;
use posthaste_domain::resource::{Bin, Scope};
use posthaste_engine::Entry;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::crud::{self, Crud, Family, Meta, shown};
use crate::AppState;
use crate::auth::{Manager, Reader};
use crate::bins::{BinRequestView, REQUESTS, bin_url, caught_list};
use crate::codes::Code;
use crate::cursor::List;
use crate::input::{Id, Input, Params, parse_length};
use crate::problem::Problem;

/// How long a bin lives unless told otherwise.
const DEFAULT_LIFE: Duration = Duration::from_secs(48 * 3600);
/// How long a bin may live at most, from its last change on.
const MAX_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// A request bin as clients write it.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BinInput {
    /// Free text.
    #[serde(default)]
    name: String,
    /// Status that it answers with.
    #[serde(default = "ok")]
    #[schema(minimum = 200, maximum = 599, default = 200)]
    status: u16,
    /// How long it lives from now on, such as `48h`, at most `30d`. Without it a new bin lives 48 hours, and an old one as long as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    expires_in: Option<String>,
}

fn ok() -> u16 {
    200
}

/// A request bin.
#[derive(Serialize, ToSchema)]
#[schema(as = Bin)]
pub(crate) struct BinView {
    id: String,
    #[serde(flatten)]
    input: BinInput,
    /// Send anything here, or below it.
    url: String,
    /// Look here with a browser; with `.json` behind it, with a program.
    look_url: String,
    /// When it and what it caught go away.
    #[schema(format = DateTime)]
    expires_at: String,
    #[serde(flatten)]
    meta: Meta,
}

impl Crud for Bin {
    type Input = BinInput;
    type View = BinView;
    const NOUN: &'static str = "bin";
    const LIST: List = List::Bins;
    const READ_ONLY: &'static [&'static str] = &["url", "look_url", "expires_at"];

    fn search_text(&self) -> &str {
        &self.name
    }

    fn input(&self) -> BinInput {
        BinInput { name: self.name.clone(), status: self.status, expires_in: None }
    }

    fn build(state: &AppState, input: BinInput, old: Option<&Entry<Self>>) -> Result<Self, Problem> {
        if input.name.chars().count() > 255 || input.name.chars().any(char::is_control) {
            return Err(Problem::invalid("name", "at most 255 characters, none of them a control character"));
        }
        let life = match input.expires_in.as_deref() {
            None => None,
            Some(text) => Some(
                parse_length(text)
                    .filter(|life| (Duration::from_secs(1)..=MAX_LIFE).contains(life))
                    .ok_or_else(|| Problem::invalid("expires_in", "expected a length of time such as 48h, from 1s to 30d"))?,
            ),
        };
        let expires_ms = match (life, old) {
            (None, Some(old)) => old.doc.expires_ms,
            (life, _) => state.engine.now_ms() + life.unwrap_or(DEFAULT_LIFE).as_millis() as i64,
        };
        let token = old.map_or_else(random_token, |old| old.doc.token.clone());
        Ok(Self { name: input.name, token, expires_ms, status: input.status })
    }

    async fn view(state: &AppState, entry: &Entry<Self>) -> BinView {
        let url = bin_url(&state.engine.settings().public_base_url, entry);
        BinView {
            id: entry.id.clone(),
            input: entry.doc.input(),
            look_url: format!("{url}/_"),
            url,
            expires_at: rfc3339(entry.doc.expires_ms),
            meta: Meta::of(entry),
        }
    }
}

/// 26 unguessable characters.
fn random_token() -> String {
    id::token("b", rand::random()).split_off(2)
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("bins", "Places that catch requests and show them, for trying things out.");
    api.add(
        Op::post("/bins", "createBin", "Create")
            .scope(Scope::Manage)
            .body::<BinInput>()
            .answer::<BinView>(StatusCode::CREATED, "It takes requests."),
        create,
    );
    crud::routes::<Bin>(
        api,
        &Family { all: "/bins", one: "/bins/{id}", ids: ["listBins", "readBin", "replaceBin", "changeBin", "deleteBin"] },
    );
    api.add(
        Op::get("/bins/{id}/requests", "listBinRequests", "List what it caught, newest first")
            .scope(Scope::Read)
            .query(&[&REQUESTS])
            .page_of::<BinRequestView>(),
        requests,
    );
    api.add(
        Op::delete("/bins/{id}/requests", "clearBin", "Drop what it caught")
            .scope(Scope::Manage)
            .empty(StatusCode::NO_CONTENT, "It is empty."),
        clear,
    );
}

async fn create(State(state): State<AppState>, Manager(caller): Manager, Input(input): Input<BinInput>) -> Result<Response, Problem> {
    let doc = Bin::build(&state, input, None)?;
    let entry = state.by(&caller).engine.create(caller.workspace(), doc).await?;
    Ok(shown(&state, StatusCode::CREATED, &*entry).await)
}

async fn requests(
    State(state): State<AppState>,
    Reader(caller): Reader,
    Id(id): Id,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), &REQUESTS)?;
    let bin = living(&state, caller.workspace(), &id)?;
    caught_list(&state, &bin, &params).await
}

fn living(state: &AppState, workspace: i64, id: &str) -> Result<std::sync::Arc<Entry<Bin>>, Problem> {
    let bin = crud::find::<Bin>(state, workspace, id)?;
    if bin.doc.expires_ms <= state.engine.now_ms() {
        return Err(Problem::new(Code::BinExpired, format!("this request bin expired at {}", rfc3339(bin.doc.expires_ms))));
    }
    Ok(bin)
}

async fn clear(State(state): State<AppState>, Manager(caller): Manager, Id(id): Id) -> Result<StatusCode, Problem> {
    let bin = crud::find::<Bin>(&state, caller.workspace(), &id)?;
    state.engine.bins().clear(bin.number).await?;
    Ok(StatusCode::NO_CONTENT)
}
