//! Momentum's webhooks: the page of its user interface (Momentum 9), through its own API.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::targets;
use super::webhooks::{self, vendor_problem};
use crate::api::{Api, Failure, Problem, segment};
use crate::form::{Draft, Form};
use crate::query::link;
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Head, Page, Tone, errors, fold, submit};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/webhooks/momentum", get(list))
        .route("/webhooks/momentum/new", get(new).post(create))
        .route("/webhooks/momentum/{id}", get(show))
        .route("/webhooks/momentum/{id}/edit", get(edit).post(save))
        .route("/webhooks/momentum/{id}/test", get(prepare).post(test))
        .route("/webhooks/momentum/{id}/delete", get(ask).post(delete))
}

const HERE: &str = "/console/webhooks/momentum";
const API: &str = "/api/v1/webhooks";
/// What deleting does, and does not.
const DELETE: &str = "No new events are collected for it. Delivery does not stop at once: batches that are queued already are still sent.";

/// A webhook as the vendor's API shows it.
#[derive(Debug, Deserialize)]
struct Webhook {
    id: String,
    name: String,
    target: String,
    events: Vec<String>,
    #[serde(default)]
    auth_token: String,
    #[serde(default)]
    custom_headers: Map<String, Value>,
    auth_type: Option<String>,
    #[serde(default)]
    active: bool,
    last_successful: Option<String>,
    last_failure: Option<String>,
}

/// A batch that failed at least once.
#[derive(Debug, Deserialize)]
struct Batch {
    batch_id: String,
    ts: String,
    attempts: u32,
    response_code: Option<u16>,
    failure_code: Option<u16>,
}

/// A key of an event, its name for people, and what it tells.
type Kind = (String, String, String);

/// The classes of events with their keys and names.
struct Events(Vec<(String, Vec<Kind>)>);

impl Events {
    async fn read(api: &Api) -> Result<Self, Failure> {
        let all: Map<String, Value> = call(api, Method::GET, &format!("{API}/events/documentation"), None).await?;
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let class = |class: &Value| {
            let events = class["events"].as_object().into_iter().flatten();
            let events = events.map(|(key, event)| (key.clone(), text(event, "display_name"), text(event, "description"))).collect();
            (text(class, "display_name"), events)
        };
        Ok(Self(all.values().map(class).collect()))
    }

    fn keys(&self) -> impl Iterator<Item = &Kind> {
        self.0.iter().flat_map(|(_, events)| events)
    }

    /// The names that people read.
    fn labels(&self, chosen: &[String]) -> String {
        if self.keys().all(|(key, ..)| chosen.contains(key)) {
            return "all events".to_owned();
        }
        let label = |key: &String| self.keys().find(|(known, ..)| known == key).map_or(key.clone(), |(_, label, _)| label.clone());
        chosen.iter().map(label).collect::<Vec<_>>().join(", ")
    }

    fn picker(&self, draft: &Draft) -> Markup {
        let modes = [Choice::new("all", "Send all event types"), Choice::new("chosen", "Let me choose event types")];
        html! {
            div.chooser {
                (ui::radios(draft, "which", "Events", &modes))
                div.chosen.groups {
                    @for (class, events) in &self.0 {
                        @let choices: Vec<Choice<'_>> = events.iter().map(|(key, label, _)| Choice::new(key, label)).collect();
                        (ui::check_group(draft, "events", class, &choices))
                    }
                }
                (ui::group_error(draft, "events"))
            }
        }
    }

    fn chosen(&self, form: &Form) -> Vec<String> {
        if form.text("which") != "chosen" {
            return self.keys().map(|(key, ..)| key.clone()).collect();
        }
        let is_whole = |class: &String| form.all("events_groups").any(|name| name == class);
        let is_ticked = |key: &String| form.all("events").any(|name| name == key);
        let of_class = |(class, events): &(String, Vec<Kind>)| {
            let whole = is_whole(class);
            events.iter().filter(|(key, ..)| whole || is_ticked(key)).map(|(key, ..)| key.clone()).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_class).collect()
    }
}

#[derive(Deserialize)]
struct Results<T> {
    results: T,
}

/// Calls the vendor's API; what it refuses becomes a problem at the field that it names.
async fn call<T: DeserializeOwned>(api: &Api, method: Method, path: &str, body: Option<&Value>) -> Result<T, Failure> {
    let bytes = raw(api, method, path, body).await?.map_err(|(status, error)| refused(status, &error))?;
    let read = serde_json::from_slice::<Results<T>>(&bytes);
    read.map(|answer| answer.results).map_err(Failure::unreadable)
}

/// The bytes of an answer, or its status and the first error in it.
async fn raw(api: &Api, method: Method, path: &str, body: Option<&Value>) -> Result<Result<Bytes, (StatusCode, Value)>, Failure> {
    let body = body.map(|body| Bytes::from(body.to_string()));
    let (status, bytes) = api.vendor(method, path, "application/json", body).await?;
    if status.is_success() {
        return Ok(Ok(bytes));
    }
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok(Err((status, answer["errors"][0].clone())))
}

fn refused(status: StatusCode, error: &Value) -> Failure {
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    let detail = match (text("message"), text("description")) {
        (message, "") => message.to_owned(),
        (message, description) => format!("{message}: {description}"),
    };
    // `field 'target' is required`; and a test that failed is about the target, or about where its tokens come from.
    let named = text("description").strip_prefix("field '").and_then(|rest| rest.split('\'').next()).map(str::to_owned);
    let tested = text("message").starts_with("POST to webhook").then(|| {
        let is_tokens = text("message").contains(" tokens ");
        (if is_tokens { "auth_request_details.url" } else { "target" }).to_owned()
    });
    let answer = &error["response"]["status"];
    let detail = if answer.is_null() { detail } else { format!("{detail} (it answered {answer})") };
    vendor_problem(status, detail, named.or(tested))
}

fn path_of(id: &str) -> String {
    format!("{API}/{}", segment(id))
}

async fn find(api: &Api, id: &str) -> Result<Webhook, Failure> {
    call(api, Method::GET, &path_of(id), None).await
}

async fn batches(api: &Api, id: &str) -> Result<Vec<Batch>, Failure> {
    call(api, Method::GET, &format!("{}/batch-status?limit=100", path_of(id)), None).await
}

/// The label of the vendor's page: nothing sent yet, a batch of the last day is failed, or all is well.
fn label(webhook: &Webhook, batches: &[Batch]) -> Markup {
    let is_failed = batches.iter().any(|batch| batch.failure_code.is_some() || batch.response_code.is_none());
    let was_sent = webhook.last_successful.is_some() || webhook.last_failure.is_some();
    targets::outcome(if is_failed {
        "failed"
    } else if was_sent {
        "ok"
    } else {
        "pending"
    })
}

async fn list(seat: Seat) -> Answer {
    let webhooks: Vec<Webhook> = call(&seat.api, Method::GET, API, None).await?;
    let events = Events::read(&seat.api).await?;
    let asked = join_all(webhooks.iter().map(|webhook| batches(&seat.api, &webhook.id))).await;
    let mut cards = Vec::with_capacity(webhooks.len());
    for (webhook, batches) in webhooks.iter().zip(asked) {
        cards.push((webhook, batches?));
    }
    let content = html! {
        (webhooks::tabs("Momentum"))
        @if cards.is_empty() {
            section.panel-box {
                (ui::empty("webhooks", "No webhook yet", "A Momentum webhook gets batches of e-mail events, as the vendor's clients know them.",
                    html! { a.button.primary href={ (HERE) "/new" } { "New Webhook" } }))
            }
        } @else {
            p.small.muted { "As of now; load the page again to see what changed since." }
        }
        @for (webhook, batches) in &cards { (card(webhook, batches, &events)) }
    };
    let actions = ui::button_link(&format!("{HERE}/new"), "primary", "plus", "New Webhook", true);
    let lede = html! { "Batches of e-mail events in Momentum's form." };
    Ok(Page::new("Webhooks", "/console/webhooks").lede(lede).actions(actions).show(&seat, content))
}

fn card(webhook: &Webhook, batches: &[Batch], events: &Events) -> Markup {
    let page = format!("{HERE}/{}", segment(&webhook.id));
    html! {
        section.panel-box {
            header {
                div.row { (label(webhook, batches)) h2 { a.main-link href=(page) { (webhook.name) } } @if !webhook.active { (ui::status("paused")) } }
                (ui::menu(&format!("Actions for {}", webhook.name), "settings", html! {
                    a.item href={ (page) "/edit" } { (ui::icon("edit")) "Edit Configuration" }
                    a.item href={ (page) "/test" } { (ui::icon("send")) "Test Webhook" }
                    a.item.danger href={ (page) "/delete" } { (ui::icon("trash")) "Delete Webhook" }
                }))
            }
            div.body {
                div.mono { (webhook.target) }
                p.small.muted { "Subscribed to: " (events.labels(&webhook.events)) }
            }
        }
    }
}

/// A page below the list.
fn frame<'a>(title: &'a str, crumbs: &[(&'a str, &'a str)]) -> Page<'a> {
    let way: Vec<(&str, &str)> =
        [("Webhooks", "/console/webhooks"), ("Momentum", HERE)].into_iter().chain(crumbs.iter().copied()).collect();
    Page::new(title, "/console/webhooks").under(&way)
}

async fn show(seat: Seat, Path(id): Path<String>) -> Answer {
    let webhook = find(&seat.api, &id).await?;
    let (batches, events) = (batches(&seat.api, &id).await?, Events::read(&seat.api).await?);
    let page = format!("{HERE}/{}", segment(&id));
    let time = |at: Option<&str>| html! { @match at { Some(at) => { (at) " UTC" }, None => "–" } };
    let heads = [Head::new("Last tried"), Head::new("Batch"), Head::num("Failed attempts"), Head::num("Last answer"), Head::new("Now")];
    let rows = html! {
        @for batch in &batches {
            tr {
                td.nowrap { (ui::time(&batch.ts)) }
                td { code { (batch.batch_id) } }
                td.num { (batch.attempts) }
                td.num { @match batch.response_code { Some(code) => (code), None => "none" } }
                td { (ui::status(if batch.failure_code.is_some() || batch.response_code.is_none() { "failed" } else { "delivered" })) }
            }
        }
    };
    let content = html! {
        div.columns.main-side {
            section.panel-box {
                header { h2 { "Batch status" } p { "Batches of the last 24 hours that failed at least once" } }
                @if batches.is_empty() { (ui::empty("ok", "None failed", "Batches that arrive at the first attempt do not appear here.", html! {})) }
                @else { (ui::table("batches", "Batch status", &heads, rows)) }
            }
            div.stack {
                (ui::section("Webhook", ui::facts(&[
                    ("Status", label(&webhook, &batches)),
                    ("Active", html! { (if webhook.active { "yes" } else { "no: batches are held" }) }),
                    ("Target URL", html! { code { (webhook.target) } }),
                    ("Subscribed to", html! { (events.labels(&webhook.events)) }),
                    ("Authentication", html! { (webhook.auth_type.as_deref().unwrap_or("none")) @if !webhook.auth_token.is_empty() { ", with a token in the header" } }),
                    ("Last success", time(webhook.last_successful.as_deref())),
                    ("Last failure", time(webhook.last_failure.as_deref())),
                    ("Id", html! { code { (webhook.id) } }),
                ])))
                (ui::section("Danger", html! { div { (ui::confirm(&seat.csrf, &format!("{page}/delete"), "Delete Webhook", &format!("Delete {}?", webhook.name), DELETE)) } }))
            }
        }
    };
    let actions = html! {
        (ui::button_link(&format!("{page}/test"), "", "send", "Test Webhook", false))
        (ui::button_link(&format!("{page}/edit"), "", "edit", "Edit Configuration", false))
    };
    Ok(frame(&webhook.name, &[]).actions(actions).show(&seat, content))
}

const AUTH: [Choice<'static>; 3] = [Choice::new("none", "None"), Choice::new("basic", "Basic"), Choice::new("oauth2", "OAuth 2")];

fn form_page(seat: &Seat, draft: &Draft, status: StatusCode, events: &Events, webhook: Option<(&str, &str)>) -> Response {
    let page = webhook.map(|(id, _)| format!("{HERE}/{}", segment(id)));
    let action = page.as_ref().map_or_else(|| format!("{HERE}/new"), |page| format!("{page}/edit"));
    let back = page.as_deref().unwrap_or(HERE);
    let given = |name: &str| !draft.text(name).is_empty() || draft.error(name).is_some() || draft.has_below(name);
    let is_open = given("custom_headers") || draft.error("auth_type").is_some() || !matches!(draft.text("auth_type"), "" | "none");
    let content = html! {
        form.form method="post" action=(action) {
            (ui::csrf(&seat.csrf)) (errors(draft))
            @if webhook.is_some() { input type="hidden" name="version" value=(draft.text("version")); }
            (ui::section("Webhook", html! {
                (Field::text(draft, "name", "Webhook Name").required().focus())
                (Field::text(draft, "target", "Target URL").mono().required().placeholder("https://example.com/momentum").hint("A test is sent there before anything is saved; it has to answer 200."))
                (Field::text(draft, "auth_token", "Authentication Token").mono().optional().hint("Sent as X-MessageSystems-Webhook-Token."))
            }))
            (ui::section("Events", events.picker(draft)))
            (fold(is_open, html! { "Headers, outbound authentication" }, html! {
                (Field::area(draft, "custom_headers", "Headers of your own", 3).mono().optional().hint("One on a line, as Name: value; at most five."))
                (Field::select(draft, "auth_type", "Authentication", &AUTH).shows("auth"))
                div.pair data-when-auth="basic" {
                    (Field::text(draft, "auth_credentials.username", "User name").autocomplete("off"))
                    (Field::text(draft, "auth_credentials.password", "Password of the receiver").mono())
                }
                div.form data-when-auth="oauth2" {
                    (Field::text(draft, "auth_request_details.url", "Token URL").mono())
                    (Field::area(draft, "auth_request_details.body", "Form to post there", 4).mono().hint("One field on a line, as name=value."))
                }
            }))
            (ui::tick(draft, "active", "Active", "Switched off, batches wait."))
            div.actions { (submit(if webhook.is_some() { "Update" } else { "Create" })) a.button.quiet href=(back) { "Cancel" } }
        }
    };
    match webhook {
        Some((_, name)) => frame("Edit Webhook", &[(name, back)]).narrow().status(status).show(seat, content),
        None => frame("Create New Webhook", &[]).narrow().status(status).show(seat, content),
    }
}

fn document(form: &Form, events: &Events) -> Value {
    let mut wanted = json!({
        "name": form.text("name"),
        "target": form.text("target"),
        "auth_token": form.text("auth_token"),
        "events": events.chosen(form),
        "custom_headers": form.named_lines("custom_headers", ':'),
        "auth_type": form.given("auth_type").unwrap_or("none"),
        "active": form.is_ticked("active"),
    });
    match form.text("auth_type") {
        "basic" => {
            wanted["auth_credentials"] =
                json!({ "username": form.text("auth_credentials.username"), "password": form.text("auth_credentials.password") });
        }
        "oauth2" => {
            wanted["auth_request_details"] =
                json!({ "url": form.text("auth_request_details.url"), "body": form.named_lines("auth_request_details.body", '=') });
        }
        _ => {}
    }
    wanted
}

fn draft_of(webhook: &Value, events: &Events) -> Draft {
    let text =
        |value: &Value| value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned);
    let lines = |value: &Value, between: &str| {
        let fields = value.as_object().into_iter().flatten();
        fields.map(|(name, value)| format!("{name}{between}{}", text(value))).collect::<Vec<_>>().join("\n")
    };
    let chosen: Vec<String> = webhook["events"].as_array().into_iter().flatten().map(text).collect();
    let is_all = events.keys().all(|(key, ..)| chosen.contains(key));
    let mut draft = Draft::new()
        .set("which", if is_all { "all" } else { "chosen" })
        .set("custom_headers", lines(&webhook["custom_headers"], ": "))
        .set("auth_request_details.body", lines(&webhook["auth_request_details"]["body"], "="))
        .set("auth_request_details.url", text(&webhook["auth_request_details"]["url"]))
        .set("auth_credentials.username", text(&webhook["auth_credentials"]["username"]))
        .set("auth_credentials.password", text(&webhook["auth_credentials"]["password"]))
        .set("active", if webhook["active"] == true { "true" } else { "" });
    for name in ["name", "target", "auth_token", "auth_type"] {
        draft = draft.set(name, text(&webhook[name]));
    }
    if is_all { draft } else { chosen.into_iter().fold(draft, |draft, key| draft.and("events", key)) }
}

async fn new(seat: Seat) -> Answer {
    let events = Events::read(&seat.api).await?;
    let draft = Draft::new().set("which", "all").set("active", "true").set("auth_type", "none");
    Ok(form_page(&seat, &draft, StatusCode::OK, &events, None))
}

#[derive(Deserialize)]
struct Made {
    id: String,
}

async fn create(Post { seat, form }: Post) -> Answer {
    let events = Events::read(&seat.api).await?;
    match call::<Made>(&seat.api, Method::POST, API, Some(&document(&form, &events))).await {
        Ok(_) => Ok(go(&Flash::Created.to(HERE))),
        // The form stays open, with what the test said.
        Err(failure) => Ok(form_page(&seat, &Draft::from(form).refused(&failure), StatusCode::UNPROCESSABLE_ENTITY, &events, None)),
    }
}

async fn edit(seat: Seat, Path(id): Path<String>) -> Answer {
    let events = Events::read(&seat.api).await?;
    let webhook: Value = call(&seat.api, Method::GET, &path_of(&id), None).await?;
    let name = webhook["name"].as_str().unwrap_or_default();
    Ok(form_page(&seat, &draft_of(&webhook, &events).versioned(), StatusCode::OK, &events, Some((&id, name))))
}

async fn save(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let events = Events::read(&seat.api).await?;
    let stored: Value = call(&seat.api, Method::GET, &path_of(&id), None).await?;
    let saved = match Draft::check_version(&draft_of(&stored, &events), &form) {
        Ok(()) => call::<Made>(&seat.api, Method::PUT, &path_of(&id), Some(&document(&form, &events))).await,
        Err(failure) => Err(failure),
    };
    match saved {
        Ok(made) => Ok(go(&Flash::Saved.to(&format!("{HERE}/{}", segment(&made.id))))),
        Err(failure) => {
            let name = stored["name"].as_str().unwrap_or_default();
            let draft = Draft::from(form).refused(&failure);
            Ok(form_page(&seat, &draft, StatusCode::UNPROCESSABLE_ENTITY, &events, Some((&id, name))))
        }
    }
}

/// A batch of one sample, of an event that the webhook wants.
async fn sample(api: &Api, webhook: &Webhook) -> Result<Value, Failure> {
    let path = format!("{API}/events/samples");
    let first = webhook.events.first().map_or("delivery", String::as_str);
    call(api, Method::GET, &link(&path, [("events", first)]), None).await
}

/// The request that a test sends, as HTTP writes it.
fn request(webhook: &Webhook, batch: &Value) -> String {
    let rest = webhook.target.split_once("://").map_or(webhook.target.as_str(), |(_, rest)| rest);
    let (host, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let body = serde_json::to_string_pretty(batch).unwrap_or_default();
    let mut lines = vec![format!("POST {path} HTTP/1.1")];
    if !webhook.auth_token.is_empty() {
        lines.push(format!("X-MessageSystems-Webhook-Token: {}", webhook.auth_token));
    }
    lines.push(format!("Host: {host}"));
    lines.push("Content-Type: application/json".to_owned());
    lines.push("Connection: keep-alive".to_owned());
    lines.push("X-MessageSystems-Batch-ID: {id}".to_owned());
    if let Some(kind) = webhook.auth_type.as_deref().filter(|kind| *kind != "none") {
        lines.push(format!("Authorization: {} {{credentials}}", if kind == "basic" { "Basic" } else { "Bearer" }));
    }
    lines.extend(webhook.custom_headers.iter().map(|(name, value)| format!("{name}: {}", value.as_str().unwrap_or_default())));
    format!("{}\n\n{body}", lines.join("\n"))
}

/// An answer of the target as HTTP writes it.
fn response(answer: &Value) -> String {
    let headers = answer["headers"].as_object().into_iter().flatten();
    let headers: String = headers.map(|(name, value)| format!("{name}: {}\n", value.as_str().unwrap_or_default())).collect();
    format!("HTTP/1.1 {}\n{headers}\n{}", answer["status"], answer["body"].as_str().unwrap_or_default())
}

/// What came of a test: whether it was taken, what is said of it, and the answer if there was one.
struct Outcome {
    is_good: bool,
    words: String,
    answer: Option<String>,
}

fn test_page(seat: &Seat, webhook: &Webhook, batch: &Value, outcome: Option<&Outcome>) -> Response {
    let page = format!("{HERE}/{}", segment(&webhook.id));
    let content = html! {
        (ui::section("Request", ui::code("request", &request(webhook, batch))))
        form.form method="post" action={ (page) "/test" } {
            (ui::csrf(&seat.csrf))
            div.actions { (submit(if outcome.is_some() { "Submit Test again" } else { "Submit Test" })) a.button.quiet href=(page) { "Back" } }
        }
        @if let Some(outcome) = outcome {
            (ui::section("Response", html! {
                (ui::notice(if outcome.is_good { Tone::Ok } else { Tone::Bad }, html! { (outcome.words) }))
                @match &outcome.answer { Some(answer) => (ui::code("response", answer)), None => p.muted { "Nothing came back." } }
            }))
        }
    };
    frame("Test Webhook", &[(webhook.name.as_str(), page.as_str())]).narrow().show(seat, content)
}

async fn prepare(seat: Seat, Path(id): Path<String>) -> Answer {
    let webhook = find(&seat.api, &id).await?;
    let batch = sample(&seat.api, &webhook).await?;
    Ok(test_page(&seat, &webhook, &batch, None))
}

async fn test(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    let webhook = find(&seat.api, &id).await?;
    let batch = sample(&seat.api, &webhook).await?;
    let body = json!({ "message": batch });
    let outcome = match raw(&seat.api, Method::POST, &format!("{}/validate", path_of(&id)), Some(&body)).await? {
        Ok(bytes) => {
            let answer: Value = serde_json::from_slice(&bytes).map_err(Failure::unreadable)?;
            let words = answer["results"]["msg"].as_str().unwrap_or_default().to_owned();
            Outcome { is_good: true, words, answer: Some(response(&answer["results"]["response"])) }
        }
        Err((StatusCode::BAD_REQUEST, error)) => {
            let Problem { detail, .. } = refused(StatusCode::BAD_REQUEST, &error).problem();
            let answer = error.get("response").map(response);
            Outcome { is_good: false, words: detail, answer }
        }
        Err((status, error)) => return Err(refused(status, &error)),
    };
    Ok(test_page(&seat, &webhook, &batch, Some(&outcome)))
}

async fn ask(seat: Seat, Path(id): Path<String>) -> Answer {
    let webhook = find(&seat.api, &id).await?;
    let page = format!("{HERE}/{}", segment(&id));
    let title = format!("Delete {}?", webhook.name);
    let content = ui::confirm_page(&seat.csrf, &format!("{page}/delete"), "Delete Webhook", &title, DELETE, &page);
    Ok(frame("Delete Webhook", &[(webhook.name.as_str(), page.as_str())]).narrow().show(&seat, content))
}

async fn delete(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    match raw(&seat.api, Method::DELETE, &path_of(&id), None).await? {
        Ok(_) => Ok(go(&Flash::Deleted.to(HERE))),
        Err((status, error)) => Err(refused(status, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_at_their_fields() {
        let field = |error: Value| refused(StatusCode::BAD_REQUEST, &error).problem().field;
        let missing = json!({"message": "required field is missing", "code": "1400", "description": "field 'target' is required"});
        assert_eq!(field(missing).as_deref(), Some("target"));
        let tested = json!({"code": 400, "message": "POST to webhook target URL failed", "response": {"status": 500}});
        assert_eq!(refused(StatusCode::BAD_REQUEST, &tested).problem().detail, "POST to webhook target URL failed (it answered 500)");
        assert_eq!(field(tested).as_deref(), Some("target"));
        let tokens = json!({"code": 400, "message": "POST to webhook tokens URL failed", "description": "no"});
        assert_eq!(field(tokens).as_deref(), Some("auth_request_details.url"));
        assert_eq!(field(json!({"message": "Forbidden."})), None);
    }
}
