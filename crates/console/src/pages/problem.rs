//! Pages about what did not work. Each says what happened and leads on.

use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use crate::api::{Failure, Problem};
use crate::kept::Kept;
use crate::session::{Seat, Theme};
use crate::ui::{self, Page, Tone};

fn page(seat: Option<&Seat>, theme: Theme, status: StatusCode, title: &str, content: Markup) -> Response {
    match seat {
        Some(seat) => Page::new(title, "").narrow().status(status).show(seat, content),
        None => ui::door(title, theme, status, content),
    }
}

/// Nothing is at this address.
pub(crate) fn lost(seat: Option<&Seat>, theme: Theme) -> Response {
    let content = html! {
        p { "Nothing is at this address. It may have been deleted, or belong to another workspace." }
        p { a href="/console/" { "To the console" } }
    };
    page(seat, theme, StatusCode::NOT_FOUND, "Not found", content)
}

/// What is at this address takes forms, or takes none. `way_back` is the page that the form is on.
pub(crate) fn other_method(seat: Option<&Seat>, theme: Theme, way_back: &str) -> Response {
    let content = html! {
        p { "There is no page at this address: it is where a form is sent to. Nothing was changed." }
        p { a href=(way_back) { "To the page of the form" } }
    };
    page(seat, theme, StatusCode::METHOD_NOT_ALLOWED, "Nothing to show here", content)
}

/// A page of the administrators, opened by a member: what it is, and what to do instead.
pub(crate) fn administrators_only(seat: &Seat, title: &str, nav: &str, about: &str) -> Response {
    let whom = format!("You are a member of {}: ask one of its administrators.", seat.workspace.name);
    closed(seat, title, nav, about, &whom)
}

/// A page of those who rule the server, opened by somebody else.
pub(crate) fn operators_only(seat: &Seat, title: &str, nav: &str, about: &str) -> Response {
    closed(seat, title, nav, about, "Ask an administrator of the first workspace.")
}

fn closed(seat: &Seat, title: &str, nav: &str, about: &str, whom: &str) -> Response {
    let next = html! { a.button href="/console/" { "To the console" } };
    let content = html! { section.panel-box {
        (ui::empty("lock", "For administrators", &format!("{about} {whom}"), next))
    } };
    Page::new(title, nav).narrow().status(StatusCode::FORBIDDEN).show(seat, content)
}

/// A form that was open for too long: its token belongs to an earlier session.
pub(crate) fn stale(seat: &Seat) -> Response {
    let content = ui::notice(
        Tone::Warn,
        html! { "Nothing was changed: this form belongs to an earlier session. " a href="/console/" { "To the console" } ", and try again from there." },
    );
    page(Some(seat), seat.theme, StatusCode::FORBIDDEN, "The form is out of date", content)
}

/// A form that was opened in one workspace and sent when another was chosen, in another window, say.
pub(crate) fn elsewhere(seat: &Seat, kept: Option<&Kept>) -> Response {
    let content = html! {
        (ui::notice(Tone::Warn, html! {
            "Nothing was changed: this form was opened in another workspace, and you are in " strong { (seat.workspace.name) } " now."
        }))
        @if let Some(kept) = kept {
            (typed(kept))
            @if let Some(way) = kept.way_back(&seat.csrf, &seat.workspaces) { (way) }
        }
        p { a href="/console/" { "To the console" } }
    };
    page(Some(seat), seat.theme, StatusCode::CONFLICT, "The workspace has changed", content)
}

/// What was typed into a form that was not carried out.
fn typed(kept: &Kept) -> Markup {
    ui::section("What you typed", kept.typed())
}

/// What is answered to a form of another site. People meet it behind a proxy that hides the host.
pub(crate) fn of_another_site() -> Failure {
    Failure::Refused(Box::new(Problem {
        status: StatusCode::FORBIDDEN.as_u16(),
        title: "Sent by another site".into(),
        detail: "Nothing was changed: the browser says that another site sent this form. If it was this console, the proxy in front of it \
                 does not pass on the header Host."
            .into(),
        ..Problem::default()
    }))
}

/// Whether the same may go well in a moment.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT)
}

/// What the API refused where no form could show it, with what was typed into the form that asked for it.
pub(crate) fn failed(seat: Option<&Seat>, failure: &Failure, sent: Option<&Kept>) -> Response {
    let theme = seat.map_or(Theme::Auto, |seat| seat.theme);
    let sent = seat.and_then(|seat| Some((seat, sent?)));
    if failure.status() == StatusCode::NOT_FOUND {
        let Some((_, kept)) = sent else { return lost(seat, theme) };
        let content = html! {
            (ui::notice(Tone::Warn, html! { "Nothing was changed: what this form is about is not there any more. It may have been deleted meanwhile." }))
            (typed(kept))
            p { a href="/console/" { "To the console" } }
        };
        return page(seat, theme, StatusCode::NOT_FOUND, "Not found", content);
    }
    let problem = failure.problem();
    let content = html! {
        (ui::notice(Tone::Bad, html! { (problem.detail) }))
        @if !problem.type_path.is_empty() { p { a href=(problem.type_path) { "About the problem " code { (problem.code) } } } }
        @if problem.code == "invalid_cursor" && let Some(seat) = seat {
            p { a href=(seat.query.with("cursor", None)) { "To the beginning of the list" } }
        }
        @if let Some((seat, kept)) = sent {
            (typed(kept))
            @if may_pass(failure.status()) { (kept.again(&seat.csrf, "Send it again")) }
        }
        p { a href="/console/" { "To the console" } }
    };
    let title = if problem.title.is_empty() { "This did not work" } else { &problem.title };
    page(seat, theme, failure.status(), title, content)
}
