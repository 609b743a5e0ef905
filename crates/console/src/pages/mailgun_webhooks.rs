//! Mailgun's domain webhooks: up to three URLs for each of eight names, and the test call (Mailgun 5 and 6), through the vendor's own API.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::{Method, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::webhooks::{self, vendor_problem};
use crate::api::{Api, Failure, segment};
use crate::form::{Draft, Form};
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Head, Page, Tone, errors, submit};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/webhooks/mailgun", get(show))
        .route("/webhooks/mailgun/{domain}/{name}", get(edit).post(save))
        .route("/webhooks/mailgun/{domain}/{name}/test", get(prepare).post(test))
        .route("/webhooks/mailgun/{domain}/{name}/delete", get(ask).post(delete))
}

const HERE: &str = "/console/webhooks/mailgun";
/// URLs that a name has at most.
const URLS: [&str; 3] = ["url.1", "url.2", "url.3"];
const FORM: &str = "application/x-www-form-urlencoded";

/// The names, and when they fire.
const NAMES: [Choice<'static>; 8] = [
    Choice::new("accepted", "Accepted").with_hint("The server took the message."),
    Choice::new("delivered", "Delivered").with_hint("The recipient's server took it."),
    Choice::new("opened", "Opened").with_hint("The recipient opened it."),
    Choice::new("clicked", "Clicked").with_hint("The recipient followed a link."),
    Choice::new("unsubscribed", "Unsubscribed").with_hint("The recipient wants no more."),
    Choice::new("complained", "Complained").with_hint("The recipient called it spam."),
    Choice::new("permanent_fail", "Permanent failure").with_hint("It was given up."),
    Choice::new("temporary_fail", "Temporary failure").with_hint("It is tried again."),
];

#[derive(Deserialize)]
struct Domain {
    name: String,
}

fn label(name: &str) -> &str {
    NAMES.iter().find(|known| known.value == name).map_or(name, |known| known.label)
}

fn page_of(domain: &str, name: &str) -> String {
    format!("{HERE}/{}/{}", segment(domain), segment(name))
}

fn path_of(domain: &str, name: &str) -> String {
    format!("/v3/domains/{}/webhooks/{}", segment(domain), segment(name))
}

/// Calls the vendor's API with a form; what it refuses is about the URLs. Of several it does not say which.
async fn call(api: &Api, method: Method, path: &str, fields: &[(&str, &str)]) -> Result<Value, Failure> {
    let body = (!fields.is_empty()).then(|| Bytes::from(form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()));
    let (status, bytes) = api.vendor(method, path, FORM, body).await?;
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status.is_success() {
        return Ok(answer);
    }
    let said = ["message", "Reason", "reason"].iter().find_map(|name| answer[name].as_str());
    let detail = said.map_or_else(|| String::from_utf8_lossy(&bytes).into_owned(), str::to_owned);
    let is_of_one = fields.iter().filter(|(name, _)| *name == "url").count() == 1;
    let field = (status == StatusCode::BAD_REQUEST && is_of_one).then(|| URLS[0].to_owned());
    Err(vendor_problem(status, detail, field))
}

async fn all(api: &Api, domain: &str) -> Result<Value, Failure> {
    Ok(call(api, Method::GET, &format!("/v3/domains/{}/webhooks", segment(domain)), &[]).await?["webhooks"].clone())
}

fn urls(webhooks: &Value, name: &str) -> Vec<String> {
    webhooks[name]["urls"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

async fn show(seat: Seat) -> Answer {
    let domains: Vec<Domain> = seat.api.all("/domains?limit=1000&order=asc").await?;
    let wanted = seat.query.text("domain");
    let domain = domains.iter().find(|domain| domain.name == wanted).or(domains.first());
    let choices: Vec<Choice<'_>> = domains.iter().map(|domain| Choice::new(&domain.name, &domain.name)).collect();
    let draft = Draft::new().set("domain", domain.map_or("", |domain| &domain.name));
    let content = html! {
        (webhooks::tabs("Mailgun"))
        @match domain {
            None => section.panel-box {
                (ui::empty("domains", "No domain yet", "Mailgun's webhooks belong to a domain that mail is sent from.", html! { a.button.primary href="/console/domains" { "To the domains" } }))
            },
            Some(domain) => {
                @if choices.len() > 1 { (ui::filters("Choose the domain", html! { (Field::select(&draft, "domain", "Domain", &choices).submits()) }, None)) }
                section.panel-box { (table(&domain.name, &all(&seat.api, &domain.name).await?)) }
            },
        }
    };
    let lede = html! { "What became of each message, in Mailgun's form" @if let Some(domain) = domain { ", for mail from " strong { (domain.name) } } "." };
    Ok(Page::new("Webhooks", "/console/webhooks").lede(lede).show(&seat, content))
}

fn table(domain: &str, webhooks: &Value) -> Markup {
    let heads = [Head::new("Event"), Head::new("URLs"), Head::actions()];
    let rows = html! {
        @for name in &NAMES {
            @let page = page_of(domain, name.value);
            @let urls = urls(webhooks, name.value);
            tr {
                td { a.main-link href=(page) { (name.label) } div.small.muted { (name.hint) } }
                td { @if urls.is_empty() { span.muted { "Not set" } } @for url in &urls { div.mono { (url) } } }
                td.num { (ui::menu(&format!("Actions for {}", name.label), "more", html! {
                    a.item href=(page) { (ui::icon("edit")) @if urls.is_empty() { "Set URLs" } @else { "Edit" } }
                    a.item href={ (page) "/test" } { (ui::icon("send")) "Test" }
                    @if !urls.is_empty() { a.item.danger href={ (page) "/delete" } { (ui::icon("trash")) "Delete" } }
                })) }
            }
        }
    };
    ui::table("mailgun", "Webhooks of the domain", &heads, rows)
}

fn frame<'a>(title: &'a str) -> Page<'a> {
    Page::new(title, "/console/webhooks").under(&[("Webhooks", "/console/webhooks"), ("Mailgun", HERE)])
}

fn back_of(domain: &str) -> String {
    crate::query::link(HERE, [("domain", domain)])
}

fn form_page(seat: &Seat, domain: &str, name: &str, draft: &Draft, status: StatusCode) -> Response {
    let labels = ["URL", "Second URL", "Third URL"];
    let content = html! {
        form.form method="post" action=(page_of(domain, name)) {
            (ui::csrf(&seat.csrf)) (errors(draft))
            input type="hidden" name="version" value=(draft.text("version"));
            (ui::section("Where to", html! {
                @for (field, label) in URLS.iter().zip(labels) {
                    @let one = Field::text(draft, field, label).mono();
                    @if *field == URLS[0] { (one.required().focus()) } @else { (one.optional()) }
                }
            }))
            div.actions { (submit("Save")) a.button.quiet href=(back_of(domain)) { "Cancel" } }
        }
    };
    let title = format!("{} for {domain}", label(name));
    frame(&title).narrow().status(status).show(seat, content)
}

fn draft_of(set: Vec<String>) -> Draft {
    URLS.iter().zip(set).fold(Draft::new(), |draft, (field, url)| draft.set(field, url))
}

async fn edit(seat: Seat, Path((domain, name)): Path<(String, String)>) -> Answer {
    let set = urls(&all(&seat.api, &domain).await?, &name);
    Ok(form_page(&seat, &domain, &name, &draft_of(set).versioned(), StatusCode::OK))
}

fn given(form: &Form) -> Vec<&str> {
    URLS.iter().filter_map(|name| form.given(name)).collect()
}

async fn save(Path((domain, name)): Path<(String, String)>, Post { seat, form }: Post) -> Answer {
    let set = urls(&all(&seat.api, &domain).await?, &name);
    let is_set = !set.is_empty();
    let mut fields: Vec<(&str, &str)> = given(&form).into_iter().map(|url| ("url", url)).collect();
    let done = if let Err(failure) = Draft::check_version(&draft_of(set), &form) {
        Err(failure)
    } else if is_set {
        call(&seat.api, Method::PUT, &path_of(&domain, &name), &fields).await
    } else {
        fields.push(("id", &name));
        call(&seat.api, Method::POST, &format!("/v3/domains/{}/webhooks", segment(&domain)), &fields).await
    };
    match done {
        Ok(_) => Ok(go(&Flash::Saved.to(&back_of(&domain)))),
        Err(failure) => Ok(form_page(&seat, &domain, &name, &Draft::from(form).refused(&failure), StatusCode::UNPROCESSABLE_ENTITY)),
    }
}

fn test_page(seat: &Seat, domain: &str, name: &str, draft: &Draft, answer: Option<&Value>) -> Response {
    let content = html! {
        form.form method="post" action={ (page_of(domain, name)) "/test" } {
            (ui::csrf(&seat.csrf)) (errors(draft))
            (ui::section("Test call", html! {
                p { "One sample of the event is posted to the URL, signed like a real one. Nothing is stored and nothing is tried again." }
                (Field::text(draft, "url.1", "URL").mono().required().focus())
            }))
            div.actions { (submit("Send the sample")) a.button.quiet href=(back_of(domain)) { "Back" } }
        }
        @if let Some(answer) = answer {
            @let message = answer["message"].as_str().unwrap_or_default();
            (ui::section("Response", html! {
                @match answer["code"].as_u64() {
                    None => (ui::notice(Tone::Ok, html! { "The receiver answered 200." })),
                    Some(0) => (ui::notice(Tone::Bad, html! { "Nothing was received: " (message) })),
                    Some(code) => (ui::notice(Tone::Bad, html! { "The receiver answered " (code) "." })),
                }
                @if message.is_empty() { p.muted { "The answer has no body." } } @else { (ui::code("response", message)) }
            }))
        }
    };
    let title = format!("Test {}", label(name).to_lowercase());
    let status = if draft.problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    frame(&title).narrow().status(status).show(seat, content)
}

async fn prepare(seat: Seat, Path((domain, name)): Path<(String, String)>) -> Answer {
    let set = urls(&all(&seat.api, &domain).await?, &name);
    let draft = Draft::new().set(URLS[0], set.first().map_or("", String::as_str));
    Ok(test_page(&seat, &domain, &name, &draft, None))
}

async fn test(Path((domain, name)): Path<(String, String)>, Post { seat, form }: Post) -> Answer {
    let url = form.text(URLS[0]).to_owned();
    let draft = Draft::from(form);
    match call(&seat.api, Method::PUT, &format!("{}/test", path_of(&domain, &name)), &[("url", &url)]).await {
        Ok(answer) => Ok(test_page(&seat, &domain, &name, &draft, Some(&answer))),
        Err(failure) => Ok(test_page(&seat, &domain, &name, &draft.refused(&failure), None)),
    }
}

async fn ask(seat: Seat, Path((domain, name)): Path<(String, String)>) -> Answer {
    let title = format!("Delete the URLs of {}?", label(&name).to_lowercase());
    let about = "Nothing is sent there any more, and what waits to be tried again goes too.";
    let content = ui::confirm_page(&seat.csrf, &format!("{}/delete", page_of(&domain, &name)), "Delete", &title, about, &back_of(&domain));
    Ok(frame("Delete webhook").narrow().show(&seat, content))
}

async fn delete(Path((domain, name)): Path<(String, String)>, Post { seat, .. }: Post) -> Answer {
    call(&seat.api, Method::DELETE, &path_of(&domain, &name), &[]).await?;
    Ok(go(&Flash::Deleted.to(&back_of(&domain))))
}
