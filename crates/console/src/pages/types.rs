//! Event types: the list by groups, one whole, adding, editing, deleting; which documents a rule takes and which others it meets.

use axum::Router;
use axum::extract::Path;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::inbox::Event;
use super::{sample, type_subscriptions};
use crate::api::{Failure, Page as List, segment};
use crate::form::{Draft, Form};
use crate::query::link;
use crate::session::{Post, Seat};
use crate::ui::{self, Field, Flash, Head, Page, Pager, Tone, errors};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/events", get(list))
        .route("/events/new", get(compose).post(create))
        .route("/events/check", post(check))
        .route("/events/{id}", get(show))
        .route("/events/{id}/secret", post(secret))
        .route("/events/{id}/edit", get(edit).post(change))
        .route("/events/{id}/delete", get(ask_delete).post(delete))
}

/// Rows of a page, as many as the API lists at once: they are sorted by name, page by page.
const ROWS: &str = "1000";
pub(super) const NAV: &str = "/console/events";

/// An event type as the API shows it.
#[derive(Deserialize)]
pub(super) struct EventType {
    pub id: String,
    pub name: String,
    group: Option<String>,
    #[serde(default)]
    description: String,
    pub rule: Value,
    rule_is_default: bool,
    schema: Option<Value>,
    version: i64,
}

#[derive(Deserialize)]
struct Groups {
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    name: Option<String>,
    event_types: usize,
}

/// What the test of a rule found.
#[derive(Deserialize)]
struct Tested {
    rule: Value,
    overlaps: Vec<Other>,
    matched: Option<bool>,
    others: Vec<Other>,
}

#[derive(Deserialize)]
struct Other {
    id: String,
    name: String,
}

/// Address of an event type.
pub(super) fn address(id: &str) -> String {
    format!("/console/events/{}", segment(id))
}

pub(super) async fn find(seat: &Seat, id: &str) -> Result<EventType, Failure> {
    seat.api.get(&format!("/event-types/{}", segment(id))).await
}

/// JSON for an editor.
pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

async fn list(seat: Seat) -> Answer {
    let query = &seat.query;
    let mut types: List<EventType> =
        seat.api.get(&query.pass(&format!("/event-types?limit={ROWS}"), &["search", "group", "cursor"])).await?;
    let groups: Groups = seat.api.get("/event-types/groups").await?;
    types.items.sort_by(|a, b| (&a.group, a.name.to_lowercase()).cmp(&(&b.group, b.name.to_lowercase())));
    let is_filtered = query.any(&["search", "group"]);
    let total: usize = groups.items.iter().map(|group| group.event_types).sum();
    let add = ui::button_link("/console/events/new", "primary", "plus", "Add event", true);
    let content = html! {
        @if total > 0 {
            (filters(&seat, &groups, is_filtered))
        }
        section.panel-box {
            @if types.items.is_empty() && is_filtered {
                (ui::empty("search", "Nothing found", "No event type fits these filters.", html! { a.button href=(NAV) { "Show all" } }))
            } @else if types.items.is_empty() {
                (ui::empty("events", "No event types yet", "An event type gives a kind of event a name and a rule that finds it in what the inbox receives. Events sent by name need none.", add.clone()))
            } @else {
                (ui::table("types", "Event types", &HEADS, rows(&types.items)))
                @if types.next.is_some() { p.small.muted { "Sorted within each page of " (ROWS) "; the newest are on the first." } }
                (ui::pager(&Pager { query, next: types.next.as_deref(), shown: types.items.len(), noun: "event types" }))
            }
        }
    };
    let page = Page::new("Events", NAV).actions(add);
    Ok(page.lede(html! { "Kinds of events by group: which rule finds them, and where they go." }).show(&seat, content))
}

const HEADS: [Head<'static>; 4] = [Head::new("Event"), Head::opt("Rule"), Head::opt("Description"), Head::actions()];

fn filters(seat: &Seat, groups: &Groups, is_filtered: bool) -> Markup {
    let draft = Draft::new().set("search", seat.query.text("search")).set("group", seat.query.text("group"));
    let names: Vec<&str> = groups.items.iter().filter_map(|group| group.name.as_deref()).collect();
    // A group of the first level need not hold an event type itself.
    let mut known: Vec<&str> = names.iter().flat_map(|name| [name.split('/').next().unwrap_or_default(), *name]).collect();
    known.sort_unstable();
    known.dedup();
    let labels: Vec<String> = known.iter().map(|name| name.replace('/', " › ")).collect();
    let mut choices = vec![ui::Choice::new("", "All groups")];
    choices.extend(known.iter().zip(&labels).map(|(name, label)| ui::Choice::new(name, label)));
    let fields = html! {
        (Field::input(&draft, "search", "Search", "search").placeholder("Name").search())
        @if !names.is_empty() { (Field::select(&draft, "group", "Group", &choices).submits()) }
    };
    ui::filters("Event types", fields, is_filtered.then_some(NAV))
}

fn rows(types: &[EventType]) -> Markup {
    html! {
        @for (at, one) in types.iter().enumerate() {
            @let before = at.checked_sub(1).map(|at| &types[at].group);
            @if before != Some(&one.group) && (one.group.is_some() || before.is_some()) {
                tr.group-row { th colspan="4" scope="rowgroup" { (group_name(one.group.as_deref())) } }
            }
            @let path = address(&one.id);
            tr {
                td { a.main-link href=(path) { (one.name) } }
                td.opt { div.clip { (one.rule.to_string()) } }
                td.opt { div.clip.words { (one.description) } }
                td.num { div.row.end.nowrap {
                    a.button.slim.opt href=(format!("{path}/delivery")) { (ui::icon("plus")) "Add delivery" }
                    (ui::menu(&format!("More for {}", one.name), "more", html! {
                        a.item href=(format!("{path}/send")) { (ui::icon("send")) "Send event" }
                        a.item href=(format!("{path}/delivery")) { (ui::icon("plus")) "Add delivery" }
                        a.item href=(format!("{path}/edit")) { (ui::icon("edit")) "Edit" }
                        a.item.danger href=(format!("{path}/delete")) { (ui::icon("trash")) "Delete" }
                    }))
                } }
            }
        }
    }
}

fn group_name(group: Option<&str>) -> Markup {
    html! {
        @match group.map(|group| group.split_once('/').unwrap_or((group, ""))) {
            None => "Without a group",
            Some((first, "")) => (first),
            Some((first, second)) => { (first) span.muted { " › " } (second) }
        }
    }
}

async fn show(seat: Seat, Path(id): Path<String>) -> Answer {
    page(&seat, &id, None).await
}

#[derive(Deserialize)]
struct Secret {
    secret: String,
}

async fn secret(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    let secret: Secret = seat.api.get(&format!("/event-types/{}/secret", segment(&id))).await?;
    page(&seat, &id, Some(&secret)).await
}

async fn page(seat: &Seat, id: &str, secret: Option<&Secret>) -> Answer {
    let one = find(seat, id).await?;
    let path = address(&one.id);
    let inbox = link("/console/inbox", [("type", one.name.as_str())]);
    let events: List<Event> = seat.api.get(&link("/events?limit=5&deliveries=true", [("type", one.name.as_str())])).await?;
    let content = html! {
        div.columns.main-side {
            div.stack {
                section.panel-box {
                    header { h2 { "Deliveries" } a.button.slim href=(format!("{path}/delivery")) { (ui::icon("plus")) "Add delivery" } }
                    (type_subscriptions::of_type(seat, &one).await?)
                }
                section.panel-box {
                    header { h2 { "Recent events" } a.small href=(inbox) { "All in the inbox" } }
                    @if events.items.is_empty() {
                        (ui::empty("inbox", "None yet", "Send one to see what happens to it.", ui::button_link(&format!("{path}/send"), "", "send", "Send event", false)))
                    } @else {
                        (ui::table("recent", "Recent events", &[Head::new("Received"), Head::opt("Payload"), Head::new("Outcome")], html! {
                            @for event in &events.items { (event_row(event)) }
                        }))
                    }
                }
            }
            div.stack {
                (ui::section("Event", facts(seat, &one, secret, &path)))
                @if let Some(schema) = &one.schema { (ui::section("JSON Schema", ui::json("JSON Schema", &pretty(schema)))) }
            }
        }
    };
    let actions = html! {
        (ui::button_link(&format!("{path}/edit"), "", "edit", "Edit", false))
        (ui::button_link(&format!("{path}/send"), "", "send", "Send event", false))
        (ui::button_link(&format!("{path}/delivery"), "primary", "plus", "Add delivery", true))
    };
    let mut page = Page::new(&one.name, NAV).under(&[("Events", NAV)]).actions(actions);
    if !one.description.is_empty() {
        page = page.lede(html! { (one.description) });
    }
    Ok(page.show(seat, content))
}

fn event_row(event: &Event) -> Markup {
    let states: Vec<&str> = event.deliveries.iter().map(|delivery| delivery.state.as_str()).collect();
    let worst = ["failed", "held", "queued", "cancelled", "delivered"].into_iter().find(|state| states.contains(state));
    html! {
        tr {
            td.nowrap { a.main-link href=(format!("/console/inbox/{}", segment(&event.id))) { (ui::time(&event.received_at)) } }
            td.opt { div.clip { (event.data.get().chars().take(120).collect::<String>()) } }
            td.nowrap { @match worst { Some(state) => (ui::status(state)), None => span.muted.small { "No delivery" } } }
        }
    }
}

fn facts(seat: &Seat, one: &EventType, secret: Option<&Secret>, path: &str) -> Markup {
    let origin = if one.rule_is_default {
        "Made from the name; also met by the same word under \"event\"."
    } else {
        "Written by hand, and taken literally."
    };
    html! {
        (ui::facts(&[("Group", group_name(one.group.as_deref())), ("Id", html! { code { (one.id) } })]))
        div.stack.tight { h3 { "Rule" } (ui::json("rule", &one.rule.to_string())) p.small.muted { (origin) } }
        div.stack.tight {
            h3 { "Signing secret" }
            @match secret {
                Some(secret) => { (ui::secret("signing secret", &secret.secret)) p.small.muted { "Key of " code { "X-signature" } " in deliveries in the format msggo." } }
                None => (ui::button(&seat.csrf, &format!("{path}/secret"), "slim", "lock", "Show the secret")),
            }
        }
        div { (ui::confirm(&seat.csrf, &format!("{path}/delete"), "Delete", &delete_title(one), DELETE_ABOUT)) }
    }
}

fn delete_title(one: &EventType) -> String {
    format!("Delete the event {}?", one.name)
}

const DELETE_ABOUT: &str = "Its rule finds nothing any more, and its signing secret is gone. Events that came stay in the inbox, and deliveries that name it stay until they are deleted.";

async fn ask_delete(seat: Seat, Path(id): Path<String>) -> Answer {
    let one = find(&seat, &id).await?;
    let path = address(&one.id);
    let content = ui::confirm_page(&seat.csrf, &format!("{path}/delete"), "Delete", &delete_title(&one), DELETE_ABOUT, &path);
    Ok(Page::new("Delete", NAV).under(&[("Events", NAV), (&one.name, &path)]).narrow().show(&seat, content))
}

async fn delete(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    seat.api.delete(&format!("/event-types/{}", segment(&id))).await?;
    Ok(go(&Flash::Deleted.to(NAV)))
}

async fn compose(seat: Seat) -> Answer {
    let draft = Draft::new().set("group", seat.query.text("group")).set("sample", seat.query.text("sample"));
    form_page(&seat, None, StatusCode::OK, &draft, html! {}).await
}

async fn edit(seat: Seat, Path(id): Path<String>) -> Answer {
    let one = find(&seat, &id).await?;
    let draft = Draft::new()
        .set("name", &one.name)
        .set("group", one.group.as_deref().unwrap_or_default())
        .set("description", &one.description)
        .set("rule", pretty(&one.rule))
        .set("schema", one.schema.as_ref().map(pretty).unwrap_or_default())
        .set("version", one.version.to_string());
    form_page(&seat, Some(&one), StatusCode::OK, &draft, html! {}).await
}

/// The form of an event type, new or known.
async fn form_page(seat: &Seat, one: Option<&EventType>, status: StatusCode, draft: &Draft, found: Markup) -> Answer {
    let groups: Groups = seat.api.get("/event-types/groups").await?;
    let groups: Vec<&str> = groups.items.iter().filter_map(|group| group.name.as_deref()).collect();
    let events = sample::recent(&seat.api, None).await?;
    let path = one.map(|one| address(&one.id));
    let action = path.as_ref().map_or("/console/events/new".to_owned(), |path| format!("{path}/edit"));
    let content = html! {
        form.form.columns method="post" action=(action) {
            div.stack {
                (ui::csrf(&seat.csrf)) (errors(draft))
                input type="hidden" name="id" value=(one.map_or("", |one| one.id.as_str()));
                input type="hidden" name="version" value=(draft.text("version"));
                section.panel-box { div.body {
                    (Field::text(draft, "name", "Name").hint("3 to 255 characters, such as Daily Database Backup or order.created.").required().focus())
                    (Field::text(draft, "group", "Group").hint("Group, or Group/Subgroup: two levels at most.").suggests(&groups).optional())
                    (Field::area(draft, "description", "Description", 2).optional())
                    (Field::code(draft, "rule", "Rule (JSON)", 6).hint("What an inbox document must contain: other fields of it do not matter. Made from the name as long as you leave it as it is.").optional())
                    (ui::fold(draft.error("schema").is_some() || !draft.text("schema").is_empty(), html! { "JSON Schema" }, html! {
                        (Field::code(draft, "schema", "JSON Schema of the payload", 8).hint("For those who read it; nothing is refused by it.").optional())
                    }))
                    div.actions.row {
                        button.button.primary type="submit" name="do" value="save" { @if one.is_some() { "Save" } @else { "Add event" } }
                        a.button.quiet href=(path.as_deref().unwrap_or(NAV)) { "Cancel" }
                    }
                } }
            }
            section.panel-box {
                header { h2 { "Try the rule" } }
                div.body {
                    div id="found" hx-post="/console/events/check" hx-trigger="load, input delay:400ms from:closest form, change from:closest form" hx-swap="innerHTML" { (found) }
                    (sample::fields(draft, &events))
                    div { button.button type="submit" name="do" value="check" formnovalidate { "Try it" } }
                }
            }
        }
    };
    let title = if one.is_some() { "Edit event" } else { "Add event" };
    let name = one.map_or("", |one| one.name.as_str());
    let mut crumbs = vec![("Events", NAV)];
    if let Some(path) = &path {
        crumbs.push((name, path));
    }
    Ok(Page::new(title, NAV).under(&crumbs).status(status).show(seat, content))
}

/// Tries the rule of a form; without one, the rule that the name gives.
async fn test(seat: &Seat, form: &Form) -> Result<Option<Tested>, Failure> {
    if form.given("rule").is_none() && form.text("name").chars().count() < 3 {
        return Ok(None);
    }
    let mut wanted = json!({"id": form.given("id"), "name": form.given("name")});
    if let Some(rule) = form.given("rule") {
        wanted["rule"] = sample::read("rule", rule)?;
    }
    if let Some(sample) = sample::chosen(&seat.api, form.text("sample"), form.raw("data")).await? {
        wanted["data"] = sample::read("data", sample.data.get())?;
    }
    seat.api.post("/event-types/test", &wanted).await.map(Some)
}

fn show_test(tested: &Tested) -> Markup {
    let names = |others: &[Other]| {
        html! { @for (at, other) in others.iter().enumerate() { @if at > 0 { ", " } a href=(address(&other.id)) { (other.name) } } }
    };
    html! {
        div.stack.tight {
            @match tested.matched {
                Some(true) if tested.others.is_empty() => (ui::notice(Tone::Ok, html! { "The rule matches the sample." })),
                Some(true) => (ui::notice(Tone::Warn, html! { "The rule matches the sample, and so does " (names(&tested.others)) ". The inbox gives it to the oldest of them." })),
                Some(false) => (ui::notice(Tone::Bad, html! { "The rule does not match the sample." @if !tested.others.is_empty() { " These do: " (names(&tested.others)) "." } })),
                None => {}
            }
            @if !tested.overlaps.is_empty() {
                (ui::notice(Tone::Warn, html! { strong { "Overlap: " } "one document could match this rule and that of " (names(&tested.overlaps)) ". Only the oldest of the event types gets it." }))
            }
            p.small.muted { "Rule in force:" }
            div data-prefill="f-rule" data-text=(pretty(&tested.rule)) { (ui::json("rule in force", &tested.rule.to_string())) }
        }
    }
}

/// What the rule of the form does, while it is being written.
async fn check(Post { seat, form }: Post) -> Answer {
    let part = match test(&seat, &form).await {
        Ok(Some(tested)) => show_test(&tested),
        Ok(None) => html! { p.muted { "Give a name or a rule, and see here what it finds." } },
        Err(failure) => ui::notice(Tone::Bad, html! { (failure.problem().detail) }),
    };
    Ok(part.into_response())
}

/// What the form asks the API for. A rule that is the one of the name is left to follow the name.
async fn wanted(seat: &Seat, form: &Form, one: Option<&EventType>) -> Result<Value, Failure> {
    let mut wanted = json!({
        "name": form.text("name"),
        "group": form.given("group"),
        "description": form.text("description"),
        "rule": null,
        "schema": null,
    });
    if let Some(text) = form.given("rule") {
        let rule: Value = sample::read("rule", text)?;
        let made: Option<Tested> = seat.api.post("/event-types/test", &json!({"name": form.text("name")})).await.ok();
        let follows = one.is_some_and(|one| one.rule_is_default && one.rule == rule) || made.is_some_and(|made| made.rule == rule);
        if !follows {
            wanted["rule"] = rule;
        }
    }
    if let Some(text) = form.given("schema") {
        wanted["schema"] = sample::read("schema", text)?;
    }
    if let (Some(_), Some(version)) = (one, form.version()) {
        wanted["version"] = version.into();
    }
    Ok(wanted)
}

async fn again(seat: &Seat, form: Form, one: Option<&EventType>, failure: &Failure) -> Answer {
    form_page(seat, one, StatusCode::UNPROCESSABLE_ENTITY, &Draft::from(form).refused(failure), html! {}).await
}

async fn tried(seat: &Seat, form: Form, one: Option<&EventType>) -> Answer {
    match test(seat, &form).await {
        Ok(tested) => form_page(seat, one, StatusCode::OK, &form.into(), tested.as_ref().map(show_test).unwrap_or_default()).await,
        Err(failure) => again(seat, form, one, &failure).await,
    }
}

async fn create(Post { seat, form }: Post) -> Answer {
    if form.text("do") == "check" {
        return tried(&seat, form, None).await;
    }
    let made = match wanted(&seat, &form, None).await {
        Ok(wanted) => seat.api.post::<EventType>("/event-types", &wanted).await,
        Err(failure) => Err(failure),
    };
    match made {
        Ok(made) => Ok(go(&Flash::Created.to(&address(&made.id)))),
        Err(failure) => again(&seat, form, None, &failure).await,
    }
}

async fn change(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let one = find(&seat, &id).await?;
    if form.text("do") == "check" {
        return tried(&seat, form, Some(&one)).await;
    }
    let changed = match wanted(&seat, &form, Some(&one)).await {
        Ok(wanted) => seat.api.patch::<EventType>(&format!("/event-types/{}", segment(&id)), &wanted).await,
        Err(failure) => Err(failure),
    };
    match changed {
        Ok(one) => Ok(go(&Flash::Saved.to(&address(&one.id)))),
        Err(failure) => again(&seat, form, Some(&one), &failure).await,
    }
}
