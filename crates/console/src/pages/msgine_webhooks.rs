//! MsGine's webhooks: their list, the account's secret, and the testing tool (MsGine 6). A webhook is a target with a subscription in the
//! format `msgine`; everything here goes through the native API.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::inbox::Attempt;
use super::subscriptions::{self, Subscription};
use super::targets::{self, Target};
use super::{settings, webhooks};
use crate::api::{Api, Failure, segment};
use crate::form::Draft;
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Head, Page, Tone, errors, submit};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/webhooks/msgine", get(show))
        .route("/webhooks/msgine/new", get(new).post(create))
        .route("/webhooks/msgine/secret", get(ask_secret).post(renew))
        .route("/webhooks/msgine/{id}/test", get(prepare))
        .route("/webhooks/msgine/{id}/test/send", post(test))
}

const HERE: &str = "/console/webhooks/msgine";

const EVENTS: [Choice<'static>; 3] = [
    Choice::new("message.sent", "message.sent").with_hint("The carrier took the SMS."),
    Choice::new("message.delivered", "message.delivered").with_hint("It is on the handset."),
    Choice::new("message.failed", "message.failed").with_hint("It was given up."),
];

#[derive(Deserialize)]
struct Account {
    settings: Value,
}

/// The webhooks: subscriptions in the dialect's format, with their targets. Those of callback URLs belong to their messages.
async fn all(api: &Api) -> Result<Vec<(Subscription, Target)>, Failure> {
    let subscriptions: Vec<Subscription> = api.all("/subscriptions?limit=1000&order=asc").await?;
    let mut found = Vec::new();
    for subscription in subscriptions.into_iter().filter(|one| one.format.as_deref() == Some("msgine")) {
        let target: Option<Target> = api.find(&format!("/targets/{}", segment(&subscription.target_id))).await?;
        if let Some(target) = target.filter(|target| target.managed_by.is_none()) {
            found.push((subscription, target));
        }
    }
    Ok(found)
}

async fn show(seat: Seat) -> Answer {
    let account: Account = seat.api.get("/accounts/msgine").await?;
    let found = all(&seat.api).await?;
    let content = html! {
        (webhooks::tabs("MsGine"))
        section.panel-box {
            @if found.is_empty() {
                (ui::empty("webhooks", "No webhook yet", "A MsGine webhook hears what becomes of each SMS that named no callback URL of its own.",
                    html! { a.button.primary href={ (HERE) "/new" } { "Add Webhook" } }))
            } @else { (table(&found)) }
        }
        (ui::section("Webhook secret", html! {
            p { "Signs every webhook and callback as lower-case hex HMAC-SHA256 of the body, in " code { "x-msgine-signature" } "." }
            @match account.settings["webhook_secret"].as_str() {
                Some(secret) => {
                    (ui::fold(false, html! { "Show the secret" }, ui::secret("webhook secret", secret)))
                    div { a.button href={ (HERE) "/secret" } { (ui::icon("again")) "Make a new secret" } }
                },
                None => p.muted { "One is made with the first webhook." },
            }
        }))
    };
    let actions = ui::button_link(&format!("{HERE}/new"), "primary", "plus", "Add Webhook", true);
    let lede = html! { "What becomes of each SMS, in MsGine's form." };
    Ok(Page::new("Webhooks", "/console/webhooks").lede(lede).actions(actions).show(&seat, content))
}

fn table(found: &[(Subscription, Target)]) -> Markup {
    let heads = [Head::new("URL"), Head::new("Events"), Head::new("State"), Head::actions()];
    let rows = html! {
        @for (subscription, target) in found {
            @let test = format!("{HERE}/{}/test", segment(&target.id));
            tr {
                td { a.main-link href=(target.address()) { (target.place()) } div.small.muted { (target.name) } }
                td { @for (at, name) in subscription.event_types.iter().enumerate() { @if at > 0 { ", " } code { (name) } } }
                td { (ui::status(&target.status)) }
                td.num { (ui::menu(&format!("Actions for {}", target.name), "more", html! {
                    a.item href=(test) { (ui::icon("send")) "Testing tool" }
                    a.item href=(format!("{}/subscriptions/{}", target.address(), segment(&subscription.id))) { (ui::icon("events")) "Events" }
                    a.item href={ (target.address()) "/edit" } { (ui::icon("edit")) "URL and policy" }
                    a.item.danger href={ (target.address()) "/delete" } { (ui::icon("trash")) "Delete" }
                })) }
            }
        }
    };
    ui::table("msgine", "Webhooks", &heads, rows)
}

fn frame<'a>(title: &'a str) -> Page<'a> {
    Page::new(title, "/console/webhooks").under(&[("Webhooks", "/console/webhooks"), ("MsGine", HERE)]).narrow()
}

fn form_page(seat: &Seat, draft: &Draft, status: StatusCode) -> Response {
    let content = html! {
        form.form method="post" action={ (HERE) "/new" } {
            (ui::csrf(&seat.csrf)) (errors(draft))
            (ui::section("Webhook", html! {
                (Field::text(draft, "settings.url", "URL").mono().required().focus().placeholder("https://example.com/msgine").hint("https, unless the server allows otherwise."))
                (Field::text(draft, "name", "Name").optional())
                (ui::checks(draft, "event_types", "Events", &EVENTS))
            }))
            div.actions { (submit("Save")) a.button.quiet href=(HERE) { "Cancel" } }
        }
    };
    frame("Add Webhook").status(status).show(seat, content)
}

async fn new(seat: Seat) -> Answer {
    let draft = EVENTS.iter().fold(Draft::new(), |draft, event| draft.and("event_types", event.value));
    Ok(form_page(&seat, &draft, StatusCode::OK))
}

async fn create(Post { seat, form }: Post) -> Answer {
    let url = form.text("settings.url");
    let name: String = form.given("name").map_or_else(|| format!("MsGine: {url}"), str::to_owned).chars().take(255).collect();
    let wanted = json!({ "name": name, "channel": "webhook", "settings": { "url": url } });
    let types = form.all("event_types").map(str::to_owned).collect();
    match subscriptions::with_target(&seat.api, types, wanted, Some(("format", "msgine"))).await {
        Ok(_) => Ok(go(&Flash::Created.to(HERE))),
        Err(failure) => Ok(form_page(&seat, &Draft::from(form).refused(&failure), StatusCode::UNPROCESSABLE_ENTITY)),
    }
}

async fn ask_secret(seat: Seat) -> Answer {
    let about = "Requests from now on are signed with the new secret alone. Receivers that still hold the old one will refuse them.";
    let content = ui::confirm_page(&seat.csrf, &format!("{HERE}/secret"), "Make a new secret", "Make a new webhook secret?", about, HERE);
    Ok(frame("New webhook secret").show(&seat, content))
}

async fn renew(Post { seat, .. }: Post) -> Answer {
    settings::renew_secret(&seat.api, "msgine").await?;
    Ok(go(&Flash::Rotated.to(HERE)))
}

#[derive(Deserialize)]
struct Preview {
    request: String,
    body: String,
}

#[derive(Deserialize)]
struct Report {
    delivered: bool,
    attempt: Attempt,
}

/// A sample of an event, as the format takes it.
fn sample(event: &str) -> Value {
    json!({ "data": { "event": event, "recipient": "+256701521269" } })
}

async fn test_page(seat: &Seat, id: &str, event: &str, report: Option<&Report>) -> Answer {
    let target = targets::find(&seat.api, id).await?;
    let page = format!("{HERE}/{}/test", segment(id));
    let preview: Preview = seat.api.post(&format!("/targets/{}/preview", segment(id)), &sample(event)).await?;
    let draft = Draft::new().set("event", event);
    let content = html! {
        (ui::filters("Choose the event", html! { (Field::select(&draft, "event", "Event", &EVENTS).submits()) }, None))
        (ui::section("Request", ui::code("request", &format!("{}\n\n{}", preview.request, preview.body))))
        form.form method="post" action={ (page) "/send" } {
            (ui::csrf(&seat.csrf))
            input type="hidden" name="event" value=(event);
            div.actions { (submit("Send the sample")) a.button.quiet href=(HERE) { "Back" } }
        }
        @if let Some(report) = report {
            @let attempt = &report.attempt;
            section.panel-box {
                header { h2 { "Response" } span.small.muted { @if let Some(status) = attempt.status { "status " (status) ", " } "after " (ui::duration_ms(attempt.duration_ms)) } }
                div.body {
                    @if report.delivered { (ui::notice(Tone::Ok, html! { "The receiver took it." })) }
                    @else { (ui::notice(Tone::Bad, html! { "The receiver did not take it" @if let Some(why) = attempt.message.as_deref().or(attempt.error.as_deref()) { ": " (why) } "." })) }
                    (ui::code("response", &format!("{}\n\n{}", attempt.response, attempt.response_body)))
                }
            }
        }
    };
    Ok(frame("Webhook testing tool").lede(html! { "A signed sample to " (target.place()) }).show(seat, content))
}

fn event(text: &str) -> &'static str {
    EVENTS.iter().map(|known| known.value).find(|known| *known == text).unwrap_or("message.delivered")
}

async fn prepare(seat: Seat, Path(id): Path<String>) -> Answer {
    test_page(&seat, &id, event(seat.query.text("event")), None).await
}

async fn test(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let event = event(form.text("event"));
    let report: Report = seat.api.post(&format!("/targets/{}/test", segment(&id)), &sample(event)).await?;
    test_page(&seat, &id, event, Some(&report)).await
}
