//! The API reference, made of the OpenAPI document that the server serves, with a form to try each operation out as the person who is
//! logged in.

mod schema;
mod trial;

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use maud::{Markup, html};
use serde_json::{Map, Value};

use crate::api::{Failure, segment};
use crate::form::{Draft, capital};
use crate::session::{Post, Seat};
use crate::ui::{self, Field, Head, Page, Tone};
use crate::{Answer, Console};
use trial::{Outcome, Refusal};

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/reference", get(list)).route("/reference/{id}", get(show).post(try_out))
}

const HERE: &str = "/console/reference";
/// Methods in the order in which they are listed.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The description of the API.
struct Document(Value);

/// One operation of it.
struct Operation<'a> {
    method: &'static str,
    /// Its path with the prefix of the API.
    path: &'a str,
    object: &'a Map<String, Value>,
}

impl<'a> Operation<'a> {
    fn text(&self, name: &str) -> &'a str {
        self.object.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn id(&self) -> &'a str {
        self.text("operationId")
    }

    fn tag(&self) -> &'a str {
        self.object.get("tags").and_then(|tags| tags[0].as_str()).unwrap_or_default()
    }

    /// The scope that a key needs; `None` when anybody may ask.
    fn scope(&self) -> Option<&'a str> {
        self.object.get("security").and_then(|security| security[0]["key"][0].as_str())
    }

    fn parameters(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.object.get("parameters").and_then(Value::as_array).into_iter().flatten()
    }

    fn body(&self) -> Option<&'a Value> {
        self.object.get("requestBody").map(|body| &body["content"]["application/json"]["schema"])
    }

    fn fits(&self, needle: &str) -> bool {
        [self.id(), self.path, self.text("summary"), self.text("description"), self.tag(), self.method]
            .iter()
            .any(|text| text.to_lowercase().contains(needle))
    }
}

impl Document {
    async fn read(seat: &Seat) -> Result<Self, Failure> {
        seat.api.get("/openapi.json").await.map(Self)
    }

    fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let paths = self.0["paths"].as_object().into_iter().flatten();
        paths.flat_map(|(path, item)| {
            METHODS.into_iter().filter_map(move |method| Some(Operation { method, path, object: item.get(method)?.as_object()? }))
        })
    }

    fn find(&self, id: &str) -> Option<Operation<'_>> {
        self.operations().find(|operation| operation.id() == id)
    }

    /// Groups of operations: name, what they are about.
    fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        let tags = self.0["tags"].as_array().into_iter().flatten();
        tags.map(|tag| (tag["name"].as_str().unwrap_or_default(), tag["description"].as_str().unwrap_or_default()))
    }
}

/// Text with `code` in backquotes and empty lines between paragraphs.
fn prose(text: &str) -> Markup {
    html! {
        @for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
            p { (line(paragraph)) }
        }
    }
}

/// Text with `code` in backquotes.
fn line(text: &str) -> Markup {
    html! { @for (at, part) in text.split('`').enumerate() { @if at % 2 == 1 { code { (part) } } @else { (part) } } }
}

/// A method in a badge: what reads, what writes, what takes away.
fn method_badge(method: &str) -> Markup {
    let (tone, icon) = match method {
        "get" => (Tone::Plain, "search"),
        "delete" => (Tone::Bad, "trash"),
        "post" => (Tone::Ok, "plus"),
        _ => (Tone::Info, "edit"),
    };
    ui::badge(tone, icon, &method.to_uppercase())
}

const HEADS: [Head<'static>; 3] = [Head::new("Operation"), Head::new("Path"), Head::opt("Needs")];

async fn list(seat: Seat) -> Answer {
    let document = Document::read(&seat).await?;
    let needle = seat.query.text("search").trim().to_lowercase();
    let groups: Vec<(&str, &str, Vec<Operation<'_>>)> = document
        .tags()
        .map(|(tag, about)| (tag, about, document.operations().filter(|one| one.tag() == tag && one.fits(&needle)).collect()))
        .filter(|(.., operations): &(&str, &str, Vec<_>)| !operations.is_empty())
        .collect();
    let count: usize = groups.iter().map(|(.., operations)| operations.len()).sum();
    let draft = Draft::new().set("search", seat.query.text("search"));
    let fields = html! { (Field::input(&draft, "search", "Name, path or words", "search").search().placeholder("resend")) };
    let content = html! {
        (ui::filters("Filter the operations", fields, (!needle.is_empty()).then_some(HERE)))
        @if needle.is_empty() {
            (ui::section("How it works", html! {
                (prose(document.0["info"]["description"].as_str().unwrap_or_default()))
                p { a href="/posthaste/v1/openapi.json" { "The same as an OpenAPI document" } " for generators of clients." }
            }))
        } @else { p.muted role="status" { (count) @if count == 1 { " operation" } @else { " operations" } } }
        @if groups.is_empty() {
            section.panel-box { (ui::empty("search", "Nothing found", "No operation has these words.", html! { a.button href=(HERE) { "All operations" } })) }
        }
        @for (tag, about, operations) in &groups {
            section.panel-box id=(tag) {
                header { h2 { (title_of(tag)) } p { (about) } }
                (ui::table("", &title_of(tag), &HEADS, html! { @for operation in operations { (row(operation)) } }))
            }
        }
    };
    let lede = html! { "What programs can do, which is all that this console does. Each operation can be tried out here." };
    Ok(Page::new("API reference", HERE).lede(lede).show(&seat, content))
}

/// `event-types` as `Event types`.
fn title_of(tag: &str) -> String {
    capital(&tag.replace(['-', '_'], " "))
}

fn row(operation: &Operation<'_>) -> Markup {
    html! {
        tr {
            td { a.main-link href=(format!("{HERE}/{}", segment(operation.id()))) { (operation.text("summary")) } div.small.muted { (operation.id()) } }
            td { div.row { (method_badge(operation.method)) code { (operation.path) } } }
            td.opt { @if let Some(scope) = operation.scope() { code { (scope) } } @else { span.muted { "no key" } } }
        }
    }
}

async fn show(seat: Seat, Path(id): Path<String>) -> Answer {
    let document = Document::read(&seat).await?;
    let Some(operation) = document.find(&id) else { return Ok(super::problem::lost(Some(&seat), seat.theme)) };
    let mut draft = Draft::new();
    if let Some(schema) = operation.body() {
        let example = schema::example(&document.0, schema);
        draft = draft.set("body", serde_json::to_string_pretty(&example).unwrap_or_default());
    }
    Ok(page(&seat, StatusCode::OK, &document, &operation, &draft, None))
}

async fn try_out(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let document = Document::read(&seat).await?;
    let Some(operation) = document.find(&id) else { return Ok(super::problem::lost(Some(&seat), seat.theme)) };
    let draft = Draft::from(form.clone());
    Ok(match trial::send(&seat, &operation, &form).await {
        Ok(outcome) => page(&seat, StatusCode::OK, &document, &operation, &draft, Some(&outcome)),
        Err(Refusal(problem)) => page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &document, &operation, &draft.with_problem(*problem), None),
    })
}

fn page(
    seat: &Seat,
    status: StatusCode,
    document: &Document,
    operation: &Operation<'_>,
    draft: &Draft,
    outcome: Option<&Outcome>,
) -> Response {
    let doc = &document.0;
    let line = trial::curl(seat, operation, draft);
    let content = html! {
        @if let Some(outcome) = outcome { (answer(outcome)) }
        div.columns {
            div.stack {
                (ui::section("About", html! {
                    div.row { (method_badge(operation.method)) code { (operation.path) } }
                    (prose(operation.text("description")))
                    @match operation.scope() {
                        Some(scope) => p { "Needs a key with the scope " code { (scope) } "." },
                        None => p { "Needs no key." },
                    }
                }))
                @if operation.parameters().next().is_some() { (ui::section("Parameters", parameters(doc, operation))) }
                @if let Some(body) = operation.body() { (ui::section("Body (JSON)", schema::table(doc, body))) }
                (ui::section("Answers", answers(doc, operation)))
            }
            div.stack {
                (ui::section("Try it out", trial::form(seat, operation, draft)))
                (ui::section("From a shell", ui::curl(&line)))
            }
        }
    };
    let tag = title_of(operation.tag());
    let group = format!("{HERE}#{}", operation.tag());
    let page = Page::new(operation.text("summary"), HERE).under(&[("API reference", HERE), (tag.as_str(), group.as_str())]).status(status);
    page.lede(html! { (tag) ": " code { (operation.id()) } }).show(seat, content)
}

/// What the server answered, as text, whatever it is.
fn answer(outcome: &Outcome) -> Markup {
    let tone = if outcome.status.is_success() { Tone::Ok } else { Tone::Bad };
    html! {
        section.panel-box id="answer" {
            header {
                div.row {
                    h2 { "Answer" }
                    (ui::badge(tone, if outcome.status.is_success() { "ok" } else { "bad" }, outcome.status.as_str()))
                    span { (outcome.status.canonical_reason().unwrap_or_default()) }
                }
                p { "in " (ui::duration_ms(outcome.took_ms)) ", " (ui::bytes(outcome.body.len() as u64)) }
            }
            div.body {
                @if outcome.is_cut { (ui::notice(Tone::Info, html! { "The answer goes on; this is its beginning." })) }
                (ui::fold(false, html! { "Headers" }, ui::code("headers of the answer", &outcome.headers)))
                @if outcome.body.is_empty() { p.muted { "No body." } }
                @else if outcome.is_json { (ui::json("body of the answer", &outcome.body)) }
                @else { (ui::code("body of the answer", &outcome.body)) }
            }
        }
    }
}

fn parameters(doc: &Value, operation: &Operation<'_>) -> Markup {
    let text = |parameter: &Value, name: &str| parameter[name].as_str().unwrap_or_default().to_owned();
    let heads = [Head::new("Name"), Head::new("Type"), Head::new("What it is")];
    let rows = html! {
        @for parameter in operation.parameters() {
            tr {
                td { code { (text(parameter, "name")) } div.small.muted { "in the " (text(parameter, "in")) @if parameter["required"] == true { ", required" } } }
                td { (schema::kind(doc, &parameter["schema"])) }
                td { (prose(&text(parameter, "description"))) (schema::limits(&parameter["schema"])) }
            }
        }
    };
    ui::table("", "Parameters", &heads, rows)
}

fn answers(doc: &Value, operation: &Operation<'_>) -> Markup {
    let responses = operation.object.get("responses").and_then(Value::as_object);
    html! {
        div {
            @for (status, response) in responses.into_iter().flatten() {
                @let response = schema::resolve(doc, response);
                @let about = response["description"].as_str().unwrap_or_default();
                @let content = response["content"].as_object().and_then(|content| content.iter().next());
                @match content {
                    Some((media, content)) => (ui::fold(false, html! { strong { (status) } span { (line(about)) } span.small.muted { (media) } }, schema::table(doc, &content["schema"]))),
                    None => p { strong { (status) } " " (line(about)) " " span.small.muted { "No body." } },
                }
            }
        }
    }
}
