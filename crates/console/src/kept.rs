//! Forms that were not carried out, and have no page of their own to be shown on again: what was typed is not lost.
//!
//! - When the session had ended, the form is answered with the log-in page, which carries its fields, hidden, and the answer to the log-in shows
//!   them again with a button that sends them, now with the token of the new session. When another workspace was chosen meanwhile, the way back
//!   to the first one carries them in the same manner.
//! - When what a form is about was deleted meanwhile, or the server could not do it, the page that says so shows them too ([`Typed`]).
//!
//! So nothing is stored, nothing is in an address or a cookie, and nothing is carried out that nobody pressed a button for.
//!
//! Invariant: only a form that the browser says came from a page of this console, or that has the token of the session, is ever shown again.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use parking_lot::Mutex;
use posthaste_server::people::Room;

use crate::form::{Draft, Form, is_secret};
use crate::session::{ANYWHERE, Theme, local};
use crate::ui::{self, Tone};

/// The longest form that the next one carries, as a browser encodes it: encoded once more it still fits.
pub(crate) const MOST: usize = 1 << 20;
/// The longest form that carries one: each byte of it may be sent as `%XX`.
pub(crate) const MOST_CARRIED: usize = 3 * MOST + (64 << 10);
/// Why a form is shown again.
pub(crate) const LATE: &str = "This was not carried out, because the session had ended.";
/// Why a form is shown again.
pub(crate) const ELSEWHERE: &str = "This was not carried out, because another workspace had been chosen.";
/// Forms with passwords are filled in anew.
const OF_SECRETS: &str = "/console/account/";
/// What is in a form and was typed by nobody.
const OWN: [&str; 8] = ["csrf", "version", "anyway", "do", "id", "back", "uri", "like"];

/// The fields of a log-in that carry a form: where to, about which workspace, and what.
const FIELDS: [&str; 3] = ["kept_to", "kept_workspace", "kept"];
/// Stands in their place when the form is too long.
const TOO_LONG: &str = "kept_not";

/// Where a form that is being carried out is kept, for the page about what went wrong. Part of a request.
#[derive(Clone, Default)]
pub(crate) struct Typed(Arc<Mutex<Option<Kept>>>);

impl Typed {
    /// Keeps a form.
    pub(crate) fn put(&self, form: Option<Kept>) {
        *self.0.lock() = form;
    }

    /// The form, this once.
    pub(crate) fn take(&self) -> Option<Kept> {
        self.0.lock().take()
    }
}

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
    if !login.text(TOO_LONG).is_empty() {
        return ui::notice(
            Tone::Warn,
            html! {
                "Your session has ended, and the form was not carried out. It is too long to come back by itself: the browser's way back leads to it, "
                "with what you typed. Log in in another window, and send it again."
            },
        );
    }
    if login.text(FIELDS[0]).is_empty() {
        return html! {};
    }
    html! {
        (ui::notice(Tone::Warn, html! { "Your session has ended, and the form was not carried out. What you typed is kept: log in, and it comes back." }))
        @for name in FIELDS { input type="hidden" name=(name) value=(login.text(name)); }
    }
}

/// A log-in that says that a form was too long to be carried.
pub(crate) fn too_long() -> Draft {
    Draft::new().set(TOO_LONG, "true")
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
        Some(Self { to: to.to_owned(), workspace, form: form.without("csrf") })
    }

    /// What a form of the log-in carried.
    pub(crate) fn read(login: &Form) -> Option<Self> {
        let to = login.given("kept_to").filter(|to| local(to) == *to)?.to_owned();
        Some(Self { to, workspace: login.text("kept_workspace").to_owned(), form: Form::parse(login.raw("kept").as_bytes()) })
    }

    /// The fields that carry it through another form; nothing if it is too long for that.
    fn fields(&self) -> Option<[(&'static str, String); 3]> {
        let encoded = self.form.encoded();
        let [to, workspace, form] = FIELDS;
        (encoded.len() <= MOST).then(|| [(to, self.to.clone()), (workspace, self.workspace.clone()), (form, encoded)])
    }

    /// A log-in that carries it, or says that it cannot.
    pub(crate) fn draft(&self) -> Draft {
        match self.fields() {
            Some(fields) => fields.into_iter().fold(Draft::new(), |draft, (name, value)| draft.set(name, value)),
            None => too_long(),
        }
    }

    /// The workspace that the form is about, if the person may still enter it.
    pub(crate) fn room<'a>(&self, rooms: &'a [Room]) -> Option<&'a Room> {
        rooms.iter().find(|room| room.id == self.workspace)
    }

    /// The form again, to be sent in a session with this token. `why` says what kept it from being carried out.
    pub(crate) fn page(&self, theme: Theme, status: StatusCode, why: &str, token: &str, room: Option<&Room>) -> Response {
        let Some(room) = room else {
            let content = html! {
                (ui::notice(Tone::Warn, html! { "The form was not carried out: you are not in the workspace that it was about. This is what was typed." }))
                (self.typed())
                div.actions { a.button href="/console/" { "To the console" } }
            };
            return ui::door("Not sent", theme, status, content);
        };
        let content = html! {
            p { (why) " It is about the workspace " strong { (room.name) } "." }
            (self.typed())
            (self.again(&format!("{token}.{}", room.id), "Send it now"))
        };
        ui::door("What you typed", theme, status, content)
    }

    /// A button that sends the form again.
    pub(crate) fn again(&self, csrf: &str, label: &str) -> Markup {
        html! {
            form.form method="post" action=(self.to) {
                (ui::csrf(csrf))
                @for (name, value) in self.form.pairs() { input type="hidden" name=(name) value=(value); }
                div.actions { (ui::submit(label)) a.button.quiet href="/console/" { "Drop it" } }
            }
        }
    }

    /// A button that goes back to the workspace that the form is about, and carries it there; nothing if that cannot be.
    pub(crate) fn way_back(&self, csrf: &str, rooms: &[Room]) -> Option<Markup> {
        let (room, fields) = (self.room(rooms)?, self.fields()?);
        Some(html! {
            form.form method="post" action="/console/workspace" {
                (ui::csrf(csrf))
                input type="hidden" name="workspace" value=(room.id);
                @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
                div.actions { (ui::submit(&format!("Back to {}, with what you typed", room.name))) }
            }
        })
    }

    /// What was typed, by field, to be copied.
    pub(crate) fn typed(&self) -> Markup {
        let rows = self.form.pairs().filter(|(name, value)| is_typed(name, value));
        html! {
            dl.facts.typed {
                @for (name, value) in rows {
                    dt { code { (name) } }
                    dd {
                        @if is_secret(name) { span.muted { "as you typed it" } }
                        @else { (ui::code(name, value)) }
                    }
                }
            }
        }
    }
}

fn is_typed(name: &str, value: &str) -> bool {
    !OWN.contains(&name) && !value.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use posthaste_channels::{ChannelOptions, Channels};
    use serde_json::json;

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
        let long = Kept::of("/console/inbox/send", &Form::parse(format!("data={}", "x".repeat(MOST)).as_bytes())).expect("it is kept");
        assert_eq!((long.draft().text("kept"), long.draft().text(TOO_LONG)), ("", "true"));
    }

    #[test]
    fn a_form_travels_through_the_log_in_unchanged() {
        let sent = Form::parse("csrf=t.wsp_1&data=%7B%22a%22%3A+1%0D%0A%7D&types=a&types=b%26c&empty=".as_bytes());
        let kept = Kept::of("/console/inbox/send?like=evt_1", &sent).expect("it is kept");
        let draft = kept.draft();
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(draft.pairs()).finish();
        let login = Form::parse(body.as_bytes());
        assert_eq!(carry(&login, Draft::new()).text("kept"), draft.text("kept"));
        let again = Kept::read(&login).expect("it is read");
        assert_eq!((again.to.as_str(), again.workspace.as_str()), ("/console/inbox/send?like=evt_1", "wsp_1"));
        let pairs: Vec<_> = again.form.pairs().collect();
        assert_eq!(pairs, [("data", "{\"a\": 1\r\n}"), ("types", "a"), ("types", "b&c"), ("empty", "")]);
    }

    // What a channel keeps as a secret is no text on a page because it was typed at the wrong moment.
    #[test]
    fn secrets_of_channels_are_not_shown() {
        let channels = Channels::standard(&ChannelOptions::default()).expect("the options are good");
        let mut shown = 0;
        for (channel, settings) in [
            ("webhook", json!({"url": "https://a.example/", "headers": {"X-Api-Key": "s3cret"}, "auth": {"bearer": "s3cret"}})),
            ("webhook", json!({"url": "https://a.example/", "auth": {"basic": {"username": "u", "password": "s3cret"}}})),
            (
                "webhook",
                json!({"url": "https://a.example/", "auth": {"oauth2": {"url": "https://t.example/", "body": {"client_secret": "s3cret"}}}}),
            ),
            ("slack", json!({"webhook_url": "https://hooks.slack.com/services/s3cret"})),
            ("slack", json!({"token": "xoxb-s3cret", "channel": "#ops"})),
            ("discord", json!({"webhook_url": "https://discord.com/api/webhooks/1/s3cret"})),
            ("email", json!({"to": ["a@b.example"], "from": "c@d.example", "smtp": {"url": "smtps://u:s3cret@mail.example"}})),
        ] {
            let secrets = channels.get(channel).expect("a channel").check(&settings).expect("good settings").secrets;
            assert!(!secrets.is_empty(), "{channel}");
            for pointer in secrets {
                let name = format!("settings{}", pointer.replace('/', "."));
                // One field holds all headers, or the whole form to get a token with.
                let is_of = |name: &str| {
                    let parts = name.match_indices('.').map(|(at, _)| &name[..at]);
                    parts.chain([name]).any(is_secret)
                };
                assert!(is_of(&name), "{channel} {name}");
                if channel != "webhook" {
                    let made_with_a_delivery = name.replacen("settings", channel, 1);
                    assert!(is_secret(&made_with_a_delivery), "{made_with_a_delivery}");
                }
                let body = format!("{name}=s3cret&name=Mine");
                let kept = Kept::of("/console/targets/new", &Form::parse(body.as_bytes())).expect("it is kept");
                let page = kept.typed().into_string();
                assert!(page.contains("Mine") && (!is_secret(&name) || !page.contains("s3cret")), "{page}");
                shown += 1;
            }
        }
        assert!(shown > 7, "{shown}");
        for (field, value) in
            [("settings.webhook_url", "s3cret"), ("email.smtp.url", "smtp://u:s3cret@m.example"), ("custom_headers", "X: s3cret")]
        {
            let body = form_urlencoded::Serializer::new(String::new()).append_pair(field, value).finish();
            let kept = Kept::of("/console/targets/new", &Form::parse(body.as_bytes())).expect("it is kept");
            assert!(!kept.typed().into_string().contains("s3cret"), "{field}");
        }
    }
}
