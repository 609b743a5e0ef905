//! The pages, one file per family. Each has `pub(super) fn routes() -> Router<Console>`; addresses are below `/console`.

mod account;
mod attach;
mod audit;
mod bins;
mod blocks;
mod compose;
mod deliveries;
mod domains;
mod enter;
mod event;
mod guide;
mod inbox;
mod keys;
mod mailgun_webhooks;
mod members;
mod messagemedia_webhooks;
mod messages;
mod momentum;
mod msgine_webhooks;
mod overview;
pub(crate) mod problem;
mod reference;
mod replays;
mod sample;
mod send;
mod settings;
mod subscriptions;
mod suppressions;
mod target_actions;
mod target_form;
mod targets;
mod templates;
mod type_subscriptions;
mod types;
mod webhooks;

use axum::Router;
use axum::routing::get;

pub(crate) use enter::log_in_first;

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
        .merge(targets::routes())
        .merge(target_form::routes())
        .merge(target_actions::routes())
        .merge(subscriptions::routes())
        .merge(deliveries::routes())
        .merge(replays::routes())
        .merge(webhooks::routes())
        .merge(momentum::routes())
        .merge(mailgun_webhooks::routes())
        .merge(msgine_webhooks::routes())
        .merge(messagemedia_webhooks::routes())
        .merge(types::routes())
        .merge(send::routes())
        .merge(attach::routes())
        .merge(type_subscriptions::routes())
        .merge(templates::routes())
        .merge(keys::routes())
        .merge(account::routes())
        .merge(members::routes())
        .merge(audit::routes())
        .merge(bins::routes())
        .merge(domains::routes())
        .merge(suppressions::routes())
        .merge(settings::routes())
        .merge(messages::routes())
        .merge(compose::routes())
        .merge(reference::routes())
}

/// An installation without events begins with the guide, any other with the overview.
async fn home(seat: Seat) -> Answer {
    Ok(go(if guide::is_new(&seat).await? { "/console/start" } else { "/console/overview" }))
}
