//! The application as connections see it: the one route that nearly all requests of a busy server take is answered without a detour, all others go
//! through the router.
//!
//! Invariant: both ways answer alike. The router knows the route too (it is described and tested there), and both call the same functions.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use http::{Method, Request, Response};

use crate::inbound::Inbound;
use crate::native::{EVENTS_PATH, publish};
use crate::problem::Problem;
use crate::serve::{Peer, Surface};
use crate::{AppState, app_with, input, trace};

/// The whole application, ready to be served.
#[derive(Clone)]
pub struct App {
    state: AppState,
    router: Router,
}

impl App {
    /// An application over this state.
    pub fn new(state: AppState) -> Self {
        Self::with(state, Router::new())
    }

    /// An application over this state with more routes beside its own.
    pub fn with(state: AppState, extra: Router) -> Self {
        Self { router: app_with(state.clone(), extra), state }
    }

    async fn publish(&self, peer: &Peer, request: Request<Inbound>) -> Result<Response<Body>, Problem> {
        let (parts, body) = request.into_parts();
        let publisher = peer.publisher(&parts.headers, &self.state)?;
        let body = input::json_bytes(&parts.headers, body, &self.state).await?;
        publish(&self.state, publisher, &parts.headers, body).await
    }
}

impl Surface for App {
    async fn answer(&self, peer: &Arc<Peer>, request: Request<Inbound>) -> Response<Body> {
        if request.method() != Method::POST || request.uri().path() != EVENTS_PATH {
            return self.router.answer(peer, request).await;
        }
        let id = trace::request_id(request.headers());
        let answer = async { self.publish(peer, request).await.unwrap_or_else(IntoResponse::into_response) };
        trace::observed(Method::POST, EVENTS_PATH, id, answer).await
    }
}
