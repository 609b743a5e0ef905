//! The pages, one file per family. Each has `pub(super) fn routes() -> Router<Console>`; addresses are below `/console`.

mod enter;
mod event;
mod guide;
mod inbox;
mod overview;
pub(crate) mod problem;

use axum::Router;
use axum::routing::get;

use crate::session::Seat;
use crate::{Answer, Console, go};

/// All pages.
pub(crate) fn router() -> Router<Console> {
    Router::new()
        .route("/", get(home))
        .merge(enter::routes())
        .merge(guide::routes())
        .merge(overview::routes())
        .merge(inbox::routes())
        .merge(event::routes())
}

/// An installation without events begins with the guide, any other with the overview.
async fn home(seat: Seat) -> Answer {
    Ok(go(if guide::is_new(&seat).await? { "/console/start" } else { "/console/overview" }))
}
