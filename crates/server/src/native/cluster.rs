//! The nodes that share a database: who lives, who holds what, and how much waits where.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use posthaste_domain::clock::rfc3339;
use posthaste_domain::resource::Scope;
use posthaste_store::NodeInfo;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::json;
use super::workspaces::is_operator;
use crate::AppState;
use crate::auth::Admin;
use crate::codes::Code;
use crate::problem::Problem;

/// A node.
#[derive(Serialize, ToSchema)]
struct Node {
    /// Its number. A node that begins anew has a new one.
    number: i64,
    /// What it is called.
    name: String,
    /// `living`, or `gone`: it stopped, or its silence was too long.
    state: &'static str,
    /// Whether it is the one that answers.
    answers: bool,
    /// Its release.
    release: String,
    /// When it began.
    started_at: String,
    /// How long ago it said that it lives, in milliseconds.
    silent_ms: i64,
    /// Its address, as it says itself.
    url: Option<String>,
    /// Leases that it holds.
    leases: Leases,
    /// Version of the configuration that it works with.
    configuration: Option<i64>,
    /// Deliveries that wait here.
    pending: Option<u64>,
    /// Attempts under way here.
    in_flight: Option<u64>,
    /// How long the delivery waits that could have been sent and waits longest, in milliseconds.
    waiting_ms: Option<i64>,
}

/// Leases of a node. Each is an eighth of all targets.
#[derive(Serialize, ToSchema)]
struct Leases {
    /// Of what it accepted itself.
    own: u32,
    /// Of what nodes accepted that are gone.
    taken_over: u32,
    /// As the one that sends to targets with an order, or with few places.
    owner: u32,
}

/// All nodes.
#[derive(Serialize, ToSchema)]
struct Nodes {
    /// Whether this server shares a database with others, or could.
    is_shared: bool,
    /// Nodes that live.
    living: u32,
    /// By number; empty for a server with a data directory of its own.
    items: Vec<Node>,
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("cluster", "The nodes that share a database.");
    api.add(
        Op::get("/cluster", "listNodes", "List the nodes")
            .about("Only for administrators of the first workspace. Numbers of what waits are what each node said last, at most some seconds ago.")
            .scope(Scope::Admin)
            .answer::<Nodes>(StatusCode::OK, "All nodes."),
        list,
    );
}

async fn list(State(state): State<AppState>, Admin(caller): Admin) -> Result<Response, Problem> {
    if !is_operator(&state, &caller) {
        return Err(Problem::new(Code::ScopeMissing, "only administrators of the first workspace see the nodes"));
    }
    let items = match state.engine.cluster() {
        Some(cluster) => cluster.nodes().await?.into_iter().map(node).collect(),
        None => Vec::new(),
    };
    let nodes = Nodes { is_shared: state.engine.cluster().is_some(), living: state.engine.living_nodes(), items };
    Ok(json(StatusCode::OK, &nodes))
}

fn node(info: NodeInfo) -> Node {
    let NodeInfo { node, name, release, started_ms, silent_ms, is_gone, is_own, claims: [own, taken_over, owner], catalog, report } = info;
    let report: Value = serde_json::from_str(&report).unwrap_or_default();
    let number = |name: &str| report.get(name).and_then(Value::as_u64).filter(|_| !is_gone);
    Node {
        number: node,
        name,
        state: if is_gone { "gone" } else { "living" },
        answers: is_own,
        release,
        started_at: rfc3339(started_ms),
        silent_ms,
        url: report.get("url").and_then(Value::as_str).map(str::to_owned),
        leases: Leases { own, taken_over, owner },
        configuration: (catalog != i64::MAX).then_some(catalog),
        pending: number("pending"),
        in_flight: number("in_flight"),
        waiting_ms: number("waiting_ms").and_then(|waiting| i64::try_from(waiting).ok()),
    }
}
