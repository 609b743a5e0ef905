//! What is done to a target: testing it, pausing and resuming, its signing secret, deleting it.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::inbox::Attempt;
use super::sample;
use super::targets::{self, DELETE, Signing, Target};
use crate::api::{Failure, segment};
use crate::form::{Draft, Form};
use crate::query::link;
use crate::session::{Post, Seat};
use crate::ui::{self, Field, Flash, Page, Tone, errors, submit};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/targets/{id}/test", get(prepare).post(test))
        .route("/targets/{id}/pause", get(ask_pause).post(pause))
        .route("/targets/{id}/resume", post(resume))
        .route("/targets/{id}/secret", get(secret).post(rotate))
        .route("/targets/{id}/delete", get(ask_delete).post(delete))
}

/// What a test carries unless somebody writes something else.
const SAMPLE: &str = "{\n  \"message\": \"This is a test from Posthaste.\"\n}";

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

/// A page of a target.
fn frame<'a>(title: &'a str, target: &'a Target, address: &'a str) -> Page<'a> {
    Page::new(title, "/console/targets").under(&[("Targets", "/console/targets"), (target.name.as_str(), address)])
}

/// The request's body of a test: the type, and the payload as it was typed.
///
/// # Errors
/// If the payload is no JSON.
fn body_of(form: &Form) -> Result<String, Failure> {
    let type_name = form.given("type").map(|name| format!("\"type\":{},", Value::from(name))).unwrap_or_default();
    let data: Box<RawValue> = sample::read("data", form.given("data").unwrap_or("null"))?;
    Ok(format!("{{{type_name}\"data\":{data}}}"))
}

/// The request of a test, if its sample could be read.
async fn preview(seat: &Seat, target: &Target, body: Option<String>) -> Result<Option<Preview>, Failure> {
    match body {
        Some(body) => seat.api.post_text(&format!("/targets/{}/preview", segment(&target.id)), body).await.map(Some),
        None => Ok(None),
    }
}

/// The request that would go out (Momentum 9: before it is sent), and what came back once it was.
async fn test_page(seat: &Seat, target: &Target, draft: Draft, body: Option<String>, report: Option<Report>) -> Answer {
    let address = target.address();
    let (preview, draft) = match preview(seat, target, body).await {
        Ok(preview) => (preview, draft),
        Err(failure) if failure.status().is_client_error() && draft.problem.is_none() => (None, draft.refused(&failure)),
        Err(failure) if failure.status().is_client_error() => (None, draft),
        Err(failure) => return Err(failure),
    };
    let status = if draft.problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let content = html! {
        @if target.status != "active" { (ui::notice(Tone::Info, html! { "This target is " (target.status) "; a test goes out all the same." })) }
        form.form method="post" action=(format!("{address}/test")) {
            (ui::csrf(&seat.csrf)) (errors(&draft))
            (ui::section("Sample", html! {
                (Field::text(&draft, "type", "Event type").mono().optional().placeholder("posthaste.test"))
                (Field::code(&draft, "data", "Payload (JSON)", 6))
                div { button.button type="submit" name="show" value="true" formnovalidate { (ui::icon("again")) "Show the request for this sample" } }
            }))
            section.panel-box {
                header { h2 { "Request" } @if report.is_none() { span.small.muted { "nothing was sent yet" } } }
                div.body {
                    @match (&preview, &report) {
                        (_, Some(report)) => (ui::code("request", &whole(&report.attempt.request, preview.as_ref().map_or("", |preview| &preview.body)))),
                        (Some(preview), None) => (ui::code("request", &whole(&preview.request, &preview.body))),
                        _ => p.muted { "This sample cannot be sent; the problem is above." },
                    }
                    p.small.muted { "Secrets are shown as stars, and what is new in each request stands in braces." }
                }
            }
            div.actions {
                button.button.primary type="submit" { (ui::icon("send")) @if report.is_some() { "Submit the test again" } @else { "Submit test" } }
                a.button.quiet href=(address) { "Back to the target" }
            }
        }
        @if let Some(report) = &report { (response(report)) }
    };
    let page = frame("Test", target, &address).narrow().status(status);
    Ok(page.lede(html! { "One request, sent for real. Nothing is stored, and no retry follows." }).show(seat, content))
}

/// A request or an answer with its body.
fn whole(head: &str, body: &str) -> String {
    match (head.is_empty(), body.is_empty()) {
        (true, _) => body.to_owned(),
        (_, true) => head.to_owned(),
        _ => format!("{head}\n\n{body}"),
    }
}

fn response(report: &Report) -> Markup {
    let attempt = &report.attempt;
    let took = ui::duration_ms(attempt.duration_ms);
    let (tone, words) = match (report.delivered, attempt.message.as_deref().or(attempt.error.as_deref())) {
        (true, _) => (Tone::Ok, "The target took it".to_owned()),
        (false, Some(why)) => (Tone::Bad, format!("The target did not take it: {why}")),
        (false, None) => (Tone::Bad, "The target did not take it".to_owned()),
    };
    html! {
        section.panel-box id="response" {
            header { h2 { "Response" } span.small.muted { @if let Some(status) = attempt.status { "status " (status) ", " } "after " (took) } }
            div.body {
                (ui::notice(tone, html! { (words) "." @if let Some(error) = &attempt.error { " " a href=(format!("/posthaste/v1/errors/{}", segment(error))) { (error) } } }))
                @let text = whole(&attempt.response, &attempt.response_body);
                @if text.is_empty() { p.muted { "Nothing came back." } } @else { (ui::code("response", &text)) }
            }
        }
    }
}

async fn prepare(seat: Seat, Path(id): Path<String>) -> Answer {
    let target = targets::find(&seat.api, &id).await?;
    let type_name = seat.query.text("type");
    let form = Form::parse(link("", [("type", type_name), ("data", SAMPLE)]).trim_start_matches('?').as_bytes());
    let body = body_of(&form)?;
    test_page(&seat, &target, Draft::from(form), Some(body), None).await
}

async fn test(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let target = targets::find(&seat.api, &id).await?;
    let body = match body_of(&form) {
        Ok(body) => body,
        Err(failure) => return test_page(&seat, &target, Draft::from(form).refused(&failure), None, None).await,
    };
    if form.is_ticked("show") {
        return test_page(&seat, &target, Draft::from(form), Some(body), None).await;
    }
    match seat.api.post_text::<Report>(&format!("/targets/{}/test", segment(&id)), body.clone()).await {
        Ok(report) => test_page(&seat, &target, Draft::from(form), Some(body), Some(report)).await,
        Err(failure) => test_page(&seat, &target, Draft::from(form).refused(&failure), Some(body), None).await,
    }
}

async fn ask_pause(seat: Seat, Path(id): Path<String>) -> Answer {
    let target = targets::find(&seat.api, &id).await?;
    Ok(pause_page(&seat, &target, &Draft::new(), StatusCode::OK))
}

fn pause_page(seat: &Seat, target: &Target, draft: &Draft, status: StatusCode) -> Response {
    let address = target.address();
    let content = ui::section(
        &format!("Pause {}?", target.name),
        html! {
            form.form method="post" action=(format!("{address}/pause")) {
                (ui::csrf(&seat.csrf)) (errors(draft))
                p { "Its deliveries are held from now on and nothing is lost. Attempts that are under way finish. Resuming lets them out gently." }
                (Field::text(draft, "reason", "Reason").optional().hint("Shown with the target, for those who wonder.").focus())
                div.actions { (submit("Pause")) a.button.quiet href=(address) { "Keep it running" } }
            }
        },
    );
    frame("Pause", target, &address).narrow().status(status).show(seat, content)
}

async fn pause(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let body = json!({ "reason": form.given("reason") });
    match seat.api.post::<Value>(&format!("/targets/{}/pause", segment(&id)), &body).await {
        Ok(_) => Ok(go(&Flash::Paused.to(&targets::address(&id)))),
        Err(failure) => {
            let target = targets::find(&seat.api, &id).await?;
            Ok(pause_page(&seat, &target, &Draft::from(form).refused(&failure), StatusCode::UNPROCESSABLE_ENTITY))
        }
    }
}

async fn resume(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    seat.api.act(&format!("/targets/{}/resume", segment(&id))).await?;
    Ok(go(&Flash::Resumed.to(&targets::address(&id))))
}

/// The secrets that sign.
#[derive(Deserialize)]
struct Secret {
    secret: String,
    #[serde(flatten)]
    current: Signing,
    previous: Vec<Signing>,
}

async fn secret(seat: Seat, Path(id): Path<String>) -> Answer {
    secret_page(&seat, &id, &Draft::new(), StatusCode::OK).await
}

async fn secret_page(seat: &Seat, id: &str, draft: &Draft, status: StatusCode) -> Answer {
    let target = targets::find(&seat.api, id).await?;
    let address = target.address();
    let secret: Secret = seat.api.get(&format!("/targets/{}/secret", segment(id))).await?;
    let content = html! {
        (ui::section("Secret in use", html! {
            p { "Receivers check with it that requests are from this server. Who has it can sign as this server does." }
            (ui::secret("signing secret", &secret.secret))
            @if let Some(public) = &secret.current.public_key { p { "Receivers need the public key alone:" } (ui::secret("public key", public)) }
            p.small.muted { (if secret.current.scheme == "v1a" { "Ed25519" } else { "HMAC-SHA256" }) ", made " (ui::full_time(&secret.current.created_at)) }
            @for old in &secret.previous {
                p.small { "An older one signs beside it" @if let Some(at) = &old.expires_at { " until " (ui::full_time(at)) } "." }
            }
        }))
        (ui::section("Rotate", html! {
            form.form method="post" action=(format!("{address}/secret")) {
                (ui::csrf(&seat.csrf)) (errors(draft))
                p { "The present secret goes on signing beside the new one for a day, so that receivers can change over without losing a request." }
                (Field::text(draft, "secret", "New secret").mono().optional().hint("whsec_… or whsk_…; one is made if this is empty."))
                (ui::tick(draft, "asymmetric", "Make an Ed25519 key pair", "Receivers then hold only the public key."))
                div.actions { (submit("Rotate the secret")) a.button.quiet href=(address) { "Back to the target" } }
            }
        }))
    };
    Ok(frame("Signing secret", &target, &address).narrow().status(status).show(seat, content))
}

async fn rotate(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let body = json!({ "secret": form.given("secret"), "asymmetric": form.is_ticked("asymmetric") });
    match seat.api.post::<Secret>(&format!("/targets/{}/rotate-secret", segment(&id)), &body).await {
        Ok(_) => Ok(go(&Flash::Rotated.to(&format!("{}/secret", targets::address(&id))))),
        Err(failure) => secret_page(&seat, &id, &Draft::from(form).refused(&failure), StatusCode::UNPROCESSABLE_ENTITY).await,
    }
}

async fn ask_delete(seat: Seat, Path(id): Path<String>) -> Answer {
    let target = targets::find(&seat.api, &id).await?;
    let address = target.address();
    let title = format!("Delete {}?", target.name);
    let content = ui::confirm_page(&seat.csrf, &format!("{address}/delete"), "Delete target", &title, DELETE, &address);
    Ok(frame("Delete target", &target, &address).narrow().show(&seat, content))
}

/// A target that is used cannot go: its subscriptions go with it.
async fn delete(Path(id): Path<String>, Post { seat, .. }: Post) -> Answer {
    seat.api.delete(&format!("/targets/{}?subscriptions=true", segment(&id))).await?;
    Ok(go(&Flash::Deleted.to("/console/targets")))
}
