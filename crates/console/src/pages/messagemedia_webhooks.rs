//! MessageMedia's webhooks, with the editor of their templates (MessageMedia 3, 6 and 8), through the vendor's own API. What a webhook would
//! send is asked of its target.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::{Method, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::webhooks::{self, vendor_problem};
use crate::api::{Api, Failure, segment};
use crate::form::{Draft, Form};
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Head, Page, Tone, errors, fold, submit};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/webhooks/messagemedia", get(list))
        .route("/webhooks/messagemedia/new", get(new).post(create))
        .route("/webhooks/messagemedia/{id}", get(show))
        .route("/webhooks/messagemedia/{id}/edit", get(edit).post(save))
        .route("/webhooks/messagemedia/{id}/delete", get(ask).post(delete))
}

const HERE: &str = "/console/webhooks/messagemedia";
const API: &str = "/v1/webhooks/messages";
/// What deleting does.
const DELETE: &str = "Nothing is sent there any more, and what waits to be tried again goes too.";

const METHODS: [Choice<'static>; 5] = [
    Choice::new("POST", "POST"),
    Choice::new("PUT", "PUT"),
    Choice::new("PATCH", "PATCH"),
    Choice::new("DELETE", "DELETE"),
    Choice::new("GET", "GET"),
];
const ENCODINGS: [Choice<'static>; 3] = [Choice::new("JSON", "JSON"), Choice::new("FORM_ENCODED", "Form"), Choice::new("XML", "XML")];

/// An event with a sample of it: its name, the type and the payload's members.
type Sample = (&'static str, &'static str, &'static str);

/// The events in their groups.
const EVENTS: [(&str, &[Sample]); 3] = [
    (
        "Messages that come in",
        &[
            (
                "RECEIVED_SMS",
                "message.received",
                r#""channel":"sms","sender":"+61491570156","recipient":"+61491593156","text":"Hello Derpina""#,
            ),
            ("OPT_OUT_SMS", "message.unsubscribed", r#""channel":"sms","sender":"+61491593156","recipient":"+61491570156","text":"STOP""#),
        ],
    ),
    (
        "MMS",
        &[("RECEIVED_MMS", "message.received", r#""channel":"mms","sender":"+61491570156","recipient":"+61491593156","text":"A picture""#)],
    ),
    (
        "Delivery reports",
        &[
            ("ENROUTE_DR", "message.accepted", REPORT),
            ("SUBMITTED_DR", "message.sent", REPORT),
            ("DELIVERED_DR", "message.delivered", REPORT),
            ("EXPIRED_DR", "message.failed", r#""channel":"sms","recipient":"+61491570156","text":"Hi Derp","status_code":"401""#),
            ("REJECTED_DR", "message.failed", r#""channel":"sms","recipient":"+61491570156","text":"Hi Derp","status_code":"402""#),
            ("FAILED_DR", "message.failed", r#""channel":"sms","recipient":"+61491570156","text":"Hi Derp","status_code":"400""#),
        ],
    ),
];
const REPORT: &str = r#""channel":"sms","recipient":"+61491570156","text":"Hi Derp""#;

/// Variables of templates: what they hold, their names, and the classes of events that have them.
const VARIABLES: [(&str, &str, &str); 17] = [
    ("Message id", "$mtId", "all"),
    ("Delivery report id", "$drId", "reports"),
    ("Reply id", "$moId", "SMS and MMS in"),
    ("Notification id", "$notificationId", "opt-outs"),
    ("Status", "$status", "reports"),
    ("Status code", "$statusCode", "reports"),
    ("Source address", "$sourceAddress", "all"),
    ("Destination", "$destinationAddress", "all but reports"),
    ("Text that was sent", "$mtContent", "all but opt-outs"),
    ("Text of the reply", "$moContent", "all but reports"),
    ("Metadata", "$metadata.get('key')", "all"),
    ("Message time", "$submittedTimestamp", "all but opt-outs"),
    ("Provider time", "$receivedTimestamp", "all"),
    ("Service type", "$format", "all"),
    ("Account", "$accountId", "all"),
    ("Vendor", "$vendorId", "reports"),
    ("Attachments", "$attachments", "MMS in"),
];

#[derive(Debug, Deserialize)]
struct Webhook {
    id: String,
    url: String,
    method: String,
    #[serde(default)]
    encoding: String,
    #[serde(default)]
    headers: Map<String, Value>,
    events: Vec<String>,
    template: Option<String>,
    read_timeout: Option<u64>,
    #[serde(default)]
    retries: u64,
    retry_delay: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct All {
    page_data: Vec<Webhook>,
}

/// Calls the vendor's API. Its refusals name the field as their first word.
async fn call(api: &Api, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes, Failure> {
    let (status, bytes) = api.vendor(method, path, "application/json", body.map(|body| body.to_string().into())).await?;
    if status.is_success() {
        return Ok(bytes);
    }
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let detail = answer["message"].as_str().unwrap_or("the server refused it").to_owned();
    let first = detail.split([' ', '.', '[']).next().unwrap_or_default();
    let known = ["url", "method", "encoding", "headers", "events", "template", "read_timeout", "retries", "retry_delay"];
    let named = known.into_iter().find(|name| first.eq_ignore_ascii_case(name)).map(str::to_owned);
    let field = named.or_else(|| (status == StatusCode::CONFLICT).then(|| "url".to_owned()));
    Err(vendor_problem(status, detail, field))
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(Failure::unreadable)
}

fn path_of(id: &str) -> String {
    format!("{API}/{}", segment(id))
}

async fn find(api: &Api, id: &str) -> Result<Webhook, Failure> {
    read(&call(api, Method::GET, &path_of(id), None).await?)
}

async fn list(seat: Seat) -> Answer {
    let page: usize = seat.query.text("page").parse().unwrap_or(0);
    let all: All = read(&call(&seat.api, Method::GET, &format!("{API}?page={page}&pageSize=100"), None).await?)?;
    let heads = [Head::new("URL"), Head::opt("Encoding"), Head::new("Events")];
    let rows = html! {
        @for one in &all.page_data {
            tr {
                td { a.main-link href=(format!("{HERE}/{}", segment(&one.id))) { (one.method) " " (one.url) } }
                td.opt { (one.encoding) }
                td.small { (one.events.join(", ")) }
            }
        }
    };
    let content = html! {
        (webhooks::tabs("MessageMedia"))
        section.panel-box {
            @if all.page_data.is_empty() {
                (ui::empty("webhooks", "No webhook yet", "A MessageMedia webhook hears of replies and delivery reports, in the form that your template gives them.",
                    html! { a.button.primary href={ (HERE) "/new" } { "Create Webhook" } }))
            } @else { (ui::table("messagemedia", "Webhooks", &heads, rows)) }
        }
        @if all.page_data.len() == 100 || page > 0 {
            nav.row aria-label="Pages" {
                @if page > 0 { a.button.slim href=(format!("{HERE}?page={}", page - 1)) { "Page before" } }
                @if all.page_data.len() == 100 { a.button.slim href=(format!("{HERE}?page={}", page + 1)) { "Next page" } }
            }
        }
    };
    let actions = ui::button_link(&format!("{HERE}/new"), "primary", "plus", "Create Webhook", true);
    let lede = html! { "Replies and delivery reports in MessageMedia's form, or in your own." };
    Ok(Page::new("Webhooks", "/console/webhooks").lede(lede).actions(actions).show(&seat, content))
}

fn frame<'a>(title: &'a str, crumbs: &[(&'a str, &'a str)]) -> Page<'a> {
    let way: Vec<(&str, &str)> =
        [("Webhooks", "/console/webhooks"), ("MessageMedia", HERE)].into_iter().chain(crumbs.iter().copied()).collect();
    Page::new(title, "/console/webhooks").under(&way)
}

fn variables() -> Markup {
    let rows = html! {
        @for (what, name, classes) in &VARIABLES { tr { td { (what) } td { code { (name) } } td.small { (classes) } } }
    };
    let heads = [Head::new("What"), Head::new("Variable"), Head::new("Events")];
    fold(
        false,
        html! { "Variables" },
        html! {
            (ui::table("variables", "Variables of templates", &heads, rows))
            p.small.muted { "Put texts through " code { "$esc.json(…)" } ", " code { "$esc.xml(…)" } " or " code { "$esc.url(…)" } ": values are inserted as they are." }
        },
    )
}

fn form_page(seat: &Seat, draft: &Draft, status: StatusCode, id: Option<&str>) -> Response {
    let page = id.map(|id| format!("{HERE}/{}", segment(id)));
    let action = page.as_ref().map_or_else(|| format!("{HERE}/new"), |page| format!("{page}/edit"));
    let back = page.as_deref().unwrap_or(HERE);
    let content = html! {
        form.form method="post" action=(action) {
            (ui::csrf(&seat.csrf)) (errors(draft))
            @if id.is_some() { input type="hidden" name="version" value=(draft.text("version")); }
            (ui::section("Where to", html! {
                (Field::text(draft, "url", "URL").mono().required().focus().placeholder("https://example.com/replies").hint("May hold variables of the template, such as ?reply=$moContent."))
                div.pair {
                    (Field::select(draft, "method", "Method", &METHODS))
                    (Field::select(draft, "encoding", "Encoding", &ENCODINGS))
                }
                (Field::area(draft, "headers", "Headers", 2).mono().optional().hint("One on a line, as Name: value. The encoding sets Content-Type."))
            }))
            (ui::section("Events", html! {
                div.groups {
                    @for (group, events) in &EVENTS {
                        @let choices: Vec<Choice<'_>> = events.iter().map(|(name, ..)| Choice::new(name, name)).collect();
                        (ui::check_group(draft, "events", group, &choices))
                    }
                }
                (ui::group_error(draft, "events"))
            }))
            (ui::section("Template", html! {
                (Field::code(draft, "template", "Body (Velocity)", 10).hint("The default form of each event if this is empty. What it makes of a sample is shown once it is saved."))
                (variables())
            }))
            @if id.is_none() {
                (fold(["read_timeout", "retries", "retry_delay"].iter().any(|name| draft.error(name).is_some()), html! { "Time limit and retries" }, html! {
                    p.small.muted { "These cannot be changed later." }
                    div.pair {
                        (Field::input(draft, "read_timeout", "Time for an attempt, in ms", "number").optional())
                        (Field::input(draft, "retries", "Retries", "number").optional())
                        (Field::input(draft, "retry_delay", "Seconds between", "number").optional())
                    }
                }))
            }
            div.actions { (submit(if id.is_some() { "Save" } else { "Create" })) a.button.quiet href=(back) { "Cancel" } }
        }
    };
    let title = if id.is_some() { "Edit Webhook" } else { "Create Webhook" };
    let way: Vec<(&str, &str)> = page.iter().map(|page| ("Webhook", page.as_str())).collect();
    frame(title, &way).narrow().status(status).show(seat, content)
}

fn document(form: &Form, is_new: bool) -> Value {
    let is_whole = |group: &str| form.all("events_groups").any(|name| name == group);
    let is_ticked = |event: &str| form.all("events").any(|name| name == event);
    let of_group = |(group, events): &(&'static str, &'static [Sample])| {
        let whole = is_whole(group);
        events.iter().map(|(name, ..)| *name).filter(|name| whole || is_ticked(name)).collect::<Vec<_>>()
    };
    let events: Vec<&str> = EVENTS.iter().flat_map(of_group).collect();
    let headers = form.named_lines("headers", ':');
    let mut wanted = json!({
        "url": form.text("url"), "method": form.text("method"), "encoding": form.text("encoding"), "events": events, "headers": headers,
    });
    // A browser ends lines with CR LF.
    let template = form.raw("template").replace("\r\n", "\n");
    if !template.trim().is_empty() {
        wanted["template"] = template.into();
    } else if !is_new {
        // An empty one takes away what there was.
        wanted["template"] = "".into();
    }
    for name in ["read_timeout", "retries", "retry_delay"].into_iter().filter(|_| is_new) {
        if let Some(text) = form.given(name) {
            wanted[name] = text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from);
        }
    }
    wanted
}

async fn new(seat: Seat) -> Answer {
    let draft = Draft::new().set("method", "POST").set("encoding", "JSON");
    Ok(form_page(&seat, &draft, StatusCode::OK, None))
}

async fn create(Post { seat, form }: Post) -> Answer {
    match call(&seat.api, Method::POST, API, Some(&document(&form, true))).await {
        Ok(bytes) => {
            let made: Webhook = read(&bytes)?;
            Ok(go(&Flash::Created.to(&format!("{HERE}/{}", segment(&made.id)))))
        }
        Err(failure) => Ok(form_page(&seat, &Draft::from(form).refused(&failure), StatusCode::UNPROCESSABLE_ENTITY, None)),
    }
}

fn draft_of(webhook: Webhook) -> Draft {
    let headers: Vec<String> =
        webhook.headers.iter().map(|(name, value)| format!("{name}: {}", value.as_str().unwrap_or_default())).collect();
    let draft = Draft::new()
        .set("url", webhook.url)
        .set("method", webhook.method)
        .set("encoding", webhook.encoding)
        .set("headers", headers.join("\n"))
        .set("template", webhook.template.unwrap_or_default());
    webhook.events.into_iter().fold(draft, |draft, event| draft.and("events", event))
}

async fn edit(seat: Seat, Path(id): Path<String>) -> Answer {
    let draft = draft_of(find(&seat.api, &id).await?).versioned();
    Ok(form_page(&seat, &draft, StatusCode::OK, Some(&id)))
}

async fn save(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let saved = match Draft::check_version(&draft_of(find(&seat.api, &id).await?), &form) {
        Ok(()) => call(&seat.api, Method::PATCH, &path_of(&id), Some(&document(&form, false))).await,
        Err(failure) => Err(failure),
    };
    match saved {
        Ok(_) => Ok(go(&Flash::Saved.to(&format!("{HERE}/{}", segment(&id))))),
        Err(failure) => Ok(form_page(&seat, &Draft::from(form).refused(&failure), StatusCode::UNPROCESSABLE_ENTITY, Some(&id))),
    }
}

#[derive(Deserialize)]
struct TargetHead {
    id: String,
    managed_by: Option<Managed>,
}

#[derive(Deserialize)]
struct Managed {
    dialect: String,
    id: Option<String>,
}

/// Id of the target of a webhook.
async fn target_of(api: &Api, id: &str) -> Result<Option<String>, Failure> {
    let targets: Vec<TargetHead> = api.all("/targets?channel=webhook&limit=1000").await?;
    let is_it =
        |managed: &Managed| managed.dialect == "messagemedia" && managed.id.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(id));
    Ok(targets.into_iter().find(|target| target.managed_by.as_ref().is_some_and(is_it)).map(|target| target.id))
}

#[derive(Deserialize)]
struct Preview {
    request: String,
    body: String,
}

/// What the webhook makes of a sample of each of its events.
async fn previews(seat: &Seat, webhook: &Webhook, target: &str) -> Result<Markup, Failure> {
    let mut shown = Vec::new();
    let samples = EVENTS.iter().flat_map(|(_, events)| events.iter()).filter(|(name, ..)| webhook.events.iter().any(|event| event == name));
    for (name, type_name, data) in samples {
        let sample = format!(r#"{{"type":"{type_name}","data":{{"message_id":"877c19ef-fa2e-4cec-827a-e1df9b5509f7",{data}}}}}"#);
        let preview: Result<Preview, Failure> = seat.api.post_text(&format!("/targets/{}/preview", segment(target)), sample).await;
        let content = match preview {
            Ok(preview) => ui::code("request", &format!("{}\n\n{}", preview.request, preview.body)),
            Err(failure) if failure.status().is_client_error() => ui::notice(Tone::Bad, html! { (failure) }),
            Err(failure) => return Err(failure),
        };
        shown.push((*name, content));
    }
    Ok(html! { @for (at, (name, content)) in shown.iter().enumerate() { (fold(at == 0, html! { (name) }, html! { (content) })) } })
}

async fn show(seat: Seat, Path(id): Path<String>) -> Answer {
    let webhook = find(&seat.api, &id).await?;
    let page = format!("{HERE}/{}", segment(&id));
    let target = target_of(&seat.api, &id).await?;
    let time = |text: Option<u64>, unit: &str| text.map_or_else(|| "the server's".to_owned(), |number| format!("{number} {unit}"));
    let content = html! {
        div.columns.main-side {
            div.stack {
                @if let Some(target) = &target { (ui::section("What it sends", previews(&seat, &webhook, target).await?)) }
                @if let Some(template) = &webhook.template { (ui::section("Template", ui::code("template", template))) }
            }
            div.stack {
                (ui::section("Webhook", ui::facts(&[
                    ("Request", html! { (webhook.method) " " code { (webhook.url) } }),
                    ("Encoding", html! { (webhook.encoding) }),
                    ("Events", html! { (webhook.events.join(", ")) }),
                    ("Time limit", html! { (time(webhook.read_timeout, "ms")) }),
                    ("Retries", html! { (webhook.retries) @if webhook.retries > 0 { ", " (time(webhook.retry_delay, "s")) " apart" } }),
                    ("Id", html! { code { (webhook.id) } }),
                ])))
                (ui::section("Danger", html! { div { (ui::confirm(&seat.csrf, &format!("{page}/delete"), "Delete webhook", "Delete this webhook?", DELETE)) } }))
            }
        }
    };
    let actions = html! {
        @if let Some(target) = &target { (ui::button_link(&super::targets::address(target), "", "deliveries", "Delivery log", false)) }
        (ui::button_link(&format!("{page}/edit"), "", "edit", "Edit", false))
    };
    let title = format!("{} {}", webhook.method, webhook.url);
    Ok(frame(&title, &[]).actions(actions).show(&seat, content))
}

async fn ask(seat: Seat, Path(id): Path<String>) -> Answer {
    let page = format!("{HERE}/{}", segment(&id));
    let content = ui::confirm_page(&seat.csrf, &format!("{page}/delete"), "Delete webhook", "Delete this webhook?", DELETE, &page);
    Ok(frame("Delete webhook", &[("Webhook", &page)]).narrow().show(&seat, content))
}

async fn delete(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    call(&seat.api, Method::DELETE, &path_of(&id), None).await?;
    Ok(go(&Flash::Deleted.to(HERE)))
}
