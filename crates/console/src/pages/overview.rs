//! How things are: what came in and went out over time, what is waiting, which targets are in trouble.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;

use crate::api::{Api, Failure, segment};
use crate::query::link;
use crate::session::Seat;
use crate::ui::{self, Chart, ChartKind, Head, Page, Series, Tone, count, duration_ms};
use crate::{Answer, Console, live};

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/overview", get(show)).route("/overview/live", get(watch))
}

/// Ranges of the charts: the API's word and the tab's name.
const RANGES: [(&str, &str); 4] = [("1h", "Last hour"), ("24h", "24 hours"), ("7d", "7 days"), ("30d", "30 days")];

#[derive(Deserialize)]
struct Statistics {
    deliveries: Pending,
    targets: TargetCounts,
    resources: Resources,
    troubled: Vec<Troubled>,
    server: Server,
}

#[derive(Deserialize)]
struct Resources {
    targets: usize,
}

#[derive(Deserialize)]
struct Pending {
    queued: u64,
    held: u64,
    in_flight: u64,
}

#[derive(Deserialize)]
struct TargetCounts {
    active: usize,
    probing: usize,
    paused: usize,
    disabled: usize,
    rate_limited: usize,
}

#[derive(Deserialize)]
struct Troubled {
    id: String,
    name: String,
    channel: String,
    state: String,
    reason: Option<String>,
    queued: u64,
    oldest_at: Option<String>,
    last_failure_at: Option<String>,
}

#[derive(Deserialize)]
struct Server {
    version: String,
    started_at: String,
    journal_bytes: u64,
    not_ready: Option<String>,
}

#[derive(Deserialize)]
struct OverTime {
    step_seconds: u64,
    since: Option<String>,
    points: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {
    at: String,
    accepted: u64,
    delivered: u64,
    failed: u64,
    retried: u64,
    longest_lag_ms: u64,
    mean_lag_ms: f64,
}

fn range(seat: &Seat) -> &'static str {
    let wanted = seat.query.text("over");
    RANGES.iter().map(|(word, _)| *word).find(|word| *word == wanted).unwrap_or("1h")
}

async fn show(seat: Seat) -> Answer {
    let over = range(&seat);
    let live = link("/console/overview/live", [("over", over)]);
    let tabs: Vec<(&str, String)> = RANGES.iter().map(|(word, name)| (*name, seat.query.with("over", Some(word)))).collect();
    let current = RANGES.iter().find(|(word, _)| *word == over).map_or("", |(_, name)| name);
    let content = html! {
        (ui::tabs("Range of the charts", current, &tabs))
        div.stack sse-connect=(live) sse-swap="part" { (part(&seat.api, over).await?) }
    };
    Ok(Page::new("Overview", "/console/overview").actions(ui::live_sign()).show(&seat, content))
}

async fn watch(State(console): State<Console>, seat: Seat) -> Response {
    let over = range(&seat);
    live::watch(&console, seat, move |seat| async move { part(&seat.api, over).await.map(Into::into) }).await
}

/// Everything below the tabs: the live part.
async fn part(api: &Api, over: &str) -> Result<Markup, Failure> {
    let now: Statistics = api.get("/statistics").await?;
    let past: OverTime = api.get(&link("/statistics/series", [("over", over)])).await?;
    let sum = |of: fn(&Point) -> u64| past.points.iter().map(of).sum::<u64>();
    let delivered = sum(|point| point.delivered);
    let failed = sum(|point| point.failed);
    let lag = past.points.iter().map(|point| point.mean_lag_ms * point.delivered as f64).sum::<f64>() / delivered.max(1) as f64;
    let times: Vec<String> = past.points.iter().map(|point| point.at.clone()).collect();
    let values = |of: fn(&Point) -> f64| past.points.iter().map(of).collect::<Vec<f64>>();
    let chart = |title: &'static str, kind, series: &[Series<'_>], format| Chart { title, kind, times: &times, series, format }.show();
    let number: fn(f64) -> String = |value| if value.fract() == 0.0 { count(value as u64) } else { format!("{value:.1}") };
    let accepted_chart = chart(
        "Accepted events",
        ChartKind::Bars,
        &[Series { name: "Accepted", values: values(|point| point.accepted as f64), colour: 0 }],
        number,
    );
    let delivered_chart = chart(
        "Deliveries that ended",
        ChartKind::Bars,
        &[
            Series { name: "Delivered", values: values(|point| point.delivered as f64), colour: 1 },
            Series { name: "Failed", values: values(|point| point.failed as f64), colour: 2 },
        ],
        number,
    );
    let retried_chart = chart(
        "Failed attempts that are tried again",
        ChartKind::Bars,
        &[Series { name: "Retried", values: values(|point| point.retried as f64), colour: 3 }],
        number,
    );
    let lag_chart = chart(
        "Lag: from receipt to delivery",
        ChartKind::Lines,
        &[
            Series { name: "Mean", values: values(|point| point.mean_lag_ms), colour: 0 },
            Series { name: "Longest", values: values(|point| point.longest_lag_ms as f64), colour: 3 },
        ],
        duration_ms,
    );
    let waiting = now.deliveries.queued;
    Ok(html! {
        (notices(&now))
        (ui::tiles(&[
            ("Accepted", html! { (count(sum(|point| point.accepted))) " " small { "events" } }, accepted_chart),
            ("Delivered", html! { (count(delivered)) @if failed > 0 { " " small.bad { (count(failed)) " failed" } } }, delivered_chart),
            ("Retried", html! { (count(sum(|point| point.retried))) " " small { "attempts" } }, retried_chart),
            ("Lag", html! { (duration_ms(lag)) " " small { "mean" } }, lag_chart),
        ]))
        div.columns {
            (ui::section("Now", html! { (ui::facts(&[
                ("Waiting", html! { a href="/console/deliveries?state=queued" { (count(waiting)) } " deliveries" }),
                ("Held", html! { a href="/console/deliveries?state=held" { (count(now.deliveries.held)) } " of paused or disabled targets" }),
                ("Under way", html! { (count(now.deliveries.in_flight)) " attempts" }),
                ("Targets", html! { (count(now.targets.active as u64)) " active"
                    @if now.targets.probing > 0 { ", " (now.targets.probing) " probing" }
                    @if now.targets.paused > 0 { ", " (now.targets.paused) " paused" }
                    @if now.targets.disabled > 0 { ", " (now.targets.disabled) " disabled" } }),
                ("Journal", html! { (ui::bytes(now.server.journal_bytes)) " on disk" }),
                ("Server", html! { "Version " (now.server.version) ", started " (ui::ago(&now.server.started_at)) }),
            ])) }))
            section.panel-box {
                header { h2 { "Targets in trouble" } a.small href="/console/targets" { "All targets" } }
                (troubled(&now.troubled))
            }
        }
        p.small.muted {
            "Each bar is " (duration_ms(past.step_seconds as f64 * 1000.0)) "."
            @if let Some(since) = &past.since { " Counted since " (ui::full_time(since)) "." }
        }
    })
}

fn notices(now: &Statistics) -> Markup {
    let many = |count: usize, one: &str, more: &str| if count == 1 { format!("1 target {one}") } else { format!("{count} targets {more}") };
    html! {
        @if let Some(reason) = &now.server.not_ready { (ui::standing(Tone::Bad, html! { strong { "No events are accepted: " } (reason) "." })) }
        @if now.resources.targets == 0 {
            (ui::standing(Tone::Info, html! { "Nothing is attached yet: events are stored and go nowhere. " a href="/console/start" { "Attach a first target" } "." }))
        }
        @if now.targets.disabled > 0 {
            (ui::standing(Tone::Bad, html! { a href="/console/targets?status=disabled" { (many(now.targets.disabled, "is disabled", "are disabled")) } ": what was owed is held until somebody resumes it, and events that come meanwhile are not for it." }))
        }
        @if now.targets.paused > 0 {
            (ui::standing(Tone::Warn, html! { a href="/console/targets?status=paused" { (many(now.targets.paused, "is paused", "are paused")) } ". Deliveries are held." }))
        }
        @if now.targets.rate_limited > 0 {
            (ui::standing(Tone::Info, html! { (many(now.targets.rate_limited, "is", "are")) " at the limit of its rate: deliveries wait their turn." }))
        }
    }
}

fn troubled(targets: &[Troubled]) -> Markup {
    if targets.is_empty() {
        return ui::empty("ok", "All is well", "No target is failing, paused or disabled.", html! {});
    }
    let heads = [Head::new("Target"), Head::new("State"), Head::num("Waiting"), Head::opt("Oldest"), Head::opt("Last failure")];
    let rows = html! {
        @for target in targets {
            tr {
                td {
                    a.main-link href=(format!("/console/targets/{}", segment(&target.id))) { (target.name) }
                    div.small.muted { (target.channel) @if let Some(reason) = &target.reason { ": " (reason) } }
                }
                td { (ui::status(&target.state)) }
                td.num { (count(target.queued)) }
                td.opt { @if let Some(at) = &target.oldest_at { (ui::ago(at)) } @else { "–" } }
                td.opt { @if let Some(at) = &target.last_failure_at { (ui::ago(at)) } @else { "–" } }
            }
        }
    };
    html! { div.body.flush { (ui::table("troubled", "Targets in trouble", &heads, rows)) } }
}
