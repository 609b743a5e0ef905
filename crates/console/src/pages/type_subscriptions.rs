//! Where events of a type go: the list of its subscriptions; switching off, deleting and filtering one of them.

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::sample;
use super::types::{self, EventType, NAV, address, pretty};
use crate::api::{Api, Failure, Page as List, segment};
use crate::form::{Draft, Form};
use crate::query::link;
use crate::session::{Post, Seat};
use crate::ui::{self, Field, Flash, Head, Page, Tone, errors};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/events/{id}/deliveries/{subscription}", get(edit).post(change))
        .route("/events/{id}/deliveries/{subscription}/off", get(ask_off).post(switch_off))
        .route("/events/{id}/deliveries/{subscription}/on", post(switch_on))
        .route("/events/{id}/deliveries/{subscription}/delete", get(ask_delete).post(delete))
}

#[derive(Deserialize)]
struct Subscription {
    id: String,
    event_types: Vec<String>,
    target_id: String,
    template_id: Option<String>,
    format: Option<String>,
    filter: Option<Value>,
    #[serde(default)]
    description: String,
    enabled: bool,
    version: i64,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    channel: String,
    status: String,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// What the test of a filter found.
#[derive(Deserialize)]
struct Tested {
    matched: bool,
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
struct Finding {
    path: String,
    condition: Value,
    held: bool,
    found: Option<Value>,
}

async fn find(api: &Api, id: &str) -> Result<Subscription, Failure> {
    api.get(&format!("/subscriptions/{}", segment(id))).await
}

fn path_of(one: &EventType, id: &str) -> String {
    format!("{}/deliveries/{}", address(&one.id), segment(id))
}

const HEADS: [Head<'static>; 4] = [Head::new("Target"), Head::new("Sent as"), Head::new("State"), Head::actions()];

/// The subscriptions that take events of a type, as a table.
pub(super) async fn of_type(seat: &Seat, one: &EventType) -> Result<Markup, Failure> {
    let all: List<Subscription> = seat.api.get(&link("/subscriptions?limit=100&order=asc", [("event_type", one.name.as_str())])).await?;
    if all.items.is_empty() {
        let next = ui::button_link(&format!("{}/delivery", address(&one.id)), "primary", "plus", "Add delivery", false);
        return Ok(ui::empty(
            "targets",
            "It goes nowhere yet",
            "Its events are stored, and nobody gets them. Add a delivery: a target, and how the message looks.",
            next,
        ));
    }
    let mut rows = Vec::with_capacity(all.items.len());
    for subscription in &all.items {
        rows.push(row(seat, one, subscription).await?);
    }
    Ok(html! {
        (ui::table("deliveries", "Deliveries of this event type", &HEADS, html! { @for row in &rows { (row) } }))
        @if all.next.is_some() { p.small.muted { "The first 100 are shown." } }
    })
}

async fn row(seat: &Seat, one: &EventType, subscription: &Subscription) -> Result<Markup, Failure> {
    let target: Option<Target> = seat.api.find(&format!("/targets/{}", segment(&subscription.target_id))).await?;
    let template: Option<(&str, Option<Named>)> = match subscription.template_id.as_deref() {
        Some(id) => Some((id, seat.api.find(&format!("/templates/{}", segment(id))).await?)),
        None => None,
    };
    let path = path_of(one, &subscription.id);
    let name = target.as_ref().map_or("A deleted target", |target| target.name.as_str());
    let others = others(one, subscription);
    Ok(html! {
        tr {
            td {
                a.main-link href=(path) { (name) }
                div.small.muted {
                    @if let Some(target) = &target { (target.channel) }
                    @if !others.is_empty() { ", takes " (others.join(", ")) " too" }
                }
                @if !subscription.description.is_empty() { div.small.muted { (subscription.description) } }
            }
            td {
                @match (&template, subscription.format.as_deref()) {
                    (Some((id, template)), _) => a href=(format!("/console/templates/{}", segment(id))) { (template.as_ref().map_or("A deleted template", |template| template.name.as_str())) },
                    (None, Some(format)) => code { (format) },
                    (None, None) => span.muted { "Default" },
                }
                @if subscription.filter.is_some() { div.small.muted { "with a filter" } }
            }
            td.nowrap {
                @if !subscription.enabled { (ui::badge(Tone::Plain, "stop", "Off")) }
                @else if let Some(target) = &target { (ui::status(&target.status)) }
            }
            td { div.row.end {
                (ui::menu(&format!("More for the delivery to {name}"), "more", html! {
                    a.item href=(path) { (ui::icon("filter")) "Filter" }
                    a.item href=(format!("/console/targets/{}", segment(&subscription.target_id))) { (ui::icon("targets")) "Target" }
                    @if subscription.enabled { a.item href=(format!("{path}/off")) { (ui::icon("stop")) "Switch off" } }
                    @else { (ui::button(&seat.csrf, &format!("{path}/on"), "quiet", "play", "Switch on")) }
                    a.item.danger href=(format!("{path}/delete")) { (ui::icon("trash")) "Delete" }
                }))
            } }
        }
    })
}

async fn edit(seat: Seat, Path((id, subscription)): Path<(String, String)>) -> Answer {
    let one = types::find(&seat, &id).await?;
    let subscription = find(&seat.api, &subscription).await?;
    let draft = Draft::new()
        .set("filter", subscription.filter.as_ref().map(pretty).unwrap_or_default())
        .set("description", &subscription.description)
        .set("version", subscription.version.to_string());
    page(&seat, &one, &subscription, StatusCode::OK, &draft, html! {}).await
}

async fn page(seat: &Seat, one: &EventType, subscription: &Subscription, status: StatusCode, draft: &Draft, found: Markup) -> Answer {
    let (path, type_path) = (path_of(one, &subscription.id), address(&one.id));
    let target: Option<Target> = seat.api.find(&format!("/targets/{}", segment(&subscription.target_id))).await?;
    let name = target.as_ref().map_or("A deleted target", |target| target.name.as_str());
    let events = sample::recent(&seat.api, Some(&one.name)).await?;
    let content = html! {
        form.form.columns method="post" action=(path) {
            section.panel-box { header { h2 { "Filter" } } div.body {
                (ui::csrf(&seat.csrf)) (errors(draft))
                input type="hidden" name="version" value=(draft.text("version"));
                (Field::code(draft, "filter", "Condition on the payload (JSON)", 10)
                    .hint(html! { "Such as " code { r#"{"amount": {"$gt": 100}}"# } ". Without one every event of the type is taken." }).optional())
                (Field::text(draft, "description", "Description").optional())
                div.actions {
                    button.button.primary type="submit" name="do" value="save" { "Save" }
                    a.button.quiet href=(type_path) { "Cancel" }
                }
            } }
            section.panel-box { header { h2 { "Try the filter" } } div.body {
                (found)
                (sample::fields(draft, &events))
                div { button.button type="submit" name="do" value="test" formnovalidate { "Try it" } }
            } }
        }
    };
    let title = format!("Delivery to {name}");
    let remove = ui::confirm(
        &seat.csrf,
        &format!("{path}/delete"),
        "Delete",
        &format!("Delete the delivery to {name}?"),
        &about(DELETE, one, subscription),
    );
    Ok(Page::new(&title, NAV).under(&[("Events", NAV), (&one.name, &type_path)]).status(status).actions(remove).show(seat, content))
}

/// Tries the filter of a form on its sample.
async fn test(seat: &Seat, form: &Form) -> Result<Markup, Failure> {
    let filter: Box<RawValue> = sample::read("filter", form.given("filter").unwrap_or("{}"))?;
    let Some(sample) = sample::chosen(&seat.api, form.text("sample"), form.raw("data")).await? else {
        return Ok(ui::notice(Tone::Info, html! { "Choose a recent event, or write a document to try the filter on." }));
    };
    let tested: Tested = seat.api.post_text("/filters/test", format!("{{\"filter\":{filter},\"sample\":{}}}", sample.data)).await?;
    Ok(html! {
        @if tested.matched { (ui::notice(Tone::Ok, html! { "The filter takes the sample." })) }
        @else { (ui::notice(Tone::Bad, html! { "The filter does not take the sample." })) }
        @if !tested.findings.is_empty() {
            (ui::table("", "What each condition found", &[Head::new("Condition"), Head::new("Found"), Head::new("Holds")], html! {
                @for finding in &tested.findings {
                    tr {
                        td { code { (finding.path) } " " code { (finding.condition) } }
                        td { @match &finding.found { Some(found) => code { (found) }, None => span.muted { "nothing" } } }
                        td { @if finding.held { (ui::badge(Tone::Ok, "ok", "Yes")) } @else { (ui::badge(Tone::Bad, "bad", "No")) } }
                    }
                }
            }))
        }
    })
}

async fn change(Path((id, subscription)): Path<(String, String)>, Post { seat, form }: Post) -> Answer {
    let one = types::find(&seat, &id).await?;
    let subscription = find(&seat.api, &subscription).await?;
    let refused = match form.is_to_be_saved() {
        true => match save(&seat, &subscription, &form).await {
            Ok(()) => return Ok(go(&Flash::Saved.to(&address(&one.id)))),
            Err(failure) => failure,
        },
        false => match test(&seat, &form).await {
            Ok(found) => return page(&seat, &one, &subscription, StatusCode::OK, &form.into(), found).await,
            Err(failure) => failure,
        },
    };
    page(&seat, &one, &subscription, StatusCode::UNPROCESSABLE_ENTITY, &at_filter(Draft::from(form), &refused), html! {}).await
}

/// The place of a mistake within the filter is a place of the filter's field.
pub(super) fn at_filter(draft: Draft, failure: &Failure) -> Draft {
    let mut problem = failure.problem();
    if problem.field.as_deref().is_some_and(|field| field.starts_with("filter")) {
        problem.field = Some("filter".to_owned());
    }
    draft.with_problem(problem)
}

async fn save(seat: &Seat, subscription: &Subscription, form: &Form) -> Result<(), Failure> {
    let path = format!("/subscriptions/{}", segment(&subscription.id));
    // A merge patch would merge the conditions of both filters, so the whole is replaced.
    let mut whole: Value = seat.api.get(&path).await?;
    whole["filter"] = match form.given("filter") {
        Some(text) => sample::read("filter", text)?,
        None => Value::Null,
    };
    whole["description"] = form.text("description").into();
    whole["version"] = form.version().unwrap_or(subscription.version).into();
    seat.api.put::<serde::de::IgnoredAny>(&path, &whole).await.map(drop)
}

async fn set_enabled(seat: &Seat, id: &str, subscription: &str, enabled: bool) -> Answer {
    let path = format!("/subscriptions/{}", segment(subscription));
    seat.api.patch::<serde::de::IgnoredAny>(&path, &json!({"enabled": enabled})).await?;
    Ok(go(&Flash::Saved.to(&address(id))))
}

async fn switch_off(Path((id, subscription)): Path<(String, String)>, Post { seat, .. }: Post) -> Answer {
    set_enabled(&seat, &id, &subscription, false).await
}

async fn switch_on(Path((id, subscription)): Path<(String, String)>, Post { seat, .. }: Post) -> Answer {
    set_enabled(&seat, &id, &subscription, true).await
}

const OFF: &str = "Events that come while it is off do not go this way, and are not sent later either. What waits already still goes out. To hold \
                   deliveries without losing one, pause the target.";
const DELETE: &str = "Events no longer go this way, and what waits because of it is cancelled. The target and the template stay, and so does the log \
                      of what was delivered.";

/// What else a subscription takes.
fn others<'a>(one: &EventType, subscription: &'a Subscription) -> Vec<&'a str> {
    subscription.event_types.iter().map(String::as_str).filter(|pattern| *pattern != one.name).collect()
}

/// What a change does, with the other event types that it concerns.
fn about(what: &str, one: &EventType, subscription: &Subscription) -> String {
    match others(one, subscription).as_slice() {
        [] => what.to_owned(),
        others => format!("{what} It takes these too, and they are concerned as well: {}.", others.join(", ")),
    }
}

async fn ask_off(seat: Seat, Path((id, subscription)): Path<(String, String)>) -> Answer {
    ask(&seat, &id, &subscription, ("off", "Switch off", "Switch the delivery off?"), OFF).await
}

async fn ask_delete(seat: Seat, Path((id, subscription)): Path<(String, String)>) -> Answer {
    ask(&seat, &id, &subscription, ("delete", "Delete", "Delete the delivery?"), DELETE).await
}

/// A question before a change: the last part of its address, its button and the question.
async fn ask(seat: &Seat, id: &str, subscription: &str, (action, label, question): (&str, &str, &str), what: &str) -> Answer {
    let one = types::find(seat, id).await?;
    let subscription = find(&seat.api, subscription).await?;
    let (path, type_path) = (path_of(&one, &subscription.id), address(&one.id));
    let about = about(what, &one, &subscription);
    let content = ui::confirm_page(&seat.csrf, &format!("{path}/{action}"), label, question, &about, &type_path);
    Ok(Page::new(label, NAV).under(&[("Events", NAV), (&one.name, &type_path)]).narrow().show(seat, content))
}

async fn delete(Path((id, subscription)): Path<(String, String)>, Post { seat, .. }: Post) -> Answer {
    seat.api.delete(&format!("/subscriptions/{}", segment(&subscription))).await?;
    Ok(go(&Flash::Deleted.to(&address(&id))))
}
