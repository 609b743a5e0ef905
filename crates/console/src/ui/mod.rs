//! Components: functions and small builders that give [`Markup`]. Pages put them together and write little HTML of their own.
//!
//! Invariants:
//! - Text is always escaped (`maud` does it); [`maud::PreEscaped`] is used in this folder alone, for drawings that hold no foreign text.
//! - No inline script and no inline style: the Content-Security-Policy forbids them.
//! - A state is never told by colour alone: [`status`] writes a word and an icon.

mod chart;
mod code;
mod controls;
mod feedback;
mod icons;
mod lists;
mod mail;
mod qr;
mod shell;
mod time;

pub use chart::{Chart, ChartKind, Series};
pub use code::{code, curl, json, payload, secret};
pub use controls::{
    Choice, Field, button, button_link, check_group, checks, confirm, confirm_page, csrf, errors, fold, group_error, named_fold, radios,
    submit, tick,
};
pub use feedback::{Flash, Tone, badge, empty, live_sign, notice, progress, standing, status, tone_of};
pub use icons::icon;
pub use lists::{Head, Pager, crumbs, facts, filters, live_pager, live_table, menu, pager, table, tabs, tiles, timeline};
pub use mail::message;
pub use qr::qr;
pub use shell::{Page, section};
pub(crate) use shell::{door, login_href};
pub use time::{ago, bytes, count, duration_ms, full_time, time};

use maud::Markup;

/// A step of a timeline.
pub struct Step {
    /// Colour and icon.
    pub tone: Tone,
    /// What happened, and its details.
    pub what: Markup,
    /// When (RFC 3339), if it has a time.
    pub at: Option<String>,
}
