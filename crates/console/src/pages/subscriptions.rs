//! What a target gets: its subscriptions, and the picker of event types.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::sample;
use super::targets::{self, Target};
use crate::api::{Api, Failure, Page as List, Problem, segment};
use crate::form::{Draft, Form};
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Head, Page, errors, fold, submit};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/targets/{id}/subscriptions/new", get(new).post(create))
        .route("/targets/{id}/subscriptions/{subscription}", get(edit).post(save))
        .route("/targets/{id}/subscriptions/{subscription}/delete", get(ask).post(delete))
}

/// A subscription as the API shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Subscription {
    pub id: String,
    pub target_id: String,
    pub event_types: Vec<String>,
    pub template_id: Option<String>,
    pub format: Option<String>,
    pub filter: Option<Value>,
    pub policy: Option<Value>,
    pub description: String,
    pub enabled: bool,
    pub notify: Option<String>,
    version: i64,
}

/// The life of a message that this server sends, which every dialect tells in its own words.
const LIFE: [Choice<'static>; 11] = [
    Choice::new("message.accepted", "Accepted"),
    Choice::new("message.sent", "Sent"),
    Choice::new("message.delivered", "Delivered"),
    Choice::new("message.deferred", "Deferred"),
    Choice::new("message.failed", "Failed"),
    Choice::new("message.opened", "Opened"),
    Choice::new("message.clicked", "Clicked"),
    Choice::new("message.unsubscribed", "Unsubscribed"),
    Choice::new("message.complained", "Complained"),
    Choice::new("message.received", "Received"),
    Choice::new("posthaste.delivery.failed", "A delivery was given up"),
];
const LIFE_NAME: &str = "Messages of this server";
/// The group of event types that are in none.
const OTHER: &str = "Other event types";

#[derive(Deserialize)]
struct EventType {
    name: String,
    group: Option<String>,
    #[serde(default)]
    description: String,
}

/// An event type that can be picked: its name, what people read, and more about it.
type Kind = (String, String, String);

/// Event types that can be picked, in their groups.
pub(super) struct Groups(Vec<(String, Vec<Kind>)>);

impl Groups {
    /// Those of the workspace, and those of messages.
    pub async fn read(api: &Api) -> Result<Self, Failure> {
        let known: List<EventType> = api.get("/event-types?limit=1000&order=asc").await?;
        let mut groups: Vec<(String, Vec<Kind>)> = Vec::new();
        for kind in known.items {
            let group = kind.group.filter(|group| !group.is_empty()).unwrap_or_else(|| OTHER.to_owned());
            let item = (kind.name.clone(), kind.name, kind.description);
            match groups.iter_mut().find(|(name, _)| *name == group) {
                Some((_, items)) => items.push(item),
                None => groups.push((group, vec![item])),
            }
        }
        groups.sort_by(|a, b| (a.0 == OTHER, &a.0).cmp(&(b.0 == OTHER, &b.0)));
        let life = LIFE.iter().map(|choice| (choice.value.to_owned(), choice.label.to_owned(), String::new())).collect();
        groups.push((LIFE_NAME.to_owned(), life));
        Ok(Self(groups))
    }

    /// The fields. Every type is chosen unless somebody chooses otherwise.
    pub fn picker(&self, draft: &Draft, may_be_none: bool) -> Markup {
        let mut modes = vec![Choice::new("all", "All event types"), Choice::new("chosen", "Let me choose event types")];
        if may_be_none {
            modes.push(Choice::new("none", "None yet"));
        }
        html! {
            div.chooser {
                (ui::radios(draft, "events", "Events", &modes))
                div.chosen.form {
                    div.groups {
                        @for (group, items) in &self.0 {
                            @let choices: Vec<Choice<'_>> = items.iter().map(|(value, label, hint)| Choice::new(value, label).with_hint(hint)).collect();
                            (ui::check_group(draft, "event_types", group, &choices))
                        }
                    }
                    (Field::area(draft, "event_names", "Other names and wildcards", 2).mono().optional().hint("One on a line, such as order.* – names need not be defined."))
                }
                (ui::group_error(draft, "event_types"))
            }
        }
    }

    /// The types that a form asks for; `None` if it asks for no subscription.
    pub fn chosen(&self, form: &Form) -> Option<Vec<String>> {
        match form.text("events") {
            "none" => return None,
            "chosen" => {}
            _ => return Some(vec!["*".to_owned()]),
        }
        let mut types: Vec<String> = Vec::new();
        let whole = form.all("event_types_groups").filter_map(|group| self.0.iter().find(|(name, _)| name == group));
        let of_groups = whole.flat_map(|(_, items)| items.iter().map(|(name, ..)| name.clone()));
        for name in of_groups.chain(form.all("event_types").map(str::to_owned)).chain(form.lines("event_names")) {
            if !types.contains(&name) {
                types.push(name);
            }
        }
        Some(types)
    }

    /// A form with these types picked.
    fn draft(&self, draft: Draft, types: &[String]) -> Draft {
        if types == ["*"] {
            return draft.set("events", "all");
        }
        let is_known = |name: &String| self.0.iter().any(|(_, items)| items.iter().any(|(known, ..)| known == name));
        let (known, other): (Vec<String>, Vec<String>) = types.iter().cloned().partition(is_known);
        known
            .into_iter()
            .fold(draft.set("events", "chosen").set("event_names", other.join("\n")), |draft, name| draft.and("event_types", name))
    }
}

#[derive(Deserialize)]
struct MadeWithTarget {
    target_id: String,
}

/// Makes a target with a subscription of its own: both, or neither. Answers the id of the target; refusals name its fields as it does.
pub(super) async fn with_target(api: &Api, types: Vec<String>, target: Value, more: Option<(&str, &str)>) -> Result<String, Failure> {
    let mut wanted = json!({ "event_types": types, "target": target });
    if let Some((name, value)) = more {
        wanted[name] = value.into();
    }
    let made: Result<MadeWithTarget, Failure> = api.post("/subscriptions", &wanted).await;
    let own = |field: &str| field.strip_prefix("target.").unwrap_or(field).to_owned();
    made.map(|made| made.target_id).map_err(|failure| failure.renamed(own))
}

/// Subscriptions on the page of their target.
pub(super) fn table(target: &Target, subscriptions: &[Subscription]) -> Markup {
    let add = format!("{}/subscriptions/new", target.address());
    if subscriptions.is_empty() {
        let next = html! { a.button.primary href=(add) { "Choose events" } };
        return ui::empty("events", "It gets nothing yet", "A subscription says which events go to this target.", next);
    }
    let heads = [Head::new("Events"), Head::opt("Form"), Head::new("State"), Head::actions()];
    let rows = html! {
        @for one in subscriptions {
            @let href = format!("{}/subscriptions/{}", target.address(), segment(&one.id));
            tr {
                td {
                    a.main-link href=(href) {
                        @if one.event_types == ["*"] { "All event types" }
                        @else { @for (at, name) in one.event_types.iter().take(8).enumerate() { @if at > 0 { ", " } code { (name) } } @if one.event_types.len() > 8 { " and " (one.event_types.len() - 8) " more" } }
                    }
                    @if !one.description.is_empty() { div.small.muted { (one.description) } }
                    @if one.filter.is_some() { div.small.muted { "with a filter on the payload" } }
                }
                td.opt { @match (&one.format, &one.template_id) { (Some(format), _) => (targets::dialect_name(format)), (_, Some(_)) => "Template", _ => "Default" } }
                td { @if one.enabled { (ui::status("enabled")) } @else { (ui::badge(ui::Tone::Plain, "stop", "Off")) } }
                td.num { (ui::menu("Actions", "more", html! {
                    a.item href=(href) { (ui::icon("edit")) "Edit" }
                    a.item.danger href=(format!("{href}/delete")) { (ui::icon("trash")) "Delete" }
                })) }
            }
        }
    };
    ui::table("subscriptions", "Subscriptions", &heads, rows)
}

/// Formats of requests, the default first.
const FORMATS: [&str; 7] = ["standard", "raw", "msggo", "mailgun", "momentum", "msgine", "messagemedia"];

#[derive(Deserialize)]
struct Template {
    id: String,
    name: String,
}

/// What the form is about.
struct Sheet<'a> {
    target: &'a Target,
    groups: &'a Groups,
    templates: &'a [Template],
    /// Id of the subscription that is changed.
    id: Option<&'a str>,
}

impl Sheet<'_> {
    fn page(&self, seat: &Seat, draft: &Draft, status: StatusCode) -> Response {
        let back = self.target.address();
        let action = format!("{back}/subscriptions/{}", self.id.map_or_else(|| "new".to_owned(), segment));
        let templates: Vec<Choice<'_>> =
            std::iter::once(Choice::new("", "None")).chain(self.templates.iter().map(|one| Choice::new(&one.id, &one.name))).collect();
        let formats: Vec<Choice<'_>> = std::iter::once(Choice::new("", "Standard Webhooks (the default)"))
            .chain(FORMATS.iter().map(|name| Choice::new(name, targets::dialect_name(name))))
            .collect();
        let is_webhook = self.target.channel == "webhook";
        let given = |name: &str| !draft.text(name).is_empty() || draft.error(name).is_some();
        let content = html! {
            form.form method="post" action=(action) {
                (ui::csrf(&seat.csrf)) (errors(draft))
                input type="hidden" name="version" value=(draft.text("version"));
                (ui::section("Which events", self.groups.picker(draft, false)))
                (ui::section("How", html! {
                    @if is_webhook { (Field::select(draft, "format", "Format of the request", &formats)) }
                    (Field::select(draft, "template_id", "Template", &templates).hint(html! { "Renders the events for people; without one they are shown as they are. " a href="/console/templates" { "Templates" } }))
                    (Field::text(draft, "description", "Description").optional())
                    (ui::tick(draft, "enabled", "Enabled", "Switched off, it matches nothing."))
                }))
                (fold(given("filter"), html! { "Filter on the payload" }, html! {
                    (Field::code(draft, "filter", "Filter (JSON)", 6).hint(html! { "Only events whose payload meets it, such as " code { "{\"amount\": {\"$gt\": 100}}" } "." }))
                }))
                (fold(given("policy") || given("notify"), html! { "Policy and notices" }, html! {
                    (Field::code(draft, "policy", "Policy of its own (JSON)", 6).hint(html! { "Overrides the target's, such as " code { "{\"timeout\": \"5s\"}" } "." }))
                    (Field::text(draft, "notify", "Mail to, when a delivery fails for good").optional().hint("An e-mail address, or owner."))
                }))
                div.actions { (submit(if self.id.is_some() { "Save" } else { "Add subscription" })) a.button.quiet href=(back) { "Cancel" } }
            }
        };
        let title = if self.id.is_some() { "Edit subscription" } else { "Add subscription" };
        let crumbs = [("Targets", "/console/targets"), (self.target.name.as_str(), back.as_str())];
        Page::new(title, "/console/targets").under(&crumbs).narrow().status(status).show(seat, content)
    }
}

/// The templates that can be chosen; the one that is chosen is always among them, because saving the form must not drop it.
async fn templates(api: &Api, chosen: &str) -> Result<Vec<Template>, Failure> {
    let mut all = api.get::<List<Template>>("/templates?limit=1000&order=asc").await?.items;
    if !chosen.is_empty() && !all.iter().any(|one| one.id == chosen) {
        let known: Option<Template> = api.find(&format!("/templates/{}", segment(chosen))).await?;
        all.push(known.unwrap_or_else(|| Template { id: chosen.to_owned(), name: format!("A deleted template ({chosen})") }));
    }
    Ok(all)
}

/// JSON of a field; `null` if it is empty.
fn parsed(form: &Form, name: &str) -> Result<Value, Failure> {
    form.given(name).map_or(Ok(Value::Null), |text| sample::read(name, text))
}

fn document(form: &Form, target_id: &str, groups: &Groups) -> Result<Value, Failure> {
    let text = |name: &str| form.given(name).map_or(Value::Null, Value::from);
    Ok(json!({
        "event_types": groups.chosen(form).unwrap_or_default(),
        "target_id": target_id,
        "template_id": text("template_id"),
        "format": text("format"),
        "filter": parsed(form, "filter")?,
        "policy": parsed(form, "policy")?,
        "notify": text("notify"),
        "description": form.text("description"),
        "enabled": form.is_ticked("enabled"),
    }))
}

async fn new(seat: Seat, Path(id): Path<String>) -> Answer {
    let (target, groups, templates) =
        (targets::find(&seat.api, &id).await?, Groups::read(&seat.api).await?, templates(&seat.api, "").await?);
    let draft = Draft::new().set("events", "all").set("enabled", "true").set("format", seat.query.text("format"));
    Ok(Sheet { target: &target, groups: &groups, templates: &templates, id: None }.page(&seat, &draft, StatusCode::OK))
}

async fn create(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let groups = Groups::read(&seat.api).await?;
    let made = match document(&form, &id, &groups) {
        Ok(wanted) => seat.api.post::<Value>("/subscriptions", &wanted).await,
        Err(failure) => Err(failure),
    };
    let Err(failure) = made else { return Ok(go(&Flash::Created.to(&targets::address(&id)))) };
    let draft = Draft::from(form).refused(&failure);
    let (target, templates) = (targets::find(&seat.api, &id).await?, templates(&seat.api, draft.text("template_id")).await?);
    Ok(Sheet { target: &target, groups: &groups, templates: &templates, id: None }.page(&seat, &draft, StatusCode::UNPROCESSABLE_ENTITY))
}

/// A subscription of a target. One of another target is not there: its address would move it.
async fn of_target(api: &Api, target_id: &str, id: &str) -> Result<Subscription, Failure> {
    let one: Subscription = api.get(&format!("/subscriptions/{}", segment(id))).await?;
    if one.target_id != target_id {
        let (status, title) = (404, "Not found".to_owned());
        return Err(Failure::Refused(Box::new(Problem { status, title, code: "not_found".into(), ..Problem::default() })));
    }
    Ok(one)
}

async fn edit(seat: Seat, Path((id, subscription)): Path<(String, String)>) -> Answer {
    let one = of_target(&seat.api, &id, &subscription).await?;
    let chosen = one.template_id.as_deref().unwrap_or_default();
    let (target, groups, templates) =
        (targets::find(&seat.api, &id).await?, Groups::read(&seat.api).await?, templates(&seat.api, chosen).await?);
    let json = |value: &Option<Value>| value.as_ref().and_then(|value| serde_json::to_string_pretty(value).ok()).unwrap_or_default();
    let draft = Draft::new()
        .set("description", one.description.as_str())
        .set("format", one.format.as_deref().unwrap_or_default())
        .set("template_id", chosen)
        .set("notify", one.notify.as_deref().unwrap_or_default())
        .set("filter", json(&one.filter))
        .set("policy", json(&one.policy))
        .set("enabled", if one.enabled { "true" } else { "" })
        .set("version", one.version.to_string());
    let draft = groups.draft(draft, &one.event_types);
    Ok(Sheet { target: &target, groups: &groups, templates: &templates, id: Some(&one.id) }.page(&seat, &draft, StatusCode::OK))
}

async fn save(Path((id, subscription)): Path<(String, String)>, Post { seat, form }: Post) -> Answer {
    let (one, groups) = (of_target(&seat.api, &id, &subscription).await?, Groups::read(&seat.api).await?);
    let path = format!("/subscriptions/{}", segment(&subscription));
    let saved = match document(&form, &id, &groups) {
        Ok(mut wanted) => {
            if let Some(version) = form.version() {
                wanted["version"] = version.into();
            }
            seat.api.put::<Value>(&path, &wanted).await
        }
        Err(failure) => Err(failure),
    };
    let Err(failure) = saved else { return Ok(go(&Flash::Saved.to(&targets::address(&id)))) };
    let draft = Draft::from(form).refused(&failure);
    let (target, templates) = (targets::find(&seat.api, &id).await?, templates(&seat.api, draft.text("template_id")).await?);
    let sheet = Sheet { target: &target, groups: &groups, templates: &templates, id: Some(&one.id) };
    Ok(sheet.page(&seat, &draft, StatusCode::UNPROCESSABLE_ENTITY))
}

async fn ask(seat: Seat, Path((id, subscription)): Path<(String, String)>) -> Answer {
    let (target, one) = (targets::find(&seat.api, &id).await?, of_target(&seat.api, &id, &subscription).await?);
    let back = target.address();
    let action = format!("{back}/subscriptions/{}/delete", segment(&one.id));
    let about = "New events make no delivery by it any more, and what waits because of it is cancelled.";
    let content = ui::confirm_page(&seat.csrf, &action, "Delete subscription", "Delete this subscription?", about, &back);
    let crumbs = [("Targets", "/console/targets"), (target.name.as_str(), back.as_str())];
    Ok(Page::new("Delete subscription", "/console/targets").under(&crumbs).narrow().show(&seat, content))
}

async fn delete(Path((id, subscription)): Path<(String, String)>, Post { seat, .. }: Post) -> Answer {
    let one = of_target(&seat.api, &id, &subscription).await?;
    seat.api.delete(&format!("/subscriptions/{}", segment(&one.id))).await?;
    Ok(go(&Flash::Deleted.to(&targets::address(&id))))
}
