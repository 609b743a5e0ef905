//! Numbers, kept up to date as things happen and never computed by a search.

use std::collections::HashMap;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use posthaste_domain::clock::rfc3339;
use posthaste_domain::resource::{Bin, EventType, Key, Replay, Scope, Subscription, Target, TargetStatus, TemplateDoc};
use posthaste_engine::{Entry, LaneHealth, Span};
use serde::Serialize;
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::json;
use super::targets::Health;
use crate::AppState;
use crate::auth::Reader;
use crate::input::{Param, ParamKind, Params};
use crate::problem::Problem;

/// Most targets that [`Statistics::troubled`] lists.
const MAX_TROUBLED: usize = 10;

/// What the workspace holds, and what the server has done since it started.
#[derive(Serialize, ToSchema)]
struct Statistics {
    workspace_id: Option<String>,
    /// How many the workspace has.
    resources: Resources,
    /// Over all its targets.
    deliveries: Pending,
    /// How its targets are.
    targets: TargetCounts,
    /// Its targets that are not well, the worst first; at most ten.
    troubled: Vec<TroubledTarget>,
    /// Over all workspaces, since the start.
    server: ServerTotals,
}

#[derive(Serialize, ToSchema)]
struct Resources {
    keys: usize,
    event_types: usize,
    targets: usize,
    templates: usize,
    subscriptions: usize,
    bins: usize,
    replays: usize,
}

#[derive(Serialize, ToSchema)]
struct Pending {
    /// Pending deliveries of active targets, and of deleted ones until they are cancelled.
    queued: u64,
    /// Pending deliveries of paused and disabled targets.
    held: u64,
    /// Attempts under way, and those that ended and are not on disk yet.
    in_flight: u64,
}

#[derive(Serialize, ToSchema)]
struct ServerTotals {
    version: &'static str,
    /// Why it takes no events just now; null if it does.
    not_ready: Option<&'static str>,
    #[schema(format = DateTime)]
    started_at: String,
    /// Events stored.
    accepted: u64,
    /// Attempts made.
    attempts: u64,
    /// Deliveries taken by their targets.
    delivered: u64,
    /// Deliveries given up.
    failed: u64,
    /// Attempts that were followed by another.
    retried: u64,
    /// Bytes of the journal on disk.
    journal_bytes: u64,
}

/// How many targets are in which state.
#[derive(Default, Serialize, ToSchema)]
struct TargetCounts {
    /// They are sent to.
    active: usize,
    /// There is trouble: one try at a time.
    probing: usize,
    /// Somebody paused them.
    paused: usize,
    /// Switched off after failing for too long, or because the receiver said so.
    disabled: usize,
    /// At the limit of their rate; counted in `active` or `probing` too.
    rate_limited: usize,
}

/// A target that is not well.
#[derive(Serialize, ToSchema)]
struct TroubledTarget {
    id: String,
    name: String,
    channel: String,
    /// `probing`, `paused`, `disabled`, or `active` with failures since its last success.
    #[schema(pattern = "^(active|probing|paused|disabled)$")]
    state: String,
    /// Why it is not active.
    reason: Option<String>,
    /// Pending deliveries.
    queued: u64,
    /// Time of receipt of the oldest waiting delivery.
    #[schema(format = DateTime)]
    oldest_at: Option<String>,
    /// Last failure since the server started.
    #[schema(format = DateTime)]
    last_failure_at: Option<String>,
}

/// What happened in the workspace over time.
#[derive(Serialize, ToSchema)]
struct OverTime {
    /// Length of a step.
    step_seconds: i64,
    /// Since when everything was counted, if that is within the range: the steps before it are zero.
    #[schema(format = DateTime)]
    since: Option<String>,
    /// One for each step, ascending; the last one is not over yet.
    points: Vec<SeriesPoint>,
}

/// What happened in one step.
#[derive(Serialize, ToSchema)]
struct SeriesPoint {
    /// Its start.
    #[schema(format = DateTime)]
    at: String,
    /// Events stored.
    accepted: u64,
    /// Deliveries taken by their targets.
    delivered: u64,
    /// Deliveries given up.
    failed: u64,
    /// Attempts that are followed by another.
    retried: u64,
    /// Time from receipt to delivery, the mean of those delivered in this step, in milliseconds.
    mean_lag_ms: f64,
    /// The longest of these.
    longest_lag_ms: u64,
}

const SPANS: &[&str] = &["1h", "24h", "7d", "30d"];

const SERIES: [Param; 1] = [Param::new(
    "over",
    ParamKind::OneOf(SPANS),
    "How far back: `1h` (by the minute) unless given, `24h` (by 15 minutes), `7d` (by the hour), `30d` (by 6 hours).",
)];

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("statistics", "Numbers, kept up to date as things happen and never computed by a search.");
    api.add(
        Op::get("/statistics", "readStatistics", "Read").scope(Scope::Read).answer::<Statistics>(StatusCode::OK, "The numbers."),
        statistics,
    );
    api.add(
        Op::get("/statistics/series", "readSeries", "Read what happened over time")
            .about("Counted as it happens. What happened in the last minute before a crash may be missing here, though not in the log.")
            .scope(Scope::Read)
            .query(&[&SERIES])
            .answer::<OverTime>(StatusCode::OK, "The steps up to now."),
        series,
    );
}

/// Tells the worst apart: disabled, then paused, then failing.
fn severity(state: &str, lane: &LaneHealth) -> u8 {
    match state {
        "disabled" => 4,
        "paused" => 3,
        "probing" => 2,
        _ => u8::from(lane.last_failure_ms > lane.last_success_ms && lane.backlog > 0),
    }
}

fn troubled(target: &Entry<Target>, lane: LaneHealth, now_ms: i64) -> TroubledTarget {
    let reason = target.doc.status_reason.clone();
    let health = Health::of(lane, target.doc.status, now_ms);
    let (id, name, channel) = (target.id.clone(), target.doc.name.clone(), target.doc.channel.clone());
    let Health { state, queued, oldest_at, last_failure_at, .. } = health;
    TroubledTarget { id, name, channel, state, reason, queued, oldest_at, last_failure_at }
}

async fn statistics(State(state): State<AppState>, Reader(caller): Reader) -> Result<Response, Problem> {
    let (engine, workspace) = (&state.engine, caller.workspace());
    let targets = engine.list::<Target>(workspace);
    let now_ms = engine.now_ms();
    let (mut deliveries, mut counts) = (Pending { queued: 0, held: 0, in_flight: 0 }, TargetCounts::default());
    let mut unwell = Vec::new();
    let mut lanes: HashMap<i64, LaneHealth> = engine.health_of_all(workspace).await.into_iter().collect();
    for target in &targets {
        let Some(lane) = lanes.remove(&target.number) else {
            match target.doc.status {
                TargetStatus::Active => counts.active += 1,
                TargetStatus::Paused => counts.paused += 1,
                TargetStatus::Disabled => counts.disabled += 1,
            }
            continue;
        };
        deliveries.in_flight += u64::from(lane.in_flight);
        let shown = match target.doc.status {
            TargetStatus::Active => lane.breaker.as_str(),
            TargetStatus::Paused => "paused",
            TargetStatus::Disabled => "disabled",
        };
        let (count, pending) = match shown {
            "paused" => (&mut counts.paused, &mut deliveries.held),
            "disabled" => (&mut counts.disabled, &mut deliveries.held),
            "probing" => (&mut counts.probing, &mut deliveries.queued),
            _ => (&mut counts.active, &mut deliveries.queued),
        };
        *count += 1;
        *pending += lane.backlog;
        counts.rate_limited += usize::from(lane.limited_until_ms > now_ms);
        let severity = severity(shown, &lane);
        if severity > 0 {
            unwell.push((severity, lane.backlog, target, lane));
        }
    }
    // As in the list of deliveries: nobody holds what a deleted target is still owed.
    for lane in lanes.values() {
        deliveries.in_flight += u64::from(lane.in_flight);
        deliveries.queued += lane.backlog;
    }
    unwell.sort_by_key(|(severity, backlog, ..)| std::cmp::Reverse((*severity, *backlog)));
    let troubled = unwell.into_iter().take(MAX_TROUBLED).map(|(.., target, lane)| troubled(target, lane, now_ms)).collect();
    let totals = engine.totals();
    let view = Statistics {
        workspace_id: engine.id_of(workspace),
        resources: Resources {
            keys: engine.list::<Key>(workspace).len(),
            event_types: engine.list::<EventType>(workspace).len(),
            targets: targets.len(),
            templates: engine.list::<TemplateDoc>(workspace).len(),
            subscriptions: engine.list::<Subscription>(workspace).len(),
            bins: engine.list::<Bin>(workspace).len(),
            replays: engine.list::<Replay>(workspace).len(),
        },
        deliveries,
        targets: counts,
        troubled,
        server: ServerTotals {
            version: env!("CARGO_PKG_VERSION"),
            not_ready: engine.ready().err(),
            started_at: rfc3339(state.started_ms),
            accepted: totals.accepted,
            attempts: totals.attempts,
            delivered: totals.delivered,
            failed: totals.failed,
            retried: totals.retried,
            journal_bytes: engine.history().size().await?.bytes,
        },
    };
    Ok(json(StatusCode::OK, &view))
}

async fn series(State(state): State<AppState>, Reader(caller): Reader, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), &SERIES)?;
    let over = params.words("over", SPANS)?;
    let span = SPANS.iter().position(|word| over.first() == Some(word)).map_or(Span::Hour, |at| Span::ALL[at]);
    let (points, since_ms) = state.engine.series(caller.workspace(), span);
    let is_within = points.first().is_some_and(|first| since_ms > first.at_ms);
    let view = OverTime {
        step_seconds: span.step_ms() / 1000,
        since: is_within.then(|| rfc3339(since_ms)),
        points: points
            .into_iter()
            .map(|point| SeriesPoint {
                at: rfc3339(point.at_ms),
                accepted: point.bucket.accepted,
                delivered: point.bucket.delivered,
                failed: point.bucket.failed,
                retried: point.bucket.retried,
                mean_lag_ms: point.bucket.lag_sum_ms as f64 / point.bucket.delivered.max(1) as f64,
                longest_lag_ms: point.bucket.lag_max_ms,
            })
            .collect(),
    };
    Ok(json(StatusCode::OK, &view))
}
