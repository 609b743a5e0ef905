//! Keys: what programs show to get in. Only administrators see and make them, which is the API's to decide; a token is shown once.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::administrators_only;
use crate::api::{Page as List, segment};
use crate::form::{Draft, Form};
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Head, Page, Pager, Tone, errors, submit};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/keys", get(list))
        .route("/keys/new", get(compose).post(create))
        .route("/keys/{id}", get(show).post(change))
        .route("/keys/{id}/delete", get(ask).post(delete))
}

const HERE: &str = "/console/keys";
const ABOUT: &str = "Keys are what programs show to get in. Only administrators of the workspace see and make them.";

#[derive(Deserialize)]
struct Key {
    id: String,
    kind: String,
    description: String,
    scopes: Vec<String>,
    allowed_domains: Vec<String>,
    token_hint: String,
    created_at: String,
}

#[derive(Deserialize)]
struct NewKey {
    kind: String,
    scopes: Vec<String>,
    token: String,
}

const SCOPES: [Choice<'static>; 4] = [
    Choice::new("publish", "Publish").with_hint("Send events and messages."),
    Choice::new("read", "Read").with_hint("See everything but secrets."),
    Choice::new("manage", "Manage").with_hint("Change configuration, read signing secrets, resend and replay."),
    Choice::new("admin", "Administrate").with_hint("All of that, and keys, members and workspaces."),
];

const HEADS: [Head<'static>; 6] =
    [Head::new("Description"), Head::new("Kind"), Head::opt("May"), Head::opt("Token ends with"), Head::opt("Created"), Head::actions()];

async fn list(seat: Seat) -> Answer {
    let path = seat.query.pass("/keys?limit=50", &["search", "cursor"]);
    let keys: List<Key> = match seat.api.get(&path).await {
        Err(failure) if failure.status() == StatusCode::FORBIDDEN => return Ok(administrators_only(&seat, "Keys", HERE, ABOUT)),
        keys => keys?,
    };
    let is_filtered = seat.query.any(&["search"]);
    let draft = Draft::new().set("search", seat.query.text("search"));
    let content = html! {
        @if is_filtered || keys.next.is_some() || keys.items.len() > 10 {
            (ui::filters("Filter the keys", html! { (Field::input(&draft, "search", "Text in the description", "search").search()) }, is_filtered.then_some(HERE)))
        }
        section.panel-box {
            @if keys.items.is_empty() { (nothing(is_filtered)) } @else {
                (ui::table("keys", "Keys", &HEADS, html! { @for key in &keys.items { (row(&seat, key)) } }))
                (ui::pager(&Pager { query: &seat.query, next: keys.next.as_deref(), shown: keys.items.len(), noun: "keys" }))
            }
        }
    };
    let actions = html! {
        (ui::button_link("/console/keys/new?kind=private", "primary", "plus", "New private key", true))
        (ui::button_link("/console/keys/new?kind=public", "", "plus", "New public key", false))
    };
    let lede = html! { "What programs show to get in: private keys for servers, public ones for pages in browsers. They never expire." };
    Ok(Page::new("Keys", HERE).lede(lede).actions(actions).show(&seat, content))
}

fn nothing(is_filtered: bool) -> Markup {
    match is_filtered {
        true => {
            ui::empty("search", "Nothing found", "No key has this text in its description.", html! { a.button href=(HERE) { "All keys" } })
        }
        false => ui::empty(
            "keys",
            "No keys yet",
            "A program needs a key to send events.",
            html! { a.button.primary href="/console/keys/new?kind=private" { "Make the first private key" } },
        ),
    }
}

/// What a key is called where nobody described it.
fn name(key: &Key) -> &str {
    if key.description.is_empty() { "No description" } else { &key.description }
}

fn row(seat: &Seat, key: &Key) -> Markup {
    let path = format!("{HERE}/{}", segment(&key.id));
    html! {
        tr {
            td { a.main-link href=(path) { (name(key)) } }
            td.nowrap { @if key.kind == "public" { (ui::badge(Tone::Info, "domains", "Public")) } @else { (ui::badge(Tone::Plain, "lock", "Private")) } }
            td.opt {
                @if key.kind == "public" { "publish from " @for (at, domain) in key.allowed_domains.iter().enumerate() { @if at > 0 { ", " } code { (domain) } } }
                @else { (key.scopes.join(", ")) }
            }
            td.opt { code { "…" (key.token_hint) } }
            td.opt.nowrap { (ui::time(&key.created_at)) }
            td { (confirm(seat, key)) }
        }
    }
}

/// What is asked before a key goes: what stops, and how soon.
fn question(key: &Key) -> String {
    format!("Programs that show the key “{}” (…{}) are refused at once. This cannot be undone.", name(key), key.token_hint)
}

fn confirm(seat: &Seat, key: &Key) -> Markup {
    let action = format!("{HERE}/{}/delete", segment(&key.id));
    ui::confirm(&seat.csrf, &action, "Delete", "Delete this key?", &question(key))
}

async fn compose(seat: Seat) -> Answer {
    if !seat.is_admin() {
        return Ok(administrators_only(&seat, "New key", HERE, ABOUT));
    }
    let draft = match seat.query.text("kind") {
        "public" => Draft::new().set("kind", "public"),
        _ => Draft::of(&json!({"kind": "private", "scopes": ["publish", "read"]})),
    };
    Ok(form_page(&seat, StatusCode::OK, &draft, None))
}

/// The form of a new key, or of one that there is.
fn form_page(seat: &Seat, status: StatusCode, draft: &Draft, key: Option<&Key>) -> Response {
    let is_public = draft.text("kind") == "public";
    let action = key.map_or_else(|| "/console/keys/new".to_owned(), |key| format!("{HERE}/{}", segment(&key.id)));
    let form = html! {
        form.form method="post" action=(action) {
            (ui::csrf(&seat.csrf)) (errors(draft))
            input type="hidden" name="kind" value=(draft.text("kind"));
            input type="hidden" name="version" value=(draft.text("version"));
            (Field::text(draft, "description", "Description").hint("Who uses it and where, so that you know it again.").focus())
            @if is_public {
                (Field::area(draft, "allowed_domains", "Allowed domains", 4).hint("One on a line: the hosts whose pages may use the key. *.example.com covers subdomains.").placeholder("www.example.com").mono().required())
            } @else {
                (ui::checks(draft, "scopes", "What it may do", &SCOPES))
                @if key.is_none() {
                    (ui::tick(draft, "hmac", "Requests may be signed with it (MessageMedia HMAC)", "The token is then kept, encrypted, instead of its hash alone. Cannot be changed later."))
                }
            }
            div.actions { (submit(if key.is_some() { "Save" } else { "Create the key" })) a.button.quiet href=(HERE) { "Cancel" } }
        }
    };
    let title = match (key, is_public) {
        (Some(key), _) => name(key),
        (None, true) => "New public key",
        (None, false) => "New private key",
    };
    let content = html! {
        @if let Some(key) = key {
            (ui::section("Key", ui::facts(&[
                ("Kind", html! { (if is_public { "Public: may publish from pages of its domains" } else { "Private" }) }),
                ("Token", html! { code { "…" (key.token_hint) } " " span.muted { "(only its end is known; lost tokens cannot be shown again)" } }),
                ("Id", html! { code { (key.id) } }),
                ("Created", ui::full_time(&key.created_at)),
            ])))
        }
        (ui::section(if key.is_some() { "Change it" } else { "The key" }, form))
    };
    let page = Page::new(title, HERE).under(&[("Keys", HERE)]).narrow().status(status);
    let page = match (key, is_public) {
        (Some(key), _) => page.actions(confirm(seat, key)),
        (None, true) => page.lede(html! { "For pages in browsers: it may only send events through the inbox, is limited by address, and works on its domains alone." }),
        (None, false) => page.lede(html! { "For servers. Keep it secret: whoever has it may do what it may." }),
    };
    page.show(seat, content)
}

/// What the form says, as the API takes it.
fn document(form: &Form, is_new: bool) -> Value {
    let mut document = json!({"description": form.text("description")});
    match form.text("kind") {
        "public" => {
            let domains = form.raw("allowed_domains").split(['\n', '\r', ',', ' ']).map(str::trim).filter(|domain| !domain.is_empty());
            document["allowed_domains"] = domains.collect();
        }
        _ => {
            document["scopes"] = form.all("scopes").collect();
            if is_new {
                document["hmac"] = form.is_ticked("hmac").into();
            }
        }
    }
    if is_new {
        document["kind"] = if form.text("kind") == "public" { "public" } else { "private" }.into();
    }
    document
}

async fn create(Post { seat, form }: Post) -> Answer {
    match seat.api.post::<NewKey>("/keys", &document(&form, true)).await {
        Ok(key) => Ok(created(&seat, &key)),
        Err(failure) => Ok(form_page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &Draft::from(form).refused(&failure), None)),
    }
}

fn created(seat: &Seat, key: &NewKey) -> Response {
    let content = html! {
        (ui::notice(Tone::Ok, html! { strong { "Copy the token now." } " It is shown this once, and cannot be shown again." }))
        (ui::section("Token", ui::secret("token", &key.token)))
        @if key.kind == "public" {
            (ui::section("Use it on a page", ui::code("script", &format!(
                "fetch(\"{}/inbox\", {{\n  method: \"POST\",\n  headers: {{ \"X-MsgGO-Key\": \"{}\" }},\n  body: JSON.stringify({{ event_name: \"signup\", plan: \"pro\" }}),\n}});",
                seat.base_url, key.token
            ))))
        } @else if key.scopes.iter().any(|scope| scope == "publish" || scope == "admin") {
            (ui::section("Send an event with it", ui::curl(&format!(
                "curl {}/posthaste/v1/events \\\n  -H 'Authorization: Bearer {}' \\\n  -H 'Content-Type: application/json' \\\n  -d '{{\"type\": \"order.created\", \"data\": {{\"total\": 42}}}}'",
                seat.base_url, key.token
            ))))
        }
        div.row { a.button.primary href=(HERE) { "I have copied it" } }
    };
    Page::new("The key is made", HERE).under(&[("Keys", HERE)]).narrow().show(seat, content)
}

async fn show(seat: Seat, Path(id): Path<String>) -> Answer {
    let key: Value = match seat.api.get(&format!("/keys/{}", segment(&id))).await {
        Err(failure) if failure.status() == StatusCode::FORBIDDEN => return Ok(administrators_only(&seat, "Key", HERE, ABOUT)),
        key => key?,
    };
    let mut draft = Draft::of(&key);
    let domains: Vec<&str> = key["allowed_domains"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !domains.is_empty() {
        draft = draft.set("allowed_domains", domains.join("\n"));
    }
    let key = Key::deserialize(&key).map_err(crate::api::Failure::unreadable)?;
    Ok(form_page(&seat, StatusCode::OK, &draft, Some(&key)))
}

async fn change(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let path = format!("/keys/{}", segment(&id));
    let mut document = document(&form, false);
    if let Some(version) = form.version() {
        document["version"] = version.into();
    }
    match seat.api.patch::<serde::de::IgnoredAny>(&path, &document).await {
        Ok(_) => Ok(go(&Flash::Saved.to(HERE))),
        Err(failure) => {
            let key: Key = seat.api.get(&path).await?;
            Ok(form_page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &Draft::from(form).refused(&failure), Some(&key)))
        }
    }
}

async fn ask(seat: Seat, Path(id): Path<String>) -> Answer {
    let key: Key = seat.api.get(&format!("/keys/{}", segment(&id))).await?;
    let action = format!("{HERE}/{}/delete", segment(&id));
    let content = ui::confirm_page(&seat.csrf, &action, "Delete", "Delete this key?", &question(&key), HERE);
    Ok(Page::new(name(&key), HERE).under(&[("Keys", HERE)]).narrow().show(&seat, content))
}

async fn delete(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    seat.api.delete(&format!("/keys/{}", segment(&id))).await?;
    Ok(go(&Flash::Deleted.to(HERE)))
}
