//! The steward: what happens to a target because of how it behaves, and who is told.
//!
//! A target's owner learns of every change of state through the log and through an event of type `posthaste.target.*` in the target's
//! workspace, which can be subscribed to like any other.

use std::sync::Arc;

use posthaste_domain::policy::breaker::{Reason, State};
use posthaste_domain::resource::{Target, TargetStatus};
use tokio::sync::mpsc;

use crate::accept::{AcceptRequest, Incoming, IncomingKind};
use crate::engine::Engine;

/// Something the owner of a target should know.
#[derive(Clone, Debug)]
pub(crate) enum News {
    Breaker { workspace: i64, target: i64, from: State, to: State, reason: Reason },
    RateLimited { workspace: i64, target: i64, until_ms: i64 },
}

/// Where news go.
#[derive(Clone)]
pub(crate) struct Steward {
    queue: mpsc::Sender<News>,
}

impl Steward {
    pub fn new() -> (Self, mpsc::Receiver<News>) {
        let (queue, receiver) = mpsc::channel(1024);
        (Self { queue }, receiver)
    }

    /// Never waits: news are for people, and a flood of them helps nobody.
    pub fn tell(&self, news: News) {
        if self.queue.try_send(news).is_err() {
            tracing::warn!("too much news at once; some was only logged");
        }
    }
}

/// Acts on news until the engine is gone.
pub(crate) async fn run(engine: Engine, mut queue: mpsc::Receiver<News>) {
    let tasks = engine.tasks().clone();
    let cancelled = tasks.cancelled();
    tokio::pin!(cancelled);
    loop {
        tokio::select! {
            () = &mut cancelled => return,
            news = queue.recv() => match news {
                Some(news) => act(&engine, news).await,
                None => return,
            }
        }
    }
}

async fn act(engine: &Engine, news: News) {
    match news {
        News::Breaker { workspace, target, from, to, reason } => {
            let what = match to {
                State::Active => "recovered",
                State::Probing => "probing",
                State::Paused => "paused",
                State::Disabled => "disabled",
            };
            tracing::warn!(target, ?from, ?to, %reason, "a target changed state");
            if to == State::Disabled {
                disable(engine, workspace, target, &reason.to_string()).await;
            }
            tell(engine, workspace, target, what, &reason.to_string(), None).await;
        }
        News::RateLimited { workspace, target, until_ms } => {
            tracing::info!(target, until_ms, "a target's rate limit holds deliveries back");
            tell(engine, workspace, target, "rate_limited", "the target's rate limit holds deliveries back", Some(until_ms)).await;
        }
    }
}

async fn disable(engine: &Engine, workspace: i64, target: i64, reason: &str) {
    let Some(entry) = engine.by_number::<Target>(target) else { return };
    let doc = Target { status: TargetStatus::Disabled, status_reason: Some(reason.to_owned()), ..entry.doc.clone() };
    if let Err(error) = engine.update(workspace, &entry.id, None, doc).await {
        tracing::error!(%error, target = entry.id, "a target that should be disabled could not be");
    }
}

async fn tell(engine: &Engine, workspace: i64, target: i64, what: &str, reason: &str, until_ms: Option<i64>) {
    let Some(entry) = engine.by_number::<Target>(target) else { return };
    let mut data = serde_json::json!({ "target_id": entry.id, "target_name": entry.doc.name, "reason": reason });
    if let Some(until_ms) = until_ms {
        data["until"] = posthaste_domain::clock::rfc3339(until_ms).into();
    }
    let event = Incoming {
        kind: IncomingKind::Named(format!("posthaste.target.{what}").into()),
        payload: data.to_string().into(),
        deliver_at_ms: None,
    };
    let source = Arc::new(posthaste_domain::event::Source { via: "system".into(), key: None, ip: None });
    let request = AcceptRequest { workspace, source, events: vec![event], idempotency: None };
    if let Err(error) = engine.accept(request).await {
        tracing::error!(%error, target = entry.id, what, "a notice could not be stored");
    }
}
