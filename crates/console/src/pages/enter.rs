//! The way in and out: set-up by the link that the first start prints, log-in with an optional code, log-out, theme and workspace.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode, header};
use maud::html;
use posthaste_server::people::{FirstMember, Login, NewSession, PeopleError};

use crate::api::{Failure, Problem};
use crate::form::{Draft, Form, LogIn, Small, capital};
use crate::kept::{self, Kept};
use crate::session::{Choice, Look, Post, Seat, Theme, choice_cookie, local};
use crate::ui::{self, Field, Tone, door, errors, submit};
use crate::{Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/setup", get(setup).post(set_up))
        .route("/login", get(login).post(log_in))
        .route("/login/code", post(log_in_code))
        .route("/password", get(password).post(set_password))
        .route("/logout", post(log_out))
        .route("/theme", post(theme))
        .route("/workspace", post(workspace))
}

/// What was refused, as a form shows it.
pub(super) fn refused(draft: Draft, error: &PeopleError) -> Draft {
    let problem = Problem { status: 422, detail: detail(error), field: error.field().map(str::to_owned), ..Problem::default() };
    draft.with_problem(problem)
}

/// Errors name their field and begin in small letters, for logs; a page shows sentences, at the field.
fn detail(error: &PeopleError) -> String {
    let text = error.to_string();
    capital(error.field().and_then(|field| text.strip_prefix(field)?.strip_prefix(": ")).unwrap_or(&text))
}

/// The log-in page as the answer to a form that came without a session: what was typed comes back after it.
pub(crate) fn log_in_first(theme: Theme, draft: &Draft) -> Response {
    login_page(theme, StatusCode::UNAUTHORIZED, draft, false)
}

/// Enters after a log-in: to where somebody wanted to go, or to the form that was kept.
fn come_in(console: &Console, theme: Theme, form: &Form, session: &NewSession) -> Response {
    let Some(kept) = Kept::read(form) else { return enter(session, local(form.text("back"))) };
    let rooms = console.app.people().rooms(&session.signed_in);
    let room = kept.room(&rooms);
    let page = with_cookie(kept.page(theme, StatusCode::OK, kept::LATE, session.signed_in.csrf(), room), session.cookie.clone());
    match room {
        Some(room) => with_cookie(page, choice_cookie(Choice::Workspace, &room.id)),
        None => page,
    }
}

/// Enters with a new session.
fn enter(session: &NewSession, to: &str) -> Response {
    with_cookie(go(to), session.cookie.clone())
}

fn with_cookie(mut response: Response, cookie: HeaderValue) -> Response {
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

async fn setup(State(console): State<Console>, Look { theme, query, .. }: Look) -> Response {
    let people = console.app.people();
    if people.has_members() {
        return go("/console/login");
    }
    match people.is_setup_token(query.text("token")) {
        true => setup_page(theme, StatusCode::OK, &Draft::new().set("token", query.text("token"))),
        false => no_setup(&console, theme, StatusCode::OK),
    }
}

/// The set-up without its link.
fn no_setup(console: &Console, theme: Theme, status: StatusCode) -> Response {
    let content = html! {
        p { "Open the one-time link that the server printed when it started. It looks like this:" }
        p { code { (console.base_url()) "/console/setup?token=…" } }
        p.muted.small { "Lost it? The server prints a new one at each start until somebody has used it." }
    };
    door("Set up Posthaste", theme, status, content)
}

fn setup_page(theme: Theme, status: StatusCode, draft: &Draft) -> Response {
    let content = html! {
        p.muted { "You are the first one here. This makes your account, the administrator of this server." }
        form.form method="post" action="/console/setup" {
            (errors(draft))
            input type="hidden" name="token" value=(draft.text("token"));
            (Field::text(draft, "organisation", "Organisation").hint("The name of your workspace. It can be changed later.").autocomplete("organization").required().focus())
            (Field::text(draft, "name", "Your name").autocomplete("name").required())
            (Field::input(draft, "email", "E-mail", "email").autocomplete("username").required())
            (Field::input(draft, "password", "Password", "password").hint("At least 10 characters. A few unrelated words are easy to remember.").autocomplete("new-password").required())
            div.actions { (submit("Create the administrator")) }
        }
    };
    door("Set up Posthaste", theme, status, content)
}

async fn set_up(State(console): State<Console>, Look { theme, visitor, .. }: Look, Small(form): Small) -> Response {
    let text = |name: &str| form.text(name).to_owned();
    let first = FirstMember {
        organisation: text("organisation"),
        name: text("name"),
        email: text("email"),
        password: form.raw("password").to_owned(),
    };
    match console.app.people().set_up(form.text("token"), first, &visitor).await {
        Ok(session) => enter(&session, "/console/"),
        // It was used, here or elsewhere, while the form was open: its page says what to do.
        Err(PeopleError::Link) if console.app.people().has_members() => go("/console/setup"),
        Err(error @ PeopleError::Link) => no_setup(&console, theme, status_of(&error)),
        Err(error) => setup_page(theme, status_of(&error), &refused(form.into(), &error)),
    }
}

async fn login(State(console): State<Console>, seat: Option<Seat>, Look { theme, query, .. }: Look) -> Response {
    if seat.is_some() {
        return go(local(query.text("back")));
    }
    if !console.app.people().has_members() {
        return go("/console/setup");
    }
    login_page(theme, StatusCode::OK, &Draft::new().set("back", query.text("back")), query.given("out").is_some())
}

fn login_page(theme: Theme, status: StatusCode, draft: &Draft, is_out: bool) -> Response {
    let content = html! {
        @if is_out { (ui::notice(Tone::Ok, html! { "You are logged out." })) }
        form.form method="post" action="/console/login" {
            (kept::carried(draft)) (errors(draft))
            input type="hidden" name="back" value=(draft.text("back"));
            (Field::input(draft, "email", "E-mail", "email").autocomplete("username").required().focus())
            (Field::input(draft, "password", "Password", "password").autocomplete("current-password").required())
            div.actions { (submit("Log in")) }
        }
        p.small.muted { "Forgot the password? An administrator can make you a link for a new one." }
    };
    door("Log in", theme, status, content)
}

/// The status of a log-in that failed.
pub(super) fn status_of(error: &PeopleError) -> StatusCode {
    match error {
        PeopleError::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
        PeopleError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        PeopleError::Forged => StatusCode::FORBIDDEN,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

async fn log_in(State(console): State<Console>, Look { theme, visitor, .. }: Look, LogIn(form): LogIn) -> Response {
    match console.app.people().login(form.text("email"), form.raw("password"), &visitor).await {
        Ok(Login::Done(session)) => come_in(&console, theme, &form, &session),
        Ok(Login::CodeNeeded { ticket }) => {
            let draft = Draft::new().set("ticket", ticket).set("back", form.text("back"));
            code_page(theme, StatusCode::OK, &kept::carry(&form, draft))
        }
        Err(error) => login_page(theme, status_of(&error), &refused(form.into(), &error), false),
    }
}

fn code_page(theme: Theme, status: StatusCode, draft: &Draft) -> Response {
    let content = html! {
        p.muted { "Your account asks for a second step." }
        form.form method="post" action="/console/login/code" {
            (kept::carried(draft)) (errors(draft))
            input type="hidden" name="ticket" value=(draft.text("ticket"));
            input type="hidden" name="back" value=(draft.text("back"));
            (Field::text(draft, "code", "Code").hint("Six digits from your authenticator app, or one of your recovery codes.").autocomplete("one-time-code").mono().required().focus())
            div.actions { (submit("Log in")) a.button.quiet href="/console/login" { "Start again" } }
        }
    };
    door("Second step", theme, status, content)
}

async fn log_in_code(State(console): State<Console>, Look { theme, visitor, .. }: Look, LogIn(form): LogIn) -> Response {
    match console.app.people().login_code(form.text("ticket"), form.text("code"), &visitor).await {
        Ok(session) => come_in(&console, theme, &form, &session),
        Err(error @ PeopleError::Link) => {
            let draft = kept::carry(&form, Draft::new().set("back", form.text("back")));
            login_page(theme, StatusCode::UNPROCESSABLE_ENTITY, &refused(draft, &error), false)
        }
        Err(error) => {
            let status = status_of(&error);
            code_page(theme, status, &refused(Draft::from(form).set("code", ""), &error))
        }
    }
}

async fn password(State(console): State<Console>, Look { theme, query, .. }: Look) -> Response {
    match console.app.people().link_member(query.text("token")) {
        Some(member) => {
            password_page(theme, StatusCode::OK, &Draft::new().set("token", query.text("token")).set("email", &member.doc.email))
        }
        None => lapsed(theme, StatusCode::NOT_FOUND),
    }
}

/// A link for a password that is no good any more.
fn lapsed(theme: Theme, status: StatusCode) -> Response {
    let content = html! {
        p { "It was used already, or it is too old. An administrator can make you a new one." }
        p { a href="/console/login" { "Log in" } }
    };
    door("The link has expired", theme, status, content)
}

fn password_page(theme: Theme, status: StatusCode, draft: &Draft) -> Response {
    let content = html! {
        p.muted { "For " strong { (draft.text("email")) } "." }
        form.form method="post" action="/console/password" {
            (errors(draft))
            input type="hidden" name="token" value=(draft.text("token"));
            input type="hidden" name="email" value=(draft.text("email")) autocomplete="username";
            (Field::input(draft, "password", "New password", "password").hint("At least 10 characters. A few unrelated words are easy to remember.").autocomplete("new-password").required().focus())
            div.actions { (submit("Set the password and log in")) }
        }
    };
    door("Choose a password", theme, status, content)
}

async fn set_password(State(console): State<Console>, Look { theme, visitor, .. }: Look, Small(form): Small) -> Response {
    match console.app.people().use_link(form.text("token"), form.raw("password"), &visitor).await {
        Ok(Login::Done(session)) => enter(&session, "/console/"),
        Ok(Login::CodeNeeded { ticket }) => code_page(theme, StatusCode::OK, &Draft::new().set("ticket", ticket)),
        // It lapsed while the form was open.
        Err(error @ PeopleError::Link) => lapsed(theme, status_of(&error)),
        Err(error) => password_page(theme, status_of(&error), &refused(form.into(), &error)),
    }
}

async fn log_out(State(console): State<Console>, Post { seat, .. }: Post) -> Response {
    let people = console.app.people();
    match people.logout(&seat.signed_in).await {
        Ok(cookie) => with_cookie(go("/console/login?out=1"), cookie),
        Err(error) => {
            let failure = Failure::from(error);
            let content = html! {
                (ui::notice(Tone::Warn, html! { "This browser has forgotten the session. The server could not end it: " (failure.problem().detail) "." }))
                p { "It ends by itself when nobody uses it, and an administrator can end it." }
                p { a href="/console/login" { "Log in" } }
            };
            with_cookie(door("Logged out in this browser", seat.theme, failure.status(), content), people.no_cookie())
        }
    }
}

async fn theme(State(console): State<Console>, Post { form, .. }: Post) -> Response {
    // The page may have been the answer to a form, at an address that takes nothing else.
    let back = console.page_at(local(form.text("back"))).await;
    with_cookie(go(&back), choice_cookie(Choice::Theme, Theme::named(form.text("theme")).name()))
}

async fn workspace(Post { seat, form }: Post) -> Response {
    let chosen = form.text("workspace");
    let next = match Kept::read(&form) {
        Some(kept) => kept.page(seat.theme, StatusCode::OK, kept::ELSEWHERE, seat.signed_in.csrf(), kept.room(&seat.workspaces)),
        None => go("/console/"),
    };
    with_cookie(next, choice_cookie(Choice::Workspace, chosen))
}
