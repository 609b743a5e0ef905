//! Domains: what the workspace sends mail from, what of that mail is watched, how it is signed, and what belongs into the DNS.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{Failure, Page as List, segment};
use crate::form::{Draft, Form};
use crate::query::link;
use crate::session::{Post, Seat};
use crate::ui::{self, Field, Flash, Head, Page, Pager, Tone, errors, submit, tick};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/domains", get(list))
        .route("/domains/new", get(compose).post(create))
        .route("/domains/{id}", get(show).post(change))
        .route("/domains/{id}/delete", get(ask).post(delete))
}

pub(super) const HERE: &str = "/console/domains";

#[derive(Deserialize)]
struct Domain {
    id: String,
    name: String,
    track: Track,
    dkim: Option<Dkim>,
    dns: Vec<Record>,
    created_at: String,
}

#[derive(Deserialize)]
struct Track {
    opens: bool,
    clicks: bool,
    unsubscribe: bool,
}

#[derive(Deserialize)]
struct Dkim {
    selector: String,
}

#[derive(Deserialize)]
struct Record {
    purpose: String,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    value: String,
}

const HEADS: [Head<'static>; 5] = [Head::new("Domain"), Head::new("Signed"), Head::opt("Watched"), Head::opt("Added"), Head::actions()];
const GONE: &str = "Mail from it is no longer signed or watched. Its suppressions stay.";

fn address(id: &str) -> String {
    format!("{HERE}/{}", segment(id))
}

/// The list of addresses that a domain sends nothing more to.
fn suppressions(scope: &str) -> String {
    link("/console/suppressions", [("scope", scope)])
}

async fn list(seat: Seat) -> Answer {
    let domains: List<Domain> = seat.api.get(&seat.query.pass("/domains?limit=50", &["search", "cursor"])).await?;
    let is_filtered = seat.query.any(&["search"]);
    let draft = Draft::new().set("search", seat.query.text("search"));
    let content = html! {
        @if is_filtered || domains.next.is_some() || domains.items.len() > 10 {
            (ui::filters("Filter the domains", html! { (Field::input(&draft, "search", "Text in the name", "search").search()) }, is_filtered.then_some(HERE)))
        }
        section.panel-box {
            @if domains.items.is_empty() && is_filtered {
                (ui::empty("search", "Nothing found", "No domain has this text in its name.", html! { a.button href=(HERE) { "All domains" } }))
            } @else if domains.items.is_empty() {
                (ui::empty("domains", "No domains yet", "Mail can be sent from any domain. Add yours to sign its mail, to watch opens and clicks, and for the Mailgun API.",
                    html! { a.button.primary href="/console/domains/new" { "Add a domain" } }))
            } @else {
                (ui::table("domains", "Domains", &HEADS, html! { @for domain in &domains.items { (row(&seat, domain)) } }))
                (ui::pager(&Pager { query: &seat.query, next: domains.next.as_deref(), shown: domains.items.len(), noun: "domains" }))
            }
        }
    };
    let actions = html! {
        (ui::button_link("/console/suppressions", "", "stop", "Suppressions", false))
        (ui::button_link("/console/domains/new", "primary", "plus", "Add domain", true))
    };
    let lede = html! { "What this workspace sends mail from, how that mail is signed, and what of it is watched." };
    Ok(Page::new("Domains", HERE).lede(lede).actions(actions).show(&seat, content))
}

fn watched(track: &Track) -> String {
    let words = [(track.opens, "opens"), (track.clicks, "clicks"), (track.unsubscribe, "unsubscribing")];
    let on: Vec<&str> = words.into_iter().filter(|(on, _)| *on).map(|(_, word)| word).collect();
    if on.is_empty() { "nothing".to_owned() } else { on.join(", ") }
}

fn row(seat: &Seat, domain: &Domain) -> Markup {
    html! {
        tr {
            td { a.main-link href=(address(&domain.id)) { (domain.name) } }
            td { @if domain.dkim.is_some() { (ui::badge(Tone::Ok, "ok", "DKIM")) } @else { (ui::badge(Tone::Warn, "warn", "Not signed")) } }
            td.opt { (watched(&domain.track)) }
            td.opt.nowrap { (ui::time(&domain.created_at)) }
            td { div.row {
                a.button.slim href=(suppressions(&domain.name)) { "Suppressions" }
                (ui::confirm(&seat.csrf, &format!("{}/delete", address(&domain.id)), "Delete", "Delete this domain?", GONE))
            } }
        }
    }
}

async fn compose(seat: Seat) -> Response {
    let page = Page::new("Add domain", HERE).under(&[("Domains", HERE)]).narrow();
    page.show(&seat, ui::section("The domain", form(&seat, "/console/domains/new", &Draft::new(), None)))
}

/// The form of a new domain, or of one that there is.
fn form(seat: &Seat, action: &str, draft: &Draft, domain: Option<&Domain>) -> Markup {
    let is_signed = domain.is_some_and(|domain| domain.dkim.is_some());
    html! {
        form.form method="post" action=(action) {
            (ui::csrf(&seat.csrf)) (errors(draft))
            input type="hidden" name="version" value=(draft.text("version"));
            @if domain.is_none() {
                (Field::text(draft, "name", "Domain").hint("What stands behind the @ of your senders.").placeholder("mail.example.com").mono().required().focus())
            }
            fieldset.stack.tight {
                legend { "Watch, unless a message says otherwise" }
                (tick(draft, "track.opens", "Opens", "A picture at the end of the HTML tells of opening."))
                (tick(draft, "track.clicks", "Clicks", "Links lead through this server."))
                (tick(draft, "track.html_clicks_only", "Clicks in HTML alone", "Links of the plain text stay as they are written."))
                (tick(draft, "track.unsubscribe", "Unsubscribing", "Adds a link to unsubscribe to the headers, for one click."))
            }
            fieldset.stack {
                legend { "Signature (DKIM)" }
                (Field::text(draft, "dkim.selector", "Selector").hint("Any short name, such as s1. It becomes a part of the name of the DNS record.").optional().mono())
                (Field::area(draft, "dkim.private_key", if is_signed { "New private key" } else { "Private key" }, 5)
                    .hint(html! {
                        @if is_signed { "Leave empty to keep the present one. " }
                        "RSA of 2048 bits or more, or Ed25519, as PEM: " code { "openssl genrsa 2048" } ". It is stored encrypted and never shown."
                    })
                    .placeholder("-----BEGIN PRIVATE KEY-----").optional().mono())
                @if is_signed { (tick(draft, "unsigned", "Stop signing", "The private key is deleted.")) }
            }
            div.actions { (submit(if domain.is_some() { "Save" } else { "Add the domain" })) @if domain.is_none() { a.button.quiet href=(HERE) { "Cancel" } } }
        }
    }
}

/// What the form says, as the API takes it. `is_signed`: there is a private key that an empty field keeps.
fn document(form: &Form, is_signed: bool) -> Value {
    let mut document = json!({"track": {
        "opens": form.is_ticked("track.opens"),
        "clicks": form.is_ticked("track.clicks"),
        "html_clicks_only": form.is_ticked("track.html_clicks_only"),
        "unsubscribe": form.is_ticked("track.unsubscribe"),
    }});
    if let Some(name) = form.given("name") {
        document["name"] = name.into();
    }
    if let Some(version) = form.version() {
        document["version"] = version.into();
    }
    if form.is_ticked("unsigned") {
        document["dkim"] = Value::Null;
        return document;
    }
    match (form.given("dkim.selector"), form.given("dkim.private_key")) {
        (None, None) => {}
        (Some(selector), None) if is_signed => document["dkim"] = json!({"selector": selector}),
        (selector, key) => {
            document["dkim"] = json!({"selector": selector.unwrap_or_default(), "private_key": key.unwrap_or_default()});
        }
    }
    document
}

async fn create(Post { seat, form: sent }: Post) -> Response {
    let mut wanted = document(&sent, false);
    if let Some(object) = wanted.as_object_mut() {
        object.remove("version");
        object.entry("name").or_insert_with(|| "".into());
    }
    match seat.api.post::<Domain>("/domains", &wanted).await {
        Ok(domain) => go(&Flash::Created.to(&address(&domain.id))),
        Err(failure) => {
            let draft = Draft::from(sent).refused(&failure);
            let page = Page::new("Add domain", HERE).under(&[("Domains", HERE)]).narrow().status(StatusCode::UNPROCESSABLE_ENTITY);
            page.show(&seat, ui::section("The domain", form(&seat, "/console/domains/new", &draft, None)))
        }
    }
}

async fn show(seat: Seat, Path(id): Path<String>) -> Answer {
    let domain: Value = seat.api.get(&format!("/domains/{}", segment(&id))).await?;
    // The mask is no key.
    let draft = Draft::of(&domain).set("dkim.private_key", "");
    let domain = Domain::deserialize(&domain).map_err(Failure::unreadable)?;
    Ok(page(&seat, StatusCode::OK, &domain, &draft))
}

fn page(seat: &Seat, status: StatusCode, domain: &Domain, draft: &Draft) -> Response {
    let content = html! {
        (ui::section("Records to set in the DNS", records(domain)))
        (ui::section("Settings", form(seat, &address(&domain.id), draft, Some(domain))))
    };
    let actions = html! {
        (ui::button_link(&suppressions(&domain.name), "", "stop", "Suppressions", false))
        (ui::confirm(&seat.csrf, &format!("{}/delete", address(&domain.id)), "Delete", "Delete this domain?", GONE))
    };
    let page = Page::new(&domain.name, HERE).under(&[("Domains", HERE)]).actions(actions).narrow().status(status);
    page.show(seat, content)
}

fn records(domain: &Domain) -> Markup {
    html! {
        @if domain.dns.is_empty() {
            (ui::notice(Tone::Warn, html! { "Mail from this domain is not signed. Give it a selector and a private key below, and the record to set appears here." }))
        } @else {
            p { "Set these where the DNS of " strong { (domain.name) } " is kept. Until then receivers take the signature for a broken one." }
            @for record in &domain.dns {
                div.stack.tight {
                    h3 { @match record.purpose.as_str() { "dkim" => "DKIM: receivers check signatures with it", "dmarc" => "DMARC: what receivers do with mail that is not yours", _ => (record.purpose) } }
                    p.small { (record.kind) " record with the name" }
                    (ui::secret("name", &record.name))
                    p.small { "and the value" }
                    (ui::secret("value", &record.value))
                }
            }
            @if let Some(dkim) = &domain.dkim { p.small.muted { "To change the key without a gap, use another selector than " code { (dkim.selector) } " and leave the old record for a week." } }
        }
        p.small.muted { "SPF: add what the operator of your mail relay says to the TXT record of " code { (domain.name) } "." }
    }
}

async fn change(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let path = format!("/domains/{}", segment(&id));
    let domain: Domain = seat.api.get(&path).await?;
    match seat.api.patch::<Domain>(&path, &document(&form, domain.dkim.is_some())).await {
        Ok(_) => Ok(go(&Flash::Saved.to(&address(&id)))),
        Err(failure) => Ok(page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &domain, &Draft::from(form).refused(&failure))),
    }
}

async fn ask(seat: Seat, Path(id): Path<String>) -> Answer {
    let domain: Domain = seat.api.get(&format!("/domains/{}", segment(&id))).await?;
    let content = ui::confirm_page(&seat.csrf, &format!("{}/delete", address(&id)), "Delete", "Delete this domain?", GONE, HERE);
    Ok(Page::new(&domain.name, HERE).under(&[("Domains", HERE)]).narrow().show(&seat, content))
}

async fn delete(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    seat.api.delete(&format!("/domains/{}", segment(&id))).await?;
    Ok(go(&Flash::Deleted.to(HERE)))
}
