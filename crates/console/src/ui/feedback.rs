//! What is said about a state: badges, notices, empty places, progress.

use maud::{Markup, html};

use super::icon;
use crate::query::link;

/// What kind of news something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Neither good nor bad.
    Plain,
    /// For attention, not for worry.
    Info,
    /// Good.
    Ok,
    /// May need somebody.
    Warn,
    /// Failed or refused.
    Bad,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Info => "info",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    pub(super) fn icon(self) -> &'static str {
        match self {
            Self::Plain => "wait",
            Self::Info => "info",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// A word with an icon, in the colour of its tone.
pub fn badge(tone: Tone, icon_name: &str, word: &str) -> Markup {
    html! { span.badge.(tone.class()) { (icon(icon_name)) (word) } }
}

/// Tone and icon of a state of a delivery, target, message, replay or member, in the API's words.
pub fn tone_of(state: &str) -> (Tone, &'static str) {
    match state {
        "delivered" | "active" | "ok" | "done" | "succeeded" | "sent" | "opened" | "clicked" | "enabled" | "verified" => (Tone::Ok, "ok"),
        "failed" | "bounced" | "rejected" | "complained" | "error" => (Tone::Bad, "bad"),
        "disabled" => (Tone::Bad, "stop"),
        "paused" | "held" => (Tone::Warn, "pause"),
        "probing" | "deferred" | "rate_limited" | "retrying" | "pending" => (Tone::Warn, "wait"),
        "cancelled" | "expired" | "unmatched" | "none" => (Tone::Plain, "stop"),
        "running" | "accepted" => (Tone::Info, "again"),
        _ => (Tone::Plain, "wait"),
    }
}

/// The badge of a state in the API's words, such as `delivered` or `paused`: first letter large, `_` as a space.
pub fn status(state: &str) -> Markup {
    let (tone, icon_name) = tone_of(state);
    let mut word = state.replace('_', " ");
    if let Some(first) = word.get(..1).map(str::to_ascii_uppercase) {
        word.replace_range(..1, &first);
    }
    badge(tone, icon_name, &word)
}

/// Something to know, above what it is about.
pub fn notice(tone: Tone, content: Markup) -> Markup {
    let role = if matches!(tone, Tone::Bad | Tone::Warn) { "alert" } else { "status" };
    html! { div.notice.(tone.class()) role=(role) { span.(tone.class()) { (icon(tone.icon())) } div.text { (content) } } }
}

/// A notice within a part of a page that is written anew again and again: what is pressing is said when its words are others than before, by
/// the region that [`super::Page`] has for that, and not each time.
pub fn standing(tone: Tone, content: Markup) -> Markup {
    let says = matches!(tone, Tone::Bad | Tone::Warn).then_some("");
    html! { div.notice.(tone.class()) data-says=[says] { span.(tone.class()) { (icon(tone.icon())) } div.text { (content) } } }
}

/// A place where nothing is yet: what it is, and a way on (a link or a form).
pub fn empty(icon_name: &str, title: &str, about: &str, next: Markup) -> Markup {
    html! { div.empty { (icon(icon_name)) h2 { (title) } p { (about) } div.row { (next) } } }
}

/// How much is done. `label` says of what.
pub fn progress(label: &str, done: u64, total: u64) -> Markup {
    html! { progress value=(done) max=(total.max(1)) aria-label=(label) { (done) " of " (total) } }
}

/// Says whether the live part of a page is connected. Goes beside the heading of that part.
pub fn live_sign() -> Markup {
    html! { span.live role="status" { span.pulse {} span.words { "Connecting…" } } }
}

/// What the page after a form says: it was done. Travels in the address (`?done=…`), as a word of a fixed list, so that nobody can make the
/// console say something by a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flash {
    /// A resource was made.
    Created,
    /// A resource was changed.
    Saved,
    /// A resource was deleted.
    Deleted,
    /// Deliveries are queued again.
    Resent,
    /// An event was stored.
    Sent,
    /// A target was paused.
    Paused,
    /// A target delivers again.
    Resumed,
    /// Pending work was cancelled.
    Cancelled,
    /// A job was started.
    Started,
    /// A secret was changed.
    Rotated,
    /// A session was ended.
    Ended,
    /// A message was stored.
    Queued,
    /// There was nothing to do.
    Nothing,
}

impl Flash {
    const ALL: &[(Self, &'static str, &'static str)] = &[
        (Self::Created, "created", "Created."),
        (Self::Saved, "saved", "Saved."),
        (Self::Deleted, "deleted", "Deleted."),
        (Self::Resent, "resent", "Queued to be sent again."),
        (Self::Sent, "sent", "The event is stored."),
        (Self::Paused, "paused", "Paused: deliveries are held until it is resumed."),
        (Self::Resumed, "resumed", "Resumed: held deliveries go out again, gently."),
        (Self::Cancelled, "cancelled", "Cancelled."),
        (Self::Started, "started", "Started."),
        (Self::Rotated, "rotated", "The secret was rotated."),
        (Self::Ended, "ended", "Ended: whoever used it has to log in again."),
        (Self::Queued, "queued", "The message is stored and will be sent."),
        (Self::Nothing, "nothing", "There was nothing to send again: no delivery is finished."),
    ];

    /// The address of the next page, which will say this.
    pub fn to(self, path: &str) -> String {
        let word = Self::ALL.iter().find(|(flash, ..)| *flash == self).map_or("", |(_, word, _)| word);
        link(path, [("done", word)])
    }

    /// What an address says.
    pub(crate) fn read(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == word).map(|(flash, ..)| *flash)
    }

    pub(super) fn show(self) -> Markup {
        let text = Self::ALL.iter().find(|(flash, ..)| *flash == self).map_or("", |(.., text)| text);
        let tone = if self == Self::Nothing { Tone::Info } else { Tone::Ok };
        notice(tone, html! { (text) })
    }
}
