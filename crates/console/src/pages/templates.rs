//! Templates: messages written once. The list, and the builder with a preview for every channel beside it.

use axum::Router;
use axum::extract::Path;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::blocks::{self, Block};
use super::sample;
use crate::api::{Failure, Page as List, Problem, segment};
use crate::form::{Draft, Form};
use crate::query::link;
use crate::session::{Post, Seat};
use crate::ui::{self, Field, Flash, Head, Page, Pager, Tone, errors};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/templates", get(list))
        .route("/templates/new", get(compose).post(create))
        .route("/templates/preview", post(live_preview))
        .route("/templates/{id}", get(edit).post(change))
        .route("/templates/{id}/delete", get(ask_delete).post(delete))
}

const NAV: &str = "/console/templates";
/// Event types of which an event is looked for.
const TRIED: usize = 5;
const FIRST: &str = "**{{ event.name }}** at {{ event.receivedAt }}\n";
const SAMPLE: &str = "{\n  \"customer\": \"Ada Lovelace\",\n  \"items\": [\n    {\"name\": \"Product A\", \"quantity\": 2},\n    {\"name\": \"Product B\", \"quantity\": 1}\n  ]\n}";

#[derive(Deserialize)]
struct Template {
    id: String,
    name: String,
    blocks: Value,
    version: i64,
    updated_at: String,
}

#[derive(Deserialize)]
struct Preview {
    subject: String,
    html: String,
    plain: String,
    slack: String,
    discord: String,
    short: String,
    raw: String,
}

#[derive(Deserialize)]
struct User {
    event_types: Vec<String>,
}

fn address(id: &str) -> String {
    format!("{NAV}/{}", segment(id))
}

async fn find(seat: &Seat, id: &str) -> Result<Template, Failure> {
    seat.api.get(&format!("/templates/{}", segment(id))).await
}

async fn list(seat: Seat) -> Answer {
    let query = &seat.query;
    let templates: List<Template> = seat.api.get(&query.pass("/templates?limit=50", &["search", "cursor"])).await?;
    let is_filtered = query.any(&["search"]);
    let add = ui::button_link("/console/templates/new", "primary", "plus", "New template", true);
    let heads = [Head::new("Template"), Head::opt("Blocks"), Head::opt("Changed"), Head::actions()];
    let draft = Draft::new().set("search", query.text("search"));
    let content = html! {
        @if is_filtered || !templates.items.is_empty() {
            (ui::filters("Templates", html! { (Field::input(&draft, "search", "Search", "search").placeholder("Name").search()) }, is_filtered.then_some(NAV)))
        }
        section.panel-box {
            @if templates.items.is_empty() && is_filtered {
                (ui::empty("search", "Nothing found", "No template has this in its name.", html! { a.button href=(NAV) { "Show all" } }))
            } @else if templates.items.is_empty() {
                (ui::empty("templates", "No templates yet", "A template is a message of text and tables, written once and rendered for e-mail, Slack, Discord and SMS.", add.clone()))
            } @else {
                (ui::table("templates", "Templates", &heads, html! { @for one in &templates.items { (row(one)) } }))
                (ui::pager(&Pager { query, next: templates.next.as_deref(), shown: templates.items.len(), noun: "templates" }))
            }
        }
    };
    let page = Page::new("Templates", NAV).actions(add);
    Ok(page.lede(html! { "Messages, written once for all channels." }).show(&seat, content))
}

fn row(one: &Template) -> Markup {
    let path = address(&one.id);
    html! {
        tr {
            td { a.main-link href=(path) { (one.name) } }
            td.opt { (one.blocks.as_array().map_or(0, Vec::len)) }
            td.opt.nowrap { (ui::ago(&one.updated_at)) }
            td { div.row.end { (ui::menu(&format!("More for {}", one.name), "more", html! {
                a.item href=(path) { (ui::icon("edit")) "Edit" }
                a.item.danger href=(format!("{path}/delete")) { (ui::icon("trash")) "Delete" }
            })) } }
        }
    }
}

async fn compose(seat: Seat) -> Answer {
    builder(&seat, None, StatusCode::OK, first_draft(&seat, None, Draft::new()).await?, &[blocks::text_block(FIRST)], None).await
}

/// A draft whose sample is the newest event of a type that is sent with the template; otherwise the newest of all, if there is one.
async fn first_draft(seat: &Seat, one: Option<&Template>, draft: Draft) -> Result<Draft, Failure> {
    let mut newest = None;
    if let Some(one) = one {
        for name in users(seat, one).await?.iter().filter(|name| !name.contains('*')).take(TRIED) {
            newest = sample::recent(&seat.api, Some(name)).await?.into_iter().next();
            if newest.is_some() {
                break;
            }
        }
    }
    if newest.is_none() {
        newest = sample::recent(&seat.api, None).await?.into_iter().next();
    }
    Ok(draft.set("data", SAMPLE).set("sample", newest.map(|event| event.id).unwrap_or_default()))
}

async fn edit(seat: Seat, Path(id): Path<String>) -> Answer {
    let one = find(&seat, &id).await?;
    let draft = Draft::new().set("name", &one.name).set("version", one.version.to_string());
    let draft = first_draft(&seat, Some(&one), draft).await?;
    let blocks = blocks::of_api(&one.blocks);
    builder(&seat, Some(&one), StatusCode::OK, draft, &blocks, None).await
}

/// The editor with the preview beside it. `previewed` is the preview, if it was made already.
async fn builder(
    seat: &Seat,
    one: Option<&Template>,
    status: StatusCode,
    draft: Draft,
    blocks: &[Block],
    previewed: Option<Markup>,
) -> Answer {
    let path = one.map(|one| address(&one.id));
    let action = path.clone().unwrap_or_else(|| "/console/templates/new".to_owned());
    let events = sample::recent(&seat.api, None).await?;
    let previewed = match previewed {
        Some(previewed) => previewed,
        None => {
            let made = preview(seat, draft.text("sample"), draft.text("data"), blocks).await;
            show_preview(&made)
        }
    };
    let content = html! {
        form.form.builder method="post" action=(action) {
            // Enter in a field means this one.
            button.unseen type="submit" name="do" value="save" tabindex="-1" aria-hidden="true" { "Save" }
            div.stack {
                (ui::csrf(&seat.csrf)) (errors(&draft))
                input type="hidden" name="version" value=(draft.text("version"));
                section.panel-box { div.body {
                    (Field::text(&draft, "name", "Name").required())
                    (blocks::editor(blocks, &draft, &action))
                    p.small.muted {
                        "Light Markdown: " code { "**bold**" } ", " code { "*italic*" } ", " code { "[link](https://…)" } ". Twig: " code { "{{ data.customer }}" } ", "
                        code { "{% if data.paid %}…{% endif %}" } ". The event is " code { "event.name" } ", " code { "event.receivedAt" } " and " code { "data" } "."
                    }
                    div.actions.row {
                        button.button.primary type="submit" name="do" value="save" { "Save" }
                        a.button.quiet href=(NAV) { "Cancel" }
                    }
                } }
            }
            section.panel-box {
                header { h2 { "Preview" } button.button.slim type="submit" name="do" value="preview" formnovalidate formaction=(format!("{action}#preview")) { (ui::icon("again")) "Update" } }
                div.body {
                    (sample::fields(&draft, &events))
                    div.stack id="preview" hx-post="/console/templates/preview" hx-swap="innerHTML"
                        hx-trigger="input delay:500ms from:closest form, change from:closest form" hx-sync="this:replace" { (previewed) }
                }
            }
        }
        @if let (Some(one), Some(path)) = (one, &path) {
            div { (ui::confirm(&seat.csrf, &format!("{path}/delete"), "Delete", &format!("Delete the template {}?", one.name), &delete_about(seat, one).await?)) }
        }
    };
    let title = one.map_or("New template", |one| one.name.as_str());
    Ok(Page::new(title, NAV).under(&[("Templates", NAV)]).status(status).show(seat, content))
}

async fn preview(seat: &Seat, sample: &str, data: &str, blocks: &[Block]) -> Result<Preview, Box<Problem>> {
    let sample = sample::chosen(&seat.api, sample, data).await.map_err(|failure| Box::new(failure.problem()))?;
    let blocks_json = blocks::to_preview(blocks);
    let event = match &sample {
        None => String::new(),
        Some(sample) => {
            let text =
                |name: &str, value: Option<&str>| value.map(|value| format!("\"{name}\":{},", Value::from(value))).unwrap_or_default();
            let (kind, at) = (text("type", sample.type_name.as_deref()), text("received_at", sample.received_at.as_deref()));
            format!(",\"event\":{{{kind}{at}\"data\":{}}}", sample.data)
        }
    };
    let answer = seat.api.post_text("/templates/preview", format!("{{\"blocks\":{blocks_json}{event}}}")).await;
    answer.map_err(|failure| Box::new(blocks::located(blocks, failure.problem())))
}

/// Which text of a preview is a channel's.
type Text = fn(&Preview) -> &str;

/// A way to show a text.
const CHANNELS: [(&str, Text); 5] = [
    ("Slack", |made| &made.slack),
    ("Discord", |made| &made.discord),
    ("SMS and push", |made| &made.short),
    ("Plain text", |made| &made.plain),
    ("Webhook", |made| &made.raw),
];

fn show_preview(made: &Result<Preview, Box<Problem>>) -> Markup {
    html! {
        @match made {
            Err(problem) => (ui::standing(Tone::Bad, html! { (problem.detail) })),
            Ok(made) => {
                div.stack.tight { h3 { "E-mail" } div.mail { p.subject { span.muted { "Subject: " } strong { (made.subject) } } (ui::message(&made.html)) } }
                @for (name, text) in CHANNELS { div.stack.tight { h3 { (name) } (ui::code(name, text(made))) } }
            }
        }
    }
}

/// The preview, while the template is being written. What is wrong is said at its block too.
async fn live_preview(Post { seat, form }: Post) -> Answer {
    let blocks = blocks::of_form(&form);
    let made = preview(&seat, form.text("sample"), form.raw("data"), &blocks).await;
    let part = html! { (show_preview(&made)) (blocks::live_errors(&blocks, made.as_ref().err().map(|problem| &**problem))) };
    Ok(part.into_response())
}

/// What a form of the builder asks for: saving, or another look at the draft.
async fn posted(seat: &Seat, one: Option<&Template>, form: Form) -> Answer {
    let mut blocks = blocks::of_form(&form);
    if !form.is_to_be_saved() {
        blocks::act(&mut blocks, form.text("do"));
        let previewed = show_preview(&preview(seat, form.text("sample"), form.raw("data"), &blocks).await);
        return builder(seat, one, StatusCode::OK, form.into(), &blocks, Some(previewed)).await;
    }
    let mut wanted = json!({"name": form.text("name"), "blocks": blocks::to_api(&blocks)});
    let saved = match one {
        None => seat.api.post::<Template>("/templates", &wanted).await,
        Some(one) => {
            wanted["version"] = form.version().unwrap_or(one.version).into();
            seat.api.patch::<Template>(&format!("/templates/{}", segment(&one.id)), &wanted).await
        }
    };
    match saved {
        Ok(saved) => {
            let flash = if one.is_some() { Flash::Saved } else { Flash::Created };
            Ok(go(&flash.to(&address(&saved.id))))
        }
        Err(failure) => {
            let problem = blocks::located(&blocks, failure.problem());
            let previewed = show_preview(&preview(seat, form.text("sample"), form.raw("data"), &blocks).await);
            let draft = Draft::from(form).with_problem(problem);
            builder(seat, one, StatusCode::UNPROCESSABLE_ENTITY, draft, &blocks, Some(previewed)).await
        }
    }
}

async fn create(Post { seat, form }: Post) -> Answer {
    posted(&seat, None, form).await
}

async fn change(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let one = find(&seat, &id).await?;
    posted(&seat, Some(&one), form).await
}

/// Event types, by name or by wildcard, that are sent with a template.
async fn users(seat: &Seat, one: &Template) -> Result<Vec<String>, Failure> {
    let users: List<User> = seat.api.get(&link("/subscriptions?limit=100", [("template_id", one.id.as_str())])).await?;
    let mut names: Vec<String> = users.items.into_iter().flat_map(|user| user.event_types).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

async fn delete_about(seat: &Seat, one: &Template) -> Result<String, Failure> {
    let names = users(seat, one).await?;
    Ok(match names.is_empty() {
        true => "No delivery uses it.".to_owned(),
        false => format!("Deliveries of these event types use it, and must get another one first: {}.", names.join(", ")),
    })
}

async fn ask_delete(seat: Seat, Path(id): Path<String>) -> Answer {
    let one = find(&seat, &id).await?;
    delete_page(&seat, &one, StatusCode::OK, None).await
}

async fn delete_page(seat: &Seat, one: &Template, status: StatusCode, failure: Option<&Failure>) -> Answer {
    let path = address(&one.id);
    let about = delete_about(seat, one).await?;
    let content = html! {
        @if let Some(failure) = failure { (ui::notice(Tone::Bad, html! { (failure.problem().detail) })) }
        (ui::confirm_page(&seat.csrf, &format!("{path}/delete"), "Delete", &format!("Delete the template {}?", one.name), &about, &path))
    };
    Ok(Page::new("Delete", NAV).under(&[("Templates", NAV), (&one.name, &path)]).narrow().status(status).show(seat, content))
}

async fn delete(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    match seat.api.delete(&format!("/templates/{}", segment(&id))).await {
        Ok(()) => Ok(go(&Flash::Deleted.to(NAV))),
        Err(failure) if failure.status() == StatusCode::NOT_FOUND => Err(failure),
        Err(failure) => {
            let one = find(&seat, &id).await?;
            delete_page(&seat, &one, failure.status(), Some(&failure)).await
        }
    }
}
