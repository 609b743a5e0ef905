//! The guide of an empty installation: a key, a first event, watching it arrive, a first target. Each step knows whether it is done, so the
//! guide can be left and found again at any time.

use axum::Router;
use axum::routing::{get, post};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::{inbox, subscriptions};
use crate::api::{Api, Failure, Page as List, segment};
use crate::form::Draft;
use crate::query::link;
use crate::session::{Post, Seat};
use crate::ui::{self, Field, Page, Tone, errors, submit};
use crate::{Answer, Console, go};

/// The event that the guide sends.
const SAMPLE_TYPE: &str = "order.created";
const SAMPLE: &str = "{\n  \"id\": 1001,\n  \"customer\": \"Ada Lovelace\",\n  \"total\": 42.50\n}";

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/start", get(show))
        .route("/start/key", post(make_key))
        .route("/start/event", post(send))
        .route("/start/target", post(make_target))
}

#[derive(Deserialize)]
struct Totals {
    resources: Resources,
}

#[derive(Deserialize)]
struct Resources {
    keys: usize,
    targets: usize,
    subscriptions: usize,
}

/// How far the installation is.
struct Progress {
    resources: Resources,
    events: List<inbox::Event>,
    position: String,
}

async fn progress(seat: &Seat) -> Result<Progress, Failure> {
    let position = inbox::position(seat).await?;
    let totals: Totals = seat.api.get("/statistics").await?;
    let events = seat.api.get("/events?limit=5&deliveries=true").await?;
    Ok(Progress { resources: totals.resources, events, position })
}

/// Whether no event was ever accepted.
pub(super) async fn is_new(seat: &Seat) -> Result<bool, Failure> {
    let events: List<serde::de::IgnoredAny> = seat.api.get("/events?limit=1").await?;
    Ok(events.items.is_empty())
}

async fn show(seat: Seat) -> Answer {
    page(&seat, None, &Draft::new().set("type", SAMPLE_TYPE).set("data", SAMPLE), &Draft::new(), StatusCode::OK).await
}

/// A key that was made a moment ago, which is shown this once.
#[derive(Deserialize)]
struct NewKey {
    token: String,
}

async fn page(seat: &Seat, key: Option<&NewKey>, event: &Draft, target: &Draft, status: StatusCode) -> Answer {
    let Progress { resources, events, position } = progress(seat).await?;
    let (has_event, has_target) = (!events.items.is_empty(), resources.targets > 0 && resources.subscriptions > 0);
    // The key that the first start made counts: the step is done when somebody knows it, or an event came by one.
    let has_key = key.is_some() || resources.keys > 1 || has_event;
    let class = |is_done: bool, is_next: bool| {
        if is_done {
            "done"
        } else if is_next {
            "now"
        } else {
            "later"
        }
    };
    let content = html! {
        ol.steps {
            li.(class(has_key, true)) { div.stack {
                h2 { "Create a key" }
                (key_step(seat, key, has_key))
            } }
            li.(class(has_event, has_key)) { div.stack {
                h2 { "Send a first event" }
                p.muted { "Any JSON document is an event. Send this one from here, or from a shell:" }
                (ui::curl(&send_line(seat, key.map(|key| key.token.as_str()))))
                (ui::fold(!has_event, html! { "Send it from this page" }, html! {
                    form.form method="post" action="/console/start/event" {
                        (ui::csrf(&seat.csrf)) (errors(event))
                        (Field::text(event, "type", "Type").mono().required())
                        (Field::code(event, "data", "Payload (JSON)", 6).required())
                        div.actions { (submit("Send the event")) }
                    }
                }))
            } }
            li.(class(has_event, has_event)) { div.stack {
                div.row.apart { h2 { "Watch it arrive" } (ui::live_sign()) }
                (inbox::live_list(&events.items, "/console/inbox/live", &position, 5))
                @if !has_event { p.muted data-empty-of="inbox" { "Nothing yet. This list is live: what you send appears here by itself." } }
            } }
            li.(class(has_target, has_event)) { div.stack {
                h2 { "Attach a first target" }
                @if has_target {
                    p { "Events now go to a target. " a href="/console/targets" { "See all targets" } " or go on to the " a href="/console/overview" { "overview" } "." }
                } @else {
                    p.muted { "A target is where events go. A webhook is the simplest: every event is sent to its URL. No receiver at hand? Leave the URL empty, and a request bin of this server takes them." }
                    form.form method="post" action="/console/start/target" {
                        (ui::csrf(&seat.csrf)) (errors(target))
                        (Field::input(target, "settings.url", "Webhook URL", "url").placeholder("https://example.com/hook").optional().mono())
                        div.actions { (submit("Attach the target")) }
                    }
                }
            } }
        }
    };
    let page = Page::new("Getting started", "/console/overview").narrow().status(status);
    Ok(page
        .lede(html! { "Four steps from an empty server to a delivered event. " a href="/console/overview" { "Skip to the overview" } })
        .show(seat, content))
}

fn key_step(seat: &Seat, key: Option<&NewKey>, has_key: bool) -> Markup {
    html! {
        @if let Some(key) = key {
            (ui::notice(Tone::Ok, html! { "Copy it now: it is shown this once." }))
            (ui::secret("key", &key.token))
        } @else if !seat.is_admin() {
            p.muted { "Keys are made by administrators; ask one for a key that may publish." }
        } @else {
            p.muted { "Programs show a key when they send events. This one may publish and read, and nothing else." }
            form method="post" action="/console/start/key" {
                (ui::csrf(&seat.csrf))
                button.button.(if has_key { "" } else { "primary" }) type="submit" { (ui::icon("keys")) @if has_key { "Create another key" } @else { "Create a key" } }
            }
        }
    }
}

/// The line that sends the sample from a shell.
fn send_line(seat: &Seat, token: Option<&str>) -> String {
    let data = SAMPLE.replace("\n  ", " ").replace('\n', " ");
    format!(
        "curl {}/posthaste/v1/events \\\n  -H 'Authorization: Bearer {}' \\\n  -H 'Content-Type: application/json' \\\n  -d '{{\"type\": \"{SAMPLE_TYPE}\", \"data\": {data}}}'",
        seat.base_url,
        token.unwrap_or("YOUR_KEY")
    )
}

async fn make_key(Post { seat, .. }: Post) -> Answer {
    let wanted = json!({"kind": "private", "description": "First key, made by the guide", "scopes": ["publish", "read"]});
    let key: NewKey = seat.api.post("/keys", &wanted).await?;
    page(&seat, Some(&key), &Draft::new().set("type", SAMPLE_TYPE).set("data", SAMPLE), &Draft::new(), StatusCode::OK).await
}

async fn send(Post { seat, form }: Post) -> Answer {
    match inbox::publish(&seat, form.text("type"), form.raw("data"), None).await {
        Ok(_) => Ok(go("/console/start")),
        Err(failure) => page(&seat, None, &Draft::from(form).refused(&failure), &Draft::new(), StatusCode::UNPROCESSABLE_ENTITY).await,
    }
}

async fn make_target(Post { seat, form }: Post) -> Answer {
    match attach(&seat, form.given("settings.url")).await {
        Ok(()) => Ok(go("/console/start")),
        Err(failure) => {
            let event = Draft::new().set("type", SAMPLE_TYPE).set("data", SAMPLE);
            page(&seat, None, &event, &Draft::from(form).refused(&failure), StatusCode::UNPROCESSABLE_ENTITY).await
        }
    }
}

/// The name of the bin that the guide makes.
const BIN: &str = "First bin";

#[derive(Deserialize)]
struct Bin {
    id: String,
    name: String,
    url: String,
}

/// The URL of the guide's bin. One that an earlier attempt has left is taken again.
async fn bin(api: &Api) -> Result<String, Failure> {
    let known: List<Bin> = api.get(&link("/bins", [("search", BIN)])).await?;
    match known.items.into_iter().find(|bin| bin.name == BIN) {
        // From now on it lives as long as a new one.
        Some(Bin { id, .. }) => Ok(api.patch::<Bin>(&format!("/bins/{}", segment(&id)), &json!({"expires_in": "48h"})).await?.url),
        None => Ok(api.post::<Bin>("/bins", &json!({"name": BIN})).await?.url),
    }
}

/// A webhook that gets every event; without a URL it goes to a request bin.
async fn attach(seat: &Seat, url: Option<&str>) -> Result<(), Failure> {
    let (name, url) = match url {
        Some(url) => ("First webhook", url.to_owned()),
        None => (BIN, bin(&seat.api).await?),
    };
    let target = json!({"name": name, "channel": "webhook", "settings": {"url": url}});
    let about = Some(("description", "Made by the guide: every event"));
    subscriptions::with_target(&seat.api, vec!["*".to_owned()], target, about).await.map(drop)
}
