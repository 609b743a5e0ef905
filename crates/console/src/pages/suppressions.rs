//! Suppressions: addresses and numbers that nothing more is sent to, because they bounced, unsubscribed or complained.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::domains;
use crate::api::Page as List;
use crate::form::Draft;
use crate::query::link;
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Head, Page, Pager, Tone, errors, submit};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/suppressions", get(list))
        .route("/suppressions/new", get(compose).post(add))
        .route("/suppressions/delete", get(ask).post(remove))
}

const HERE: &str = "/console/suppressions";

#[derive(Deserialize)]
struct Suppression {
    scope: String,
    address: String,
    reason: String,
    since: String,
}

const REASONS: [Choice<'static>; 3] = [
    Choice::new("unsubscribe", "Unsubscribed: does not want more"),
    Choice::new("bounce", "Bounced: the mailbox does not exist"),
    Choice::new("complaint", "Complained: called it spam"),
];
const HEADS: [Head<'static>; 5] =
    [Head::new("Address"), Head::new("Gets nothing from"), Head::new("Why"), Head::opt("Since"), Head::actions()];

/// What a scope is called.
fn scope_name(scope: &str) -> &str {
    if scope == "sms" { "Text messages" } else { scope }
}

fn reason_badge(reason: &str) -> Markup {
    match reason {
        "unsubscribe" => ui::badge(Tone::Plain, "stop", "Unsubscribed"),
        "bounce" => ui::badge(Tone::Warn, "warn", "Bounced"),
        "complaint" => ui::badge(Tone::Bad, "bad", "Complained"),
        other => ui::status(other),
    }
}

async fn list(seat: Seat) -> Answer {
    let scope = seat.query.given("scope");
    let found: List<Suppression> = seat.api.get(&seat.query.pass("/suppressions?limit=50", &["scope", "cursor"])).await?;
    let draft = Draft::new().set("scope", scope.unwrap_or_default());
    let new = link("/console/suppressions/new", scope.map(|scope| ("scope", scope)));
    let fields = html! { (Field::text(&draft, "scope", "Domain, or sms").search().mono()) };
    let content = html! {
        (ui::filters("Filter the suppressions", fields, scope.map(|_| HERE)))
        section.panel-box {
            @if found.items.is_empty() && seat.query.given("cursor").is_none() {
                (ui::empty("ok", "Nobody is suppressed", "Addresses that bounce, unsubscribe or complain appear here, and numbers that answer STOP.",
                    html! { a.button href=(new) { "Add an address" } @if scope.is_some() { a.button href=(HERE) { "All suppressions" } } }))
            } @else {
                (ui::table("suppressions", "Suppressions", &HEADS, html! { @for one in &found.items { (row(&seat, one)) } }))
                (ui::pager(&Pager { query: &seat.query, next: found.next.as_deref(), shown: found.items.len(), noun: "suppressions" }))
            }
        }
    };
    let lede = html! { "Addresses and numbers that get nothing more. Messages to them are taken and fail at once." };
    let actions = ui::button_link(&new, "primary", "plus", "Add an address", true);
    let page = Page::new("Suppressions", domains::HERE).under(&[("Domains", domains::HERE)]).lede(lede).actions(actions);
    Ok(page.show(&seat, content))
}

/// Where the question about one of them is asked, and answered.
fn deletion(one: &Suppression) -> String {
    link("/console/suppressions/delete", [("scope", one.scope.as_str()), ("address", one.address.as_str())])
}

fn question(scope: &str, address: &str) -> String {
    format!("{address} will get messages from {} again. Do this only if its owner asks for it.", scope_name(scope))
}

fn row(seat: &Seat, one: &Suppression) -> Markup {
    html! {
        tr {
            td { code { (one.address) } }
            td { a href=(link(HERE, [("scope", one.scope.as_str())])) { (scope_name(&one.scope)) } }
            td.nowrap { (reason_badge(&one.reason)) }
            td.opt.nowrap { (ui::time(&one.since)) }
            td { (ui::confirm(&seat.csrf, &deletion(one), "Delete", "Send to this address again?", &question(&one.scope, &one.address))) }
        }
    }
}

async fn compose(seat: Seat) -> Response {
    let draft = Draft::new().set("scope", seat.query.text("scope")).set("reason", "unsubscribe");
    form_page(&seat, StatusCode::OK, &draft)
}

fn form_page(seat: &Seat, status: StatusCode, draft: &Draft) -> Response {
    let form = html! {
        form.form method="post" action="/console/suppressions/new" {
            (ui::csrf(&seat.csrf)) (errors(draft))
            (Field::text(draft, "address", "Address or number").placeholder("bob@example.com").mono().required().focus())
            (Field::text(draft, "scope", "Gets nothing more from").hint("The domain that mail is sent from, or sms for text messages.").placeholder("mail.example.com").suggests(&["sms"]).mono().required())
            (Field::select(draft, "reason", "Why", &REASONS))
            div.actions { (submit("Send nothing more")) a.button.quiet href=(HERE) { "Cancel" } }
        }
    };
    let way = [("Domains", domains::HERE), ("Suppressions", HERE)];
    Page::new("Add an address", domains::HERE).under(&way).narrow().status(status).show(seat, ui::section("The address", form))
}

async fn add(Post { seat, form }: Post) -> Response {
    let wanted = json!({"scope": form.text("scope"), "address": form.text("address"), "reason": form.text("reason")});
    match seat.api.tell("/suppressions", &wanted).await {
        Ok(()) => go(&Flash::Saved.to(&link(HERE, [("scope", form.text("scope"))]))),
        Err(failure) => form_page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &Draft::from(form).refused(&failure)),
    }
}

async fn ask(seat: Seat) -> Response {
    let (scope, address) = (seat.query.text("scope"), seat.query.text("address"));
    let action = link("/console/suppressions/delete", [("scope", scope), ("address", address)]);
    let back = link(HERE, [("scope", scope)]);
    let content = ui::confirm_page(&seat.csrf, &action, "Delete", "Send to this address again?", &question(scope, address), &back);
    let way = [("Domains", domains::HERE), ("Suppressions", HERE)];
    Page::new(if address.is_empty() { "Suppression" } else { address }, domains::HERE).under(&way).narrow().show(&seat, content)
}

async fn remove(Post { seat, .. }: Post) -> Answer {
    seat.api.delete(&seat.query.pass("/suppressions", &["scope", "address"])).await?;
    Ok(go(&Flash::Deleted.to(HERE)))
}
