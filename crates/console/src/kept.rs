//! Forms that came when the session had ended: what was typed is not lost.
//!
//! The form is answered with the log-in page, which carries its fields, hidden, and the answer to the log-in shows them again with a button that
//! sends them, now with the token of the new session. So nothing is stored, nothing is in an address or a cookie, and nothing is carried out
//! that nobody pressed a button for.
//!
//! Invariant: only a form that the browser says came from a page of this console is ever shown again.

use axum::response::Response;
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use posthaste_server::people::Room;

use crate::form::{Draft, Form};
use crate::session::{ANYWHERE, Theme, local};
use crate::ui::{self, Tone};

/// The longest form that is kept, as a browser encodes it: encoded once more it still fits into the next form.
const MOST: usize = 512 << 10;
/// Characters of a value that are shown.
const SHOWN: usize = 2000;
/// Forms with passwords are filled in anew.
const OF_SECRETS: &str = "/console/account/";
/// What is in a form and was typed by nobody.
const OWN: [&str; 7] = ["csrf", "version", "anyway", "do", "id", "back", "uri"];

/// The fields of a log-in that carry a form: where to, about which workspace, and what.
const FIELDS: [&str; 3] = ["kept_to", "kept_workspace", "kept"];

/// A form that was not carried out.
pub(crate) struct Kept {
    /// Where it is sent to.
    to: String,
    /// Id of the workspace that it is about.
    workspace: String,
    form: Form,
}

/// Whether the browser says that a form comes from a page of this console; silence is not enough.
pub(crate) fn is_ours(headers: &HeaderMap) -> bool {
    let says = |name: &str| headers.contains_key(name);
    (says("sec-fetch-site") || says("origin")) && posthaste_server::people::check_same_origin(headers).is_ok()
}

/// The next step of a log-in carries what the one before carried.
pub(crate) fn carry(login: &Form, next: Draft) -> Draft {
    FIELDS.into_iter().fold(next, |draft, name| draft.set(name, login.raw(name)))
}

/// The hidden fields of a log-in that carries a form, and what its page says of it.
pub(crate) fn carried(login: &Draft) -> Markup {
    if login.text(FIELDS[0]).is_empty() {
        return html! {};
    }
    html! {
        (ui::notice(Tone::Warn, html! { "Your session has ended, and the form was not carried out. What you typed is kept: log in, and it comes back." }))
        @for name in FIELDS { input type="hidden" name=(name) value=(login.text(name)); }
    }
}

impl Kept {
    /// What is worth keeping of a form that was sent to an address; nothing if nobody typed anything.
    pub(crate) fn of(to: &str, form: &Form) -> Option<Self> {
        let path = to.split('?').next().unwrap_or_default();
        let is_of_any = path.strip_prefix("/console").is_some_and(|path| ANYWHERE.contains(&path));
        if is_of_any || to.starts_with(OF_SECRETS) || local(to) != to || !form.pairs().any(|(name, value)| is_typed(name, value)) {
            return None;
        }
        let workspace = form.raw("csrf").split_once('.').map_or("", |(_, workspace)| workspace).to_owned();
        let form = form.without("csrf");
        (form.encoded().len() <= MOST).then(|| Self { to: to.to_owned(), workspace, form })
    }

    /// What a form of the log-in carried.
    pub(crate) fn read(login: &Form) -> Option<Self> {
        let to = login.given("kept_to").filter(|to| local(to) == *to)?.to_owned();
        Some(Self { to, workspace: login.text("kept_workspace").to_owned(), form: Form::parse(login.raw("kept").as_bytes()) })
    }

    /// A log-in that carries it.
    pub(crate) fn into_draft(self) -> Draft {
        Draft::new().set(FIELDS[0], self.to).set(FIELDS[1], self.workspace).set(FIELDS[2], self.form.encoded())
    }

    /// The workspace that the form is about, if the person may still enter it.
    pub(crate) fn room<'a>(&self, rooms: &'a [Room]) -> Option<&'a Room> {
        rooms.iter().find(|room| room.id == self.workspace)
    }

    /// The form again, to be sent in a session with this token.
    pub(crate) fn page(&self, theme: Theme, status: StatusCode, token: &str, room: Option<&Room>) -> Response {
        let Some(room) = room else {
            let content = html! {
                (ui::notice(Tone::Warn, html! { "The form was not carried out: you are not in the workspace that it was about. This is what was typed." }))
                (self.typed())
                div.actions { a.button href="/console/" { "To the console" } }
            };
            return ui::door("Not sent", theme, status, content);
        };
        let content = html! {
            p { "This was not carried out, because the session had ended. It is about the workspace " strong { (room.name) } "." }
            (self.typed())
            form.form method="post" action=(self.to) {
                (ui::csrf(&format!("{token}.{}", room.id)))
                @for (name, value) in self.form.pairs() { input type="hidden" name=(name) value=(value); }
                div.actions { (ui::submit("Send it now")) a.button.quiet href="/console/" { "Drop it" } }
            }
        };
        ui::door("What you typed", theme, status, content)
    }

    /// What was typed, by field.
    fn typed(&self) -> Markup {
        let rows = self.form.pairs().filter(|(name, value)| is_typed(name, value));
        html! {
            dl.facts.typed {
                @for (name, value) in rows {
                    dt { code { (name) } }
                    dd {
                        @if is_secret(name) { span.muted { "as you typed it" } }
                        @else {
                            pre { (value.chars().take(SHOWN).collect::<String>()) @if value.chars().nth(SHOWN).is_some() { "…" } }
                        }
                    }
                }
            }
        }
    }
}

fn is_typed(name: &str, value: &str) -> bool {
    !OWN.contains(&name) && !value.trim().is_empty()
}

/// Whether a value is better not on the screen.
fn is_secret(name: &str) -> bool {
    ["password", "secret", "token", "private_key", "bearer"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_somebody_typed_is_kept() {
        let keeps = |to: &str, body: &str| Kept::of(to, &Form::parse(body.as_bytes())).is_some();
        assert!(keeps("/console/targets/new", "csrf=a.wsp_1&name=Mine"));
        assert!(keeps("/console/suppressions/new?scope=a", "address=b"));
        for (to, body) in [
            ("/console/inbox/evt_1/resend", "csrf=a.wsp_1"),
            ("/console/templates/tpl_1", "csrf=a.wsp_1&version=3&do=save&name=+"),
            ("/console/account/password", "old=a&password=b"),
            ("/console/theme", "theme=dark"),
            ("//evil.example", "name=Mine"),
            ("https://evil.example/console/", "name=Mine"),
        ] {
            assert!(!keeps(to, body), "{to} {body}");
        }
        assert!(!keeps("/console/inbox/send", &format!("data={}", "x".repeat(MOST))));
    }

    #[test]
    fn a_form_travels_through_the_log_in_unchanged() {
        let sent = Form::parse("csrf=t.wsp_1&data=%7B%22a%22%3A+1%0D%0A%7D&types=a&types=b%26c&empty=".as_bytes());
        let kept = Kept::of("/console/inbox/send?like=evt_1", &sent).expect("it is kept");
        let draft = kept.into_draft();
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(draft.pairs()).finish();
        let login = Form::parse(body.as_bytes());
        assert_eq!(carry(&login, Draft::new()).text("kept"), draft.text("kept"));
        let again = Kept::read(&login).expect("it is read");
        assert_eq!((again.to.as_str(), again.workspace.as_str()), ("/console/inbox/send?like=evt_1", "wsp_1"));
        let pairs: Vec<_> = again.form.pairs().collect();
        assert_eq!(pairs, [("data", "{\"a\": 1\r\n}"), ("types", "a"), ("types", "b&c"), ("empty", "")]);
    }
}
