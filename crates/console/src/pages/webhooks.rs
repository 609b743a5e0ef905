//! Webhooks in the words of a vendor: what the vendors' pages share.

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use http::StatusCode;
use maud::Markup;

use crate::Console;
use crate::api::{Failure, Problem};
use crate::session::Seat;
use crate::ui;

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/webhooks", get(|_: Seat| async { Redirect::to("/console/webhooks/momentum") }))
}

/// The vendors.
pub(super) fn tabs(current: &str) -> Markup {
    let vendors = [("Momentum", "momentum"), ("Mailgun", "mailgun"), ("MsGine", "msgine"), ("MessageMedia", "messagemedia")];
    let tabs: Vec<(&str, String)> = vendors.iter().map(|(name, path)| (*name, format!("/console/webhooks/{path}"))).collect();
    ui::tabs("Vendors", current, &tabs)
}

/// What a vendor's API refused, as a problem at a field of the form.
pub(super) fn vendor_problem(status: StatusCode, detail: String, field: Option<String>) -> Failure {
    let title = status.canonical_reason().unwrap_or_default().to_owned();
    Failure::Refused(Box::new(Problem { status: status.as_u16(), title, detail, field, ..Problem::default() }))
}
