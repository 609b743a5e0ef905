//! Settings: the workspace and its neighbours, what the workspace chose in each dialect, and what the server runs with.

mod dialects;

pub(super) use dialects::renew_secret;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::problem::{administrators_only, operators_only};
use crate::api::{Failure, Page as List, segment};
use crate::form::Draft;
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Head, Page, Tone, errors, submit};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/settings", get(home))
        .route("/settings/workspace", get(workspace).post(rename))
        .route("/settings/workspaces", get(workspaces))
        .route("/settings/workspaces/new", get(compose).post(create))
        .route("/settings/server", get(server))
        .merge(dialects::routes())
}

const HERE: &str = "/console/settings";

#[derive(Deserialize)]
struct Workspace {
    id: String,
    name: String,
    created_at: String,
    version: i64,
}

#[derive(Deserialize)]
struct NewWorkspace {
    name: String,
    token: String,
}

#[derive(Deserialize)]
struct Setting {
    name: String,
    value: String,
    is_default: bool,
    about: String,
    variable: String,
}

#[derive(Deserialize)]
struct Items<T> {
    items: Vec<T>,
}

/// The first page of the settings that this person may see.
async fn home(seat: Seat) -> Response {
    go(if seat.is_admin() { "/console/settings/workspace" } else { "/console/settings/dialects" })
}

/// The pages of the settings. Everybody sees those that the API shows them.
fn tabs(seat: &Seat, current: &str) -> Markup {
    let all = [
        ("Workspace", "workspace", seat.is_admin()),
        ("Dialects", "dialects", true),
        ("All workspaces", "workspaces", seat.is_operator()),
        ("Server", "server", seat.is_operator()),
    ];
    let shown: Vec<(&str, String)> =
        all.into_iter().filter(|(.., is_shown)| *is_shown).map(|(name, path, _)| (name, format!("{HERE}/{path}"))).collect();
    ui::tabs("Settings", current, &shown)
}

fn is_refused(failure: &Failure) -> bool {
    failure.status() == StatusCode::FORBIDDEN
}

async fn workspace(seat: Seat) -> Answer {
    let path = format!("/workspaces/{}", segment(&seat.workspace.id));
    match seat.api.get::<Workspace>(&path).await {
        Ok(workspace) => {
            let draft = Draft::new().set("name", &workspace.name).set("version", workspace.version.to_string());
            Ok(workspace_page(&seat, StatusCode::OK, &workspace, &draft))
        }
        Err(failure) if is_refused(&failure) => {
            Ok(administrators_only(&seat, "Settings", HERE, "The name of a workspace is changed by its administrators."))
        }
        Err(failure) => Err(failure),
    }
}

fn workspace_page(seat: &Seat, status: StatusCode, workspace: &Workspace, draft: &Draft) -> Response {
    let content = html! {
        (tabs(seat, "Workspace"))
        (ui::section("Name", html! {
            form.form method="post" action="/console/settings/workspace" {
                (ui::csrf(&seat.csrf)) (errors(draft))
                input type="hidden" name="version" value=(draft.text("version"));
                (Field::text(draft, "name", "Name").hint("Shown at the top of every page.").required())
                div.actions { (submit("Save")) }
            }
        }))
        (ui::section("About it", ui::facts(&[
            ("Id", html! { code { (workspace.id) } }),
            ("Made", ui::full_time(&workspace.created_at)),
            ("Members", html! { a href="/console/members" { "Who may come in" } }),
            ("Keys", html! { a href="/console/keys" { "What programs show" } }),
        ])))
    };
    Page::new("Settings", HERE).narrow().status(status).show(seat, content)
}

async fn rename(Post { seat, form }: Post) -> Answer {
    let path = format!("/workspaces/{}", segment(&seat.workspace.id));
    let mut wanted = json!({"name": form.text("name")});
    if let Some(version) = form.version() {
        wanted["version"] = version.into();
    }
    match seat.api.patch::<Workspace>(&path, &wanted).await {
        Ok(_) => Ok(go(&Flash::Saved.to("/console/settings/workspace"))),
        Err(failure) => {
            let workspace = seat.api.get(&path).await?;
            Ok(workspace_page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &workspace, &Draft::from(form).refused(&failure)))
        }
    }
}

const WORKSPACES: &str = "All workspaces are seen by those who run the server, and they make new ones.";
const WORKSPACE_HEADS: [Head<'static>; 3] = [Head::new("Name"), Head::opt("Id"), Head::new("Made")];

async fn workspaces(seat: Seat) -> Answer {
    if !seat.is_operator() {
        return Ok(operators_only(&seat, "Settings", HERE, WORKSPACES));
    }
    let found: List<Workspace> = seat.api.get(&seat.query.pass("/workspaces?limit=100&order=asc", &["cursor"])).await?;
    let rows = html! {
        @for one in &found.items {
            tr {
                td { div.row { span { (one.name) }
                    @if one.id == seat.workspace.id { (ui::badge(Tone::Ok, "ok", "This one")) }
                    @else if seat.workspaces.iter().any(|room| room.id == one.id) {
                        form method="post" action="/console/workspace" {
                            (ui::csrf(&seat.csrf))
                            button.button.slim type="submit" name="workspace" value=(one.id) { "Go there" }
                        }
                    } @else { span.small.muted { "you are no member" } }
                } }
                td.opt { code { (one.id) } }
                td.nowrap { (ui::time(&one.created_at)) }
            }
        }
    };
    let content = html! {
        (tabs(&seat, "All workspaces"))
        section.panel-box {
            header { p { "A workspace owns its events, targets and keys. Nothing crosses from one to another." } }
            (ui::table("workspaces", "Workspaces", &WORKSPACE_HEADS, rows))
            (ui::pager(&ui::Pager { query: &seat.query, next: found.next.as_deref(), shown: found.items.len(), noun: "workspaces" }))
        }
    };
    let actions = ui::button_link("/console/settings/workspaces/new", "primary", "plus", "New workspace", true);
    Ok(Page::new("Settings", HERE).actions(actions).show(&seat, content))
}

async fn compose(seat: Seat) -> Response {
    if !seat.is_operator() {
        return operators_only(&seat, "New workspace", HERE, WORKSPACES);
    }
    form_page(&seat, StatusCode::OK, &Draft::new())
}

fn form_page(seat: &Seat, status: StatusCode, draft: &Draft) -> Response {
    let form = html! {
        form.form method="post" action="/console/settings/workspaces/new" {
            (ui::csrf(&seat.csrf)) (errors(draft))
            (Field::text(draft, "name", "Name").required().focus())
            p.small.muted { "You become its administrator." }
            div.actions { (submit("Make the workspace")) a.button.quiet href="/console/settings/workspaces" { "Cancel" } }
        }
    };
    let way = [("Settings", HERE), ("All workspaces", "/console/settings/workspaces")];
    Page::new("New workspace", HERE).under(&way).narrow().status(status).show(seat, ui::section("The workspace", form))
}

async fn create(Post { seat, form }: Post) -> Response {
    if !seat.is_operator() {
        return operators_only(&seat, "New workspace", HERE, WORKSPACES);
    }
    match seat.api.post::<NewWorkspace>("/workspaces", &json!({"name": form.text("name")})).await {
        Ok(made) => {
            let content = html! {
                (ui::notice(Tone::Ok, html! { strong { "Copy the token now." } " It is an administrator's key of the new workspace, and is shown this once." }))
                (ui::section("Token", ui::secret("token", &made.token)))
                div.row { a.button.primary href="/console/settings/workspaces" { "I have copied it" } }
            };
            let way = [("Settings", HERE), ("All workspaces", "/console/settings/workspaces")];
            Page::new(&format!("{} is made", made.name), HERE).under(&way).narrow().show(&seat, content)
        }
        Err(failure) => form_page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &Draft::from(form).refused(&failure)),
    }
}

const SETTING_HEADS: [Head<'static>; 3] = [Head::new("Setting"), Head::new("In effect"), Head::opt("What it does")];
const CHOICES: [Choice<'static>; 2] = [Choice::new("", "All settings"), Choice::new("changed", "Changed ones")];

async fn server(seat: Seat) -> Answer {
    if !seat.is_operator() {
        return Ok(operators_only(&seat, "Settings", HERE, "What the server runs with is for those who run it."));
    }
    let all: Items<Setting> = seat.api.get("/settings").await?;
    let (needle, changed) = (seat.query.text("search").to_lowercase(), seat.query.text("show") == "changed");
    let fits = |setting: &&Setting| {
        let is_found = [&setting.name, &setting.about, &setting.value].iter().any(|text| text.to_lowercase().contains(&needle));
        is_found && !(changed && setting.is_default)
    };
    let found: Vec<&Setting> = all.items.iter().filter(fits).collect();
    let draft = Draft::new().set("search", seat.query.text("search")).set("show", seat.query.text("show"));
    let fields = html! {
        (Field::input(&draft, "search", "Text in a setting", "search").search())
        (Field::select(&draft, "show", "Show", &CHOICES).submits())
    };
    let is_filtered = changed || !needle.is_empty();
    let rows = html! {
        @for setting in &found {
            tr {
                td { code { (setting.name) } }
                td { code { (setting.value) } @if !setting.is_default { " " (ui::badge(Tone::Info, "edit", "Changed")) } }
                td.opt { (setting.about) div.small.muted { code { (setting.variable) } } }
            }
        }
    };
    let content = html! {
        (tabs(&seat, "Server"))
        (ui::notice(Tone::Info, html! {
            "These are read when the server starts. Change them in its configuration file (" code { "--config FILE" } "), or by environment variables, and restart it. "
            code { "posthaste check" } " says where each value came from."
        }))
        (ui::filters("Filter the settings", fields, is_filtered.then_some("/console/settings/server")))
        section.panel-box {
            @if found.is_empty() {
                (ui::empty("settings", "Nothing found", if is_filtered { "No setting fits these filters." } else { "This server was started without a configuration." },
                    html! { @if is_filtered { a.button href="/console/settings/server" { "All settings" } } }))
            } @else { (ui::table("settings", "Settings of the server", &SETTING_HEADS, rows)) }
        }
    };
    Ok(Page::new("Settings", HERE).show(&seat, content))
}
