//! Members: the people who may come into this workspace. Inviting gives a link to hand over; nothing is mailed.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::administrators_only;
use crate::api::{Failure, Page as List, segment};
use crate::form::Draft;
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Head, Page, Pager, Tone, errors, submit, tick};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/members", get(list))
        .route("/members/new", get(compose).post(invite))
        .route("/members/{id}", get(show).post(change))
        .route("/members/{id}/link", post(link))
        .route("/members/{id}/second-step", post(forget_second_step))
        .route("/members/{id}/sessions", post(end_sessions))
        .route("/members/{id}/delete", get(ask).post(delete))
}

const HERE: &str = "/console/members";
const ABOUT: &str = "Members are seen, invited and changed by administrators of the workspace.";

#[derive(Deserialize)]
struct Member {
    id: String,
    name: String,
    email: String,
    role: String,
    disabled: bool,
    has_password: bool,
    second_factor: bool,
    link_expires_at: Option<String>,
    last_seen_at: Option<String>,
    created_at: String,
}

#[derive(Deserialize)]
struct Invited {
    name: String,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Link {
    url: String,
}

#[derive(Deserialize)]
struct Session {
    user_agent: String,
    ip: String,
    seen_at: String,
}

const ROLES: [Choice<'static>; 2] =
    [Choice::new("member", "Member: everything but keys, members and settings"), Choice::new("administrator", "Administrator: everything")];
const HEADS: [Head<'static>; 4] = [Head::new("Name"), Head::new("Role"), Head::new("State"), Head::opt("Last seen")];

fn address(id: &str) -> String {
    format!("{HERE}/{}", segment(id))
}

fn path(id: &str) -> String {
    format!("/members/{}", segment(id))
}

fn refused_page(seat: &Seat, failure: Failure) -> Answer {
    if failure.status() == StatusCode::FORBIDDEN && !seat.is_admin() {
        return Ok(administrators_only(seat, "Members", HERE, ABOUT));
    }
    Err(failure)
}

async fn list(seat: Seat) -> Answer {
    let members: List<Member> = match seat.api.get(&seat.query.pass("/members?limit=50&order=asc", &["search", "cursor"])).await {
        Ok(members) => members,
        Err(failure) => return refused_page(&seat, failure),
    };
    let is_filtered = seat.query.any(&["search"]);
    let draft = Draft::new().set("search", seat.query.text("search"));
    let content = html! {
        @if is_filtered || members.next.is_some() || members.items.len() > 10 {
            (ui::filters("Filter the members", html! { (Field::input(&draft, "search", "Name or address", "search").search()) }, is_filtered.then_some(HERE)))
        }
        section.panel-box {
            @if members.items.is_empty() {
                (ui::empty("search", "Nothing found", "No member has this in its name or address.", html! { a.button href=(HERE) { "All members" } }))
            } @else {
                (ui::table("members", "Members", &HEADS, html! { @for member in &members.items { (row(&seat, member)) } }))
                (ui::pager(&Pager { query: &seat.query, next: members.next.as_deref(), shown: members.items.len(), noun: "members" }))
            }
        }
    };
    let lede = html! { "Who may come into " strong { (seat.workspace.name) } ", and what they may do there." };
    let actions = ui::button_link("/console/members/new", "primary", "plus", "Invite somebody", true);
    Ok(Page::new("Members", HERE).lede(lede).actions(actions).show(&seat, content))
}

fn state(member: &Member) -> Markup {
    html! {
        @if member.disabled { (ui::status("disabled")) }
        @else if !member.has_password { (ui::badge(Tone::Warn, "wait", "Invited")) }
        @else { (ui::status("active")) }
    }
}

fn row(seat: &Seat, member: &Member) -> Markup {
    html! {
        tr {
            td {
                a.main-link href=(address(&member.id)) { (member.name) }
                @if member.email == seat.email { " " span.small.muted { "(you)" } }
                div.small.muted { (member.email) }
            }
            td { (if member.role == "administrator" { "Administrator" } else { "Member" }) }
            td.nowrap { (state(member)) }
            td.opt.nowrap { @match &member.last_seen_at { Some(at) => (ui::ago(at)), None => span.muted { "–" } } }
        }
    }
}

async fn compose(seat: Seat) -> Response {
    if !seat.is_admin() {
        return administrators_only(&seat, "Invite somebody", HERE, ABOUT);
    }
    invite_page(&seat, StatusCode::OK, &Draft::new().set("role", "member"))
}

fn invite_page(seat: &Seat, status: StatusCode, draft: &Draft) -> Response {
    let form = html! {
        form.form method="post" action="/console/members/new" {
            (ui::csrf(&seat.csrf)) (errors(draft))
            (Field::text(draft, "name", "Name").autocomplete("off").required().focus())
            (Field::input(draft, "email", "E-mail", "email").hint("They log in with it.").autocomplete("off").required())
            (Field::select(draft, "role", "Role", &ROLES))
            p.small.muted { "You get a link to hand over, with which they choose a password. Nothing is mailed." }
            div.actions { (submit("Invite")) a.button.quiet href=(HERE) { "Cancel" } }
        }
    };
    let page = Page::new("Invite somebody", HERE).under(&[("Members", HERE)]).narrow().status(status);
    page.show(seat, ui::section("Who", form))
}

async fn invite(Post { seat, form }: Post) -> Response {
    let wanted = json!({"name": form.text("name"), "email": form.text("email"), "role": form.text("role")});
    match seat.api.post::<Invited>("/members", &wanted).await {
        Ok(Invited { name, url: Some(url) }) => link_page(&seat, &name, &url),
        // A member of another workspace keeps name and password.
        Ok(_) => go(&Flash::Created.to(HERE)),
        Err(failure) => invite_page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &Draft::from(form).refused(&failure)),
    }
}

/// The link, this once.
fn link_page(seat: &Seat, name: &str, url: &str) -> Response {
    let content = html! {
        (ui::notice(Tone::Ok, html! { strong { "Copy the link now and hand it over." } " It is shown this once, works once, and for three days." }))
        (ui::section("Link", html! {
            (ui::secret("link", url))
            p.small.muted { "Whoever has it can choose the password: use a way that only " (name) " reads." }
        }))
        div.row { a.button.primary href=(HERE) { "I have copied it" } }
    };
    Page::new(&format!("A link for {name}"), HERE).under(&[("Members", HERE)]).narrow().show(seat, content)
}

async fn show(seat: Seat, Path(id): Path<String>) -> Answer {
    let member: Value = match seat.api.get(&path(&id)).await {
        Ok(member) => member,
        Err(failure) => return refused_page(&seat, failure),
    };
    let draft = Draft::of(&member);
    let member = Member::deserialize(&member).map_err(Failure::unreadable)?;
    page(&seat, StatusCode::OK, &member, &draft).await
}

async fn page(seat: &Seat, status: StatusCode, member: &Member, draft: &Draft) -> Answer {
    // Sessions of who has a role elsewhere too are not this workspace's to see.
    let sessions: List<Session> = match seat.api.get(&format!("{}/sessions", path(&member.id))).await {
        Err(failure) if failure.status() == StatusCode::FORBIDDEN => List { items: Vec::new(), next: None },
        sessions => sessions?,
    };
    let base = address(&member.id);
    let heads = [Head::new("Browser"), Head::opt("From"), Head::new("Last seen")];
    let rows = html! { @for session in &sessions.items { tr {
        td { (super::account::browser(&session.user_agent)) } td.opt { code { (session.ip) } } td.nowrap { (ui::ago(&session.seen_at)) }
    } } };
    let content = html! {
        (ui::section("Member", html! {
            (ui::facts(&[
                ("State", state(member)),
                ("Second step at log-in", html! { (if member.second_factor { "Authenticator app" } else { "None" }) }),
                ("Since", ui::full_time(&member.created_at)),
                ("Id", html! { code { (member.id) } }),
            ]))
            div.row {
                (ui::button(&seat.csrf, &format!("{base}/link"), "", "link", if member.has_password { "Link for a new password" } else { "New invitation link" }))
                @if member.second_factor { (ui::button(&seat.csrf, &format!("{base}/second-step"), "", "lock", "Turn off the second step")) }
                @if let Some(until) = &member.link_expires_at { span.small.muted { "A link is out, until " (ui::time(until)) ". A new one takes its place." } }
            }
        }))
        (ui::section("Change", html! {
            form.form method="post" action=(base) {
                (ui::csrf(&seat.csrf)) (errors(draft))
                input type="hidden" name="version" value=(draft.text("version"));
                (Field::text(draft, "name", "Name").autocomplete("off").required())
                (Field::input(draft, "email", "E-mail", "email").autocomplete("off").required())
                (Field::select(draft, "role", "Role", &ROLES))
                (tick(draft, "disabled", "Disabled", "Cannot log in, and is logged out at once. Nothing of theirs is deleted."))
                div.actions { (submit("Save")) a.button.quiet href=(HERE) { "Cancel" } }
            }
        }))
        section.panel-box {
            header {
                h2 { "Sessions" }
                @if !sessions.items.is_empty() { (ui::button(&seat.csrf, &format!("{base}/sessions"), "slim danger", "leave", "Log out everywhere")) }
            }
            @if sessions.items.is_empty() { div.body { p.muted { "Logged in nowhere that this workspace may see." } } }
            @else { (ui::table("sessions", "Sessions", &heads, rows)) }
        }
    };
    let actions = ui::confirm(&seat.csrf, &format!("{base}/delete"), "Remove", "Remove this member?", &question(seat, member));
    let page = Page::new(&member.name, HERE).under(&[("Members", HERE)]).actions(actions).narrow().status(status);
    Ok(page.lede(html! { (member.email) }).show(seat, content))
}

fn question(seat: &Seat, member: &Member) -> String {
    format!(
        "{} can no longer come into {}. What they made stays, and so does their name in the audit log.",
        member.name, seat.workspace.name
    )
}

async fn change(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let mut wanted = json!({
        "name": form.text("name"),
        "email": form.text("email"),
        "role": form.text("role"),
        "disabled": form.is_ticked("disabled"),
    });
    if let Some(version) = form.version() {
        wanted["version"] = version.into();
    }
    match seat.api.patch::<Member>(&path(&id), &wanted).await {
        Ok(_) => Ok(go(&Flash::Saved.to(HERE))),
        Err(failure) => {
            let member: Member = seat.api.get(&path(&id)).await?;
            page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &member, &Draft::from(form).refused(&failure)).await
        }
    }
}

/// For a lost telephone.
async fn forget_second_step(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    let outcome = seat.api.patch::<Value>(&path(&id), &json!({"second_factor": false})).await.map(drop);
    done(&seat, &id, outcome, Flash::Saved, &address(&id)).await
}

/// Does something to a member; what is refused is shown on its page.
async fn done(seat: &Seat, id: &str, outcome: Result<(), Failure>, flash: Flash, to: &str) -> Answer {
    let Err(failure) = outcome else { return Ok(go(&flash.to(to))) };
    let value: Value = seat.api.get(&path(id)).await?;
    let draft = Draft::of(&value).refused(&failure);
    let member = Member::deserialize(&value).map_err(Failure::unreadable)?;
    page(seat, StatusCode::UNPROCESSABLE_ENTITY, &member, &draft).await
}

async fn link(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    let member: Member = seat.api.get(&path(&id)).await?;
    match seat.api.post_empty::<Link>(&format!("{}/link", path(&id))).await {
        Ok(link) => Ok(link_page(&seat, &member.name, &link.url)),
        Err(failure) => done(&seat, &id, Err(failure), Flash::Nothing, HERE).await,
    }
}

async fn end_sessions(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    let outcome = seat.api.delete(&format!("{}/sessions", path(&id))).await;
    done(&seat, &id, outcome, Flash::Ended, &address(&id)).await
}

async fn ask(seat: Seat, Path(id): Path<String>) -> Answer {
    let member: Member = match seat.api.get(&path(&id)).await {
        Ok(member) => member,
        Err(failure) => return refused_page(&seat, failure),
    };
    let action = format!("{}/delete", address(&id));
    let content = ui::confirm_page(&seat.csrf, &action, "Remove", "Remove this member?", &question(&seat, &member), &address(&id));
    Ok(Page::new(&member.name, HERE).under(&[("Members", HERE)]).narrow().show(&seat, content))
}

async fn delete(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    let outcome = seat.api.delete(&path(&id)).await;
    done(&seat, &id, outcome, Flash::Deleted, HERE).await
}
