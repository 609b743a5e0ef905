//! Request bins: places that catch requests and show them whole. What strangers sent is text here, whatever it is.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use maud::{Markup, html};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::subscriptions;
use crate::api::{Api, Failure, Page as List, segment};
use crate::form::{Draft, Form};
use crate::query::{Query, link};
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Head, Page, Pager, errors, submit};
use crate::{Answer, Console, go, live};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/bins", get(list))
        .route("/bins/new", get(compose).post(create))
        .route("/bins/{id}", get(show))
        .route("/bins/{id}/edit", get(edit).post(change))
        .route("/bins/{id}/live", get(watch))
        .route("/bins/{id}/requests/{number}", get(show_one))
        .route("/bins/{id}/clear", get(ask_clear).post(clear))
        .route("/bins/{id}/delete", get(ask_delete).post(delete))
        .route("/bins/{id}/example", post(example))
}

const HERE: &str = "/console/bins";
/// Requests of a page.
const SHOWN: usize = 20;
/// Bytes of a body that the list shows, as on the bin's public page: strangers decide how much there is.
const SHOWN_BODY: usize = 16 << 10;

#[derive(Deserialize)]
struct Bin {
    id: String,
    name: String,
    status: u16,
    url: String,
    look_url: String,
    expires_at: String,
    created_at: String,
    version: i64,
}

#[derive(Deserialize)]
struct Caught {
    number: i64,
    at: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    body_base64: Option<String>,
    ip: Option<String>,
}

#[derive(Deserialize)]
struct Made {
    id: String,
}

static LIVES: [Choice<'static>; 5] = [
    Choice::new("1h", "An hour"),
    Choice::new("48h", "Two days"),
    Choice::new("7d", "A week"),
    Choice::new("30d", "30 days"),
    Choice::new("", "As long as now"),
];

const HEADS: [Head<'static>; 5] = [Head::new("Name"), Head::new("URL"), Head::opt("Answers"), Head::opt("Until"), Head::actions()];

fn title(bin: &Bin) -> &str {
    if bin.name.is_empty() { "Bin without a name" } else { &bin.name }
}

fn address(id: &str) -> String {
    format!("{HERE}/{}", segment(id))
}

async fn list(seat: Seat) -> Answer {
    let bins: List<Bin> = seat.api.get(&seat.query.pass("/bins?limit=50", &["search", "cursor"])).await?;
    let is_filtered = seat.query.any(&["search"]);
    let draft = Draft::new().set("search", seat.query.text("search"));
    let content = html! {
        @if is_filtered || bins.next.is_some() || bins.items.len() > 10 {
            (ui::filters("Filter the bins", html! { (Field::input(&draft, "search", "Text in the name", "search").search()) }, is_filtered.then_some(HERE)))
        }
        section.panel-box {
            @if bins.items.is_empty() && is_filtered {
                (ui::empty("search", "Nothing found", "No bin has this text in its name.", html! { a.button href=(HERE) { "All bins" } }))
            } @else if bins.items.is_empty() {
                (ui::empty("bins", "No bins yet", "A bin has a URL that takes any request and shows it here: a receiver for trying things out.",
                    html! { a.button.primary href="/console/bins/new" { "Make a bin" } }))
            } @else {
                (ui::table("bins", "Bins", &HEADS, html! { @for bin in &bins.items { (row(&seat, bin)) } }))
                (ui::pager(&Pager { query: &seat.query, next: bins.next.as_deref(), shown: bins.items.len(), noun: "bins" }))
            }
        }
    };
    let lede = html! { "Places that catch requests and show them: receivers for trying things out." };
    let actions = ui::button_link("/console/bins/new", "primary", "plus", "New bin", true);
    Ok(Page::new("Bins", HERE).lede(lede).actions(actions).show(&seat, content))
}

fn row(seat: &Seat, bin: &Bin) -> Markup {
    html! {
        tr {
            td { a.main-link href=(address(&bin.id)) { (title(bin)) } }
            td { code { (bin.url) } }
            td.opt { (bin.status) }
            td.opt.nowrap { (ui::time(&bin.expires_at)) }
            td { (delete_button(seat, bin)) }
        }
    }
}

fn delete_button(seat: &Seat, bin: &Bin) -> Markup {
    let action = format!("{}/delete", address(&bin.id));
    ui::confirm(&seat.csrf, &action, "Delete", "Delete this bin?", "Its URL answers 404 at once, and what it caught is gone.")
}

async fn compose(seat: Seat) -> Response {
    let draft = Draft::new().set("status", "200").set("expires_in", "48h");
    form_page(&seat, StatusCode::OK, &draft, None)
}

fn form_page(seat: &Seat, status: StatusCode, draft: &Draft, bin: Option<&Bin>) -> Response {
    let (action, lives) = match bin {
        Some(bin) => (format!("{}/edit", address(&bin.id)), &LIVES[..]),
        None => (format!("{HERE}/new"), &LIVES[..4]),
    };
    let form = html! {
        form.form method="post" action=(action) {
            (ui::csrf(&seat.csrf)) (errors(draft))
            @if bin.is_some() { input type="hidden" name="version" value=(draft.text("version")); }
            (Field::text(draft, "name", "Name").hint("What you try out with it.").optional().focus())
            div.pair {
                (Field::input(draft, "status", "Status it answers with", "number").hint("200 takes everything; 500 lets deliveries fail, to see what happens then.").required())
                (Field::select(draft, "expires_in", "Kept from now on for", lives))
            }
            div.actions { (submit(if bin.is_some() { "Save" } else { "Make the bin" })) a.button.quiet href=(bin.map_or_else(|| HERE.to_owned(), |bin| address(&bin.id))) { "Cancel" } }
        }
    };
    let title = bin.map_or("New bin", title);
    let page = Page::new(title, HERE).under(&[("Bins", HERE)]).narrow().status(status);
    page.show(seat, ui::section("The bin", form))
}

fn document(form: &Form) -> Value {
    let mut document = json!({"name": form.text("name")});
    if let Some(status) = form.given("status") {
        document["status"] = status.parse::<i64>().map_or_else(|_| Value::from(status), Value::from);
    }
    if let Some(life) = form.given("expires_in") {
        document["expires_in"] = life.into();
    }
    document
}

async fn create(Post { seat, form }: Post) -> Response {
    match seat.api.post::<Made>("/bins", &document(&form)).await {
        Ok(bin) => go(&Flash::Created.to(&address(&bin.id))),
        Err(failure) => form_page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &Draft::from(form).refused(&failure), None),
    }
}

async fn read(seat: &Seat, id: &str) -> Result<Bin, Failure> {
    seat.api.get(&format!("/bins/{}", segment(id))).await
}

async fn edit(seat: Seat, Path(id): Path<String>) -> Answer {
    let bin = read(&seat, &id).await?;
    let draft = Draft::new().set("name", &bin.name).set("status", bin.status.to_string()).set("version", bin.version.to_string());
    Ok(form_page(&seat, StatusCode::OK, &draft, Some(&bin)))
}

async fn change(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let mut wanted = document(&form);
    if let Some(version) = form.version() {
        wanted["version"] = version.into();
    }
    match seat.api.patch::<Made>(&format!("/bins/{}", segment(&id)), &wanted).await {
        Ok(_) => Ok(go(&Flash::Saved.to(&address(&id)))),
        Err(failure) => {
            let bin = read(&seat, &id).await?;
            Ok(form_page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &Draft::from(form).refused(&failure), Some(&bin)))
        }
    }
}

async fn caught(api: &Api, id: &str, cursor: Option<&str>, limit: usize) -> Result<List<Caught>, Failure> {
    let path = format!("/bins/{}/requests?limit={limit}", segment(id));
    api.get(&link(&path, cursor.map(|cursor| ("cursor", cursor)))).await
}

async fn show(seat: Seat, Path(id): Path<String>) -> Answer {
    let bin = read(&seat, &id).await?;
    let base = address(&id);
    let requests = match caught(&seat.api, &id, seat.query.given("cursor"), SHOWN).await {
        Err(failure) if failure.code() == "bin_expired" => return Ok(expired(&seat, &bin)),
        requests => requests?,
    };
    let is_live = seat.query.given("cursor").is_none();
    let content = html! {
        div.columns.main-side {
            section.panel-box {
                header {
                    h2 { "Requests" }
                    div.row {
                        @if is_live { (ui::live_sign()) }
                        @if !requests.items.is_empty() {
                            (ui::confirm(&seat.csrf, &format!("{base}/clear"), "Clear", "Drop all requests?", "The bin goes on taking requests."))
                        }
                    }
                }
                @if is_live { div.body sse-connect=(format!("{base}/live")) sse-swap="part" { (part(&seat.query, &base, &requests)) } }
                @else { div.body { (part(&seat.query, &base, &requests)) } }
            }
            div.stack {
                (ui::section("Send anything here", html! {
                    (ui::secret("URL", &bin.url))
                    (ui::curl(&format!("curl {} \\\n  -H 'Content-Type: application/json' \\\n  -d '{{\"hello\": \"world\"}}'", bin.url)))
                    (ui::button(&seat.csrf, &format!("{base}/example"), "", "targets", "Send all events here"))
                    p.small.muted { "Makes a webhook target with this URL, and a subscription to every event." }
                }))
                (ui::section("Bin", ui::facts(&[
                    ("Answers with", html! { (bin.status) }),
                    ("Kept until", ui::full_time(&bin.expires_at)),
                    ("Made", ui::full_time(&bin.created_at)),
                    ("Public page", html! { a href=(bin.look_url) { "For whoever has its link" } }),
                    ("Id", html! { code { (bin.id) } }),
                ])))
            }
        }
    };
    let actions = html! {
        (ui::button_link(&format!("{base}/edit"), "", "edit", "Change", false))
        (delete_button(&seat, &bin))
    };
    Ok(Page::new(title(&bin), HERE).under(&[("Bins", HERE)]).actions(actions).show(&seat, content))
}

fn expired(seat: &Seat, bin: &Bin) -> Response {
    let base = address(&bin.id);
    let content = html! { section.panel-box {
        (ui::empty("wait", "This bin has expired", "Its URL takes nothing any more. Give it more time, or delete it.",
            html! { a.button.primary href=(format!("{base}/edit")) { "Give it more time" } (delete_button(seat, bin)) }))
    } };
    Page::new(title(bin), HERE).under(&[("Bins", HERE)]).show(seat, content)
}

/// Requests, and where there are more. All of it is text.
fn part(query: &Query, base: &str, requests: &List<Caught>) -> Markup {
    html! {
        @if requests.items.is_empty() {
            (ui::empty("bins", "Nothing has arrived yet", "Send something to its URL: it appears here.", html! {}))
        } @else {
            div { @for (at, request) in requests.items.iter().enumerate() { (one(base, request, at == 0)) } }
        }
        (ui::pager(&Pager { query, next: requests.next.as_deref(), shown: requests.items.len(), noun: "requests" }))
    }
}

/// Bytes of the body as they came, four characters of base 64 for three.
fn size(request: &Caught) -> u64 {
    let exact = request.body_base64.as_ref().map(|text| text.trim_end_matches('=').len() * 3 / 4);
    exact.unwrap_or(request.body.len()) as u64
}

fn one(base: &str, request: &Caught, is_first: bool) -> Markup {
    let summary = html! {
        strong.nowrap { "#" (request.number) " " (request.method) }
        code { (request.target) }
        span.small.muted { (origin(request)) }
    };
    ui::named_fold(&request.number.to_string(), is_first, summary, content(base, request, SHOWN_BODY))
}

fn origin(request: &Caught) -> Markup {
    html! { (ui::time(&request.at)) @if let Some(ip) = &request.ip { " from " (ip) } ", " (ui::bytes(size(request))) }
}

/// Headers and body, of which as much is shown as `most` allows.
fn content(base: &str, request: &Caught, most: usize) -> Markup {
    let whole = format!("{base}/requests/{}", request.number);
    let headers: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&request.body).is_ok();
    html! {
        h3 { "Headers" } (ui::code("headers", headers.trim_end()))
        @if request.body.is_empty() { p.muted { "No body." } }
        @else {
            h3 { "Body" }
            @if is_json || request.body.len() > most { (ui::payload("body", &request.body, most, &whole)) } @else { (ui::code("body", &request.body)) }
        }
        @if let Some(exact) = &request.body_base64 {
            p.small.muted { "The body is no text; what is no UTF-8 is replaced above. The exact bytes in base 64:" }
            @if exact.len() > most { p.small { a href=(whole) { "All of it" } } } @else { (ui::code("exact bytes", exact)) }
        }
    }
}

/// One request with all that came.
async fn show_one(seat: Seat, Path((id, number)): Path<(String, String)>) -> Answer {
    let bin = read(&seat, &id).await?;
    let base = address(&id);
    let mut cursor: Option<String> = None;
    let request = loop {
        let page = caught(&seat.api, &id, cursor.as_deref(), SHOWN).await?;
        if let Some(request) = page.items.into_iter().find(|request| request.number.to_string() == number) {
            break request;
        }
        cursor = page.next;
        if cursor.is_none() {
            return Err(Failure::not_found(format!("this bin has no request #{number} any more")));
        }
    };
    let title = format!("#{number} {}", request.method);
    let page = Page::new(&title, HERE).under(&[("Bins", HERE), (self::title(&bin), &base)]);
    let lede = html! { code { (request.target) } " " (origin(&request)) };
    Ok(page.lede(lede).show(&seat, ui::section("Request", content(&base, &request, usize::MAX))))
}

async fn watch(State(console): State<Console>, seat: Seat, Path(id): Path<String>) -> Response {
    let base = address(&id);
    let query = Query::of(&base);
    // What a bin holds changes only with its newest request. The others are not read again for nothing.
    let newest = Arc::new(Mutex::new(None));
    live::watch(&console, seat, move |seat| {
        let (id, base, query, newest) = (id.clone(), base.clone(), query.clone(), Arc::clone(&newest));
        async move {
            let now = caught(&seat.api, &id, None, 1).await?.items.pop().map(|request| (request.number, request.at));
            if newest.lock().replace(now.clone()) == Some(now) {
                return Ok(live::Part::same());
            }
            Ok(part(&query, &base, &caught(&seat.api, &id, None, SHOWN).await?).into())
        }
    })
    .await
}

/// A webhook target with the bin's URL that gets every event.
async fn example(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    let bin = read(&seat, &id).await?;
    let name = if bin.name.is_empty() { "Request bin" } else { bin.name.as_str() };
    let target = json!({"name": name, "channel": "webhook", "settings": {"url": bin.url}});
    let about = Some(("description", "Every event, to look at in a bin"));
    let target = subscriptions::with_target(&seat.api, vec!["*".to_owned()], target, about).await?;
    Ok(go(&Flash::Created.to(&super::targets::address(&target))))
}

async fn ask_clear(seat: Seat, Path(id): Path<String>) -> Answer {
    let bin = read(&seat, &id).await?;
    let base = address(&id);
    let content =
        ui::confirm_page(&seat.csrf, &format!("{base}/clear"), "Clear", "Drop all requests?", "The bin goes on taking requests.", &base);
    Ok(Page::new(title(&bin), HERE).under(&[("Bins", HERE)]).narrow().show(&seat, content))
}

async fn clear(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    seat.api.delete(&format!("/bins/{}/requests", segment(&id))).await?;
    Ok(go(&address(&id)))
}

async fn ask_delete(seat: Seat, Path(id): Path<String>) -> Answer {
    let bin = read(&seat, &id).await?;
    let action = format!("{}/delete", address(&id));
    let about = "Its URL answers 404 at once, and what it caught is gone.";
    let content = ui::confirm_page(&seat.csrf, &action, "Delete", "Delete this bin?", about, HERE);
    Ok(Page::new(title(&bin), HERE).under(&[("Bins", HERE)]).narrow().show(&seat, content))
}

async fn delete(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    seat.api.delete(&format!("/bins/{}", segment(&id))).await?;
    Ok(go(&Flash::Deleted.to(HERE)))
}
