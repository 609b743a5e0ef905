//! One's own account: name, password, second factor, sessions. These belong to the person and not to a workspace, so they are asked of
//! the people of the server, and not of the API.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use maud::{Markup, html};
use posthaste_domain::clock::rfc3339;
use posthaste_server::people::PeopleError;

use super::enter::refused;
use crate::api::segment;
use crate::form::Draft;
use crate::session::{Post, Seat};
use crate::ui::{self, Field, Flash, Head, Page, Tone, errors, submit};
use crate::{Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/account", get(show))
        .route("/account/name", post(rename))
        .route("/account/password", post(change_password))
        .route("/account/totp", get(to_account).post(begin_totp))
        .route("/account/totp/confirm", get(to_account).post(confirm_totp))
        .route("/account/totp/remove", post(remove_totp))
        .route("/account/sessions/others", post(revoke_others))
        .route("/account/sessions/{id}", post(revoke))
}

const HERE: &str = "/console/account";

/// The forms of the page as they are shown: one of them may be the one that was refused.
#[derive(Default)]
struct Forms {
    name: Draft,
    password: Draft,
    /// Of the second step: turning it on, or off.
    second: Draft,
}

async fn show(State(console): State<Console>, seat: Seat) -> Response {
    let forms = Forms { name: Draft::new().set("name", &seat.name), ..Forms::default() };
    page(&console, &seat, StatusCode::OK, &forms)
}

/// A page that only a form leads to was loaded again.
async fn to_account(_: Seat) -> Response {
    go(HERE)
}

fn page(console: &Console, seat: &Seat, status: StatusCode, forms: &Forms) -> Response {
    let content = html! {
        (ui::section("Name", html! {
            form.form method="post" action="/console/account/name" {
                (ui::csrf(&seat.csrf)) (errors(&forms.name))
                (Field::text(&forms.name, "name", "Your name").hint("Stands in the audit log beside what you change.").autocomplete("name").required())
                p.small.muted { "You log in as " strong { (seat.email) } ". An administrator can change the address." }
                div.actions { (submit("Save the name")) }
            }
        }))
        (ui::section("Password", html! {
            form.form method="post" action="/console/account/password" {
                (ui::csrf(&seat.csrf)) (errors(&forms.password))
                input type="hidden" name="username" value=(seat.email) autocomplete="username";
                (Field::input(&forms.password, "old", "Present password", "password").autocomplete("current-password").required())
                (Field::input(&forms.password, "password", "New password", "password").hint("At least 10 characters. A few unrelated words are easy to remember.").autocomplete("new-password").required())
                p.small.muted { "Your other sessions end with the change." }
                div.actions { (submit("Change the password")) }
            }
        }))
        (ui::section("Second step at log-in", second_factor(seat, &forms.second)))
        (sessions(console, seat))
    };
    let lede = html! { "Your own name, password and sessions, on all workspaces of this server." };
    Page::new("Account", HERE).lede(lede).narrow().status(status).show(seat, content)
}

fn second_factor(seat: &Seat, draft: &Draft) -> Markup {
    let password = Field::input(draft, "current", "Present password", "password").autocomplete("current-password").required();
    let Some(totp) = &seat.signed_in.member.doc.totp else {
        return html! {
            p { "After the password, log-in can ask for a code of an authenticator app on your phone. Whoever learns your password then still cannot log in." }
            form.form method="post" action="/console/account/totp" {
                (ui::csrf(&seat.csrf)) (errors(draft))
                (password)
                div.actions { (submit("Set up an authenticator app")) }
            }
        };
    };
    html! {
        div.row { (ui::status("enabled")) span { "Log-in asks for a code of your authenticator app." } }
        @if totp.recovery.is_empty() {
            (ui::notice(Tone::Warn, html! { "All recovery codes are used. Turn the second step off and on again to get new ones." }))
        } @else {
            p.muted { (totp.recovery.len()) " recovery codes are left. Each works once, in place of a code." }
        }
        (ui::fold(draft.text("open") == "true", html! { "Turn it off" }, html! {
            form.form method="post" action="/console/account/totp/remove" {
                (ui::csrf(&seat.csrf)) (errors(draft))
                (password)
                div.actions { button.button.danger type="submit" { "Turn the second step off" } }
            }
        }))
    }
}

const HEADS: [Head<'static>; 4] = [Head::new("Browser"), Head::opt("From"), Head::new("Last seen"), Head::actions()];

fn sessions(console: &Console, seat: &Seat) -> Markup {
    let all = console.app.people().sessions(&seat.signed_in);
    let own = &seat.signed_in.session.id;
    let rows = html! {
        @for session in &all {
            tr {
                td { (browser(&session.user_agent)) div.small.muted { "since " (ui::time(&rfc3339(session.created_ms))) } }
                td.opt { code { (session.ip) } }
                td.nowrap { @if session.id == *own { (ui::badge(Tone::Ok, "ok", "This one")) } @else { (ui::ago(&rfc3339(session.seen_ms))) } }
                td { @if session.id != *own { (ui::button(&seat.csrf, &format!("{HERE}/sessions/{}", segment(&session.id)), "slim", "leave", "End")) } }
            }
        }
    };
    html! {
        section.panel-box {
            header {
                h2 { "Sessions" }
                @if all.len() > 1 { (ui::button(&seat.csrf, "/console/account/sessions/others", "slim danger", "leave", "End all others")) }
            }
            (ui::table("sessions", "Sessions", &HEADS, rows))
        }
    }
}

/// What a browser calls itself, in a few words; as it is where it says nothing that is known.
pub(super) fn browser(agent: &str) -> String {
    let find = |names: &[(&str, &'static str)]| names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name);
    let name =
        find(&[("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrom", "Chrome"), ("Safari/", "Safari"), ("curl/", "curl")]);
    let system = find(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (name, system) {
        (Some(name), Some(system)) => format!("{name} on {system}"),
        (Some(name), None) => name.to_owned(),
        _ if agent.is_empty() => "Unknown browser".to_owned(),
        _ => agent.chars().take(80).collect(),
    }
}

/// What was refused, at the field that has the present password.
fn wrong_password(draft: Draft, error: &PeopleError, field: &str) -> Draft {
    match error {
        PeopleError::Wrong => {
            let detail = "This is not your present password.".to_owned();
            draft.with_problem(crate::api::Problem { status: 422, detail, field: Some(field.to_owned()), ..Default::default() })
        }
        error => refused(draft, error),
    }
}

async fn rename(State(console): State<Console>, Post { seat, form }: Post) -> Response {
    match console.app.people().rename(&seat.signed_in, form.text("name")).await {
        Ok(()) => go(&Flash::Saved.to(HERE)),
        Err(error) => {
            let forms = Forms { name: refused(form.into(), &error), ..Forms::default() };
            page(&console, &seat, StatusCode::UNPROCESSABLE_ENTITY, &forms)
        }
    }
}

async fn change_password(State(console): State<Console>, Post { seat, form }: Post) -> Response {
    let (old, new) = (form.raw("old"), form.raw("password"));
    match console.app.people().change_password(&seat.signed_in, old, new, &seat.visitor).await {
        Ok(()) => go(&Flash::Saved.to(HERE)),
        Err(error) => {
            let password = wrong_password(Draft::new(), &error, "old");
            let forms = Forms { name: Draft::new().set("name", &seat.name), password, ..Forms::default() };
            page(&console, &seat, super::enter::status_of(&error), &forms)
        }
    }
}

async fn begin_totp(State(console): State<Console>, Post { seat, form }: Post) -> Response {
    match console.app.people().begin_totp(&seat.signed_in, form.raw("current"), &seat.visitor).await {
        Ok(enrolment) => totp_page(&seat, StatusCode::OK, &Draft::new().set("secret", enrolment.secret).set("uri", enrolment.uri)),
        // It was turned on in another window.
        Err(PeopleError::HasSecondFactor) => go(HERE),
        Err(error) => second_refused(&console, &seat, Draft::new(), &error),
    }
}

/// The account's page again, with what was refused about the second step.
fn second_refused(console: &Console, seat: &Seat, draft: Draft, error: &PeopleError) -> Response {
    let second = wrong_password(draft, error, "current");
    let forms = Forms { name: Draft::new().set("name", &seat.name), second, ..Forms::default() };
    page(console, seat, super::enter::status_of(error), &forms)
}

/// The second step is being set up. Secret and address travel with the form, so that a wrong code does not begin anew; what counts is what
/// the server remembers.
fn totp_page(seat: &Seat, status: StatusCode, draft: &Draft) -> Response {
    let (secret, uri) = (draft.text("secret"), draft.text("uri"));
    let spaced: Vec<&str> = (0..secret.len()).step_by(4).filter_map(|at| secret.get(at..secret.len().min(at + 4))).collect();
    let content = html! {
        ol.steps {
            li { div.stack {
                h2 { "Scan this with an authenticator app" }
                @if let Some(drawing) = ui::qr(uri) { (drawing) }
                p.small { "On this device: " @if uri.starts_with("otpauth://") { a href=(uri) { "open it in an app" } ". " } "Or type the secret:" }
                (ui::code("secret", &spaced.join(" ")))
            } }
            li { div.stack {
                h2 { "Type the code that the app shows" }
                form.form method="post" action="/console/account/totp/confirm" {
                    (ui::csrf(&seat.csrf)) (errors(draft))
                    input type="hidden" name="secret" value=(secret);
                    input type="hidden" name="uri" value=(uri);
                    (Field::text(draft, "code", "Code").hint("Six digits.").autocomplete("one-time-code").mono().required().focus())
                    div.actions { (submit("Turn it on")) a.button.quiet href=(HERE) { "Cancel" } }
                }
            } }
        }
    };
    let page = Page::new("Set up an authenticator app", HERE).under(&[("Account", HERE)]).narrow().status(status);
    page.lede(html! { "Nothing is changed until the code of step two was right. There are ten minutes." }).show(seat, content)
}

async fn confirm_totp(State(console): State<Console>, Post { seat, form }: Post) -> Response {
    match console.app.people().confirm_totp(&seat.signed_in, form.text("code")).await {
        Ok(codes) => {
            let content = html! {
                (ui::notice(Tone::Ok, html! { strong { "Log-in asks for a code from now on." } " Keep these recovery codes where you find them without your phone. They are shown this once; each works once." }))
                (ui::section("Recovery codes", ui::code("recovery codes", &codes.join("\n"))))
                div.row { a.button.primary href=(HERE) { "I have kept them" } }
            };
            Page::new("Recovery codes", HERE).under(&[("Account", HERE)]).narrow().show(&seat, content)
        }
        Err(PeopleError::Wrong) => {
            let detail = "The code is wrong. Codes change every 30 seconds; is the clock of the phone right?".to_owned();
            let problem = crate::api::Problem { status: 422, detail, field: Some("code".to_owned()), ..Default::default() };
            totp_page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &Draft::from(form).set("code", "").with_problem(problem))
        }
        Err(PeopleError::Link) => {
            let content = html! {
                (ui::notice(Tone::Warn, html! { "It took too long, or there were too many wrong codes. Nothing was changed." }))
                div.row { a.button.primary href=(HERE) { (ui::icon("again")) "Begin again" } }
            };
            let page = Page::new("Begin again", HERE).under(&[("Account", HERE)]).narrow();
            page.status(StatusCode::UNPROCESSABLE_ENTITY).show(&seat, content)
        }
        // It was turned on in another window.
        Err(PeopleError::HasSecondFactor) => go(HERE),
        Err(error) => super::problem::failed(Some(&seat), &error.into(), None),
    }
}

async fn remove_totp(State(console): State<Console>, Post { seat, form }: Post) -> Response {
    match console.app.people().remove_totp(&seat.signed_in, form.raw("current"), &seat.visitor).await {
        Ok(()) => go(&Flash::Saved.to(HERE)),
        Err(error) => second_refused(&console, &seat, Draft::new().set("open", "true"), &error),
    }
}

async fn revoke(State(console): State<Console>, Path(id): Path<String>, Post { seat, .. }: Post) -> Response {
    let people = console.app.people();
    // What is not there any more is ended.
    let is_there = people.sessions(&seat.signed_in).iter().any(|session| session.id == id);
    let outcome = if is_there { people.revoke(&seat.signed_in, &id).await } else { Ok(()) };
    ended(&seat, outcome)
}

async fn revoke_others(State(console): State<Console>, Post { seat, .. }: Post) -> Response {
    ended(&seat, console.app.people().revoke_others(&seat.signed_in).await.map(drop))
}

fn ended(seat: &Seat, outcome: Result<(), PeopleError>) -> Response {
    match outcome {
        Ok(()) => go(&Flash::Ended.to(HERE)),
        Err(error) => super::problem::failed(Some(seat), &error.into(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_named_in_a_few_words() {
        let chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";
        assert_eq!(
            (browser(chrome), browser("curl/8.1"), browser("")),
            ("Chrome on Windows".into(), "curl".into(), "Unknown browser".into())
        );
        assert_eq!(browser("<script>"), "<script>");
    }
}
