//! The steward: what follows from how a target behaves, and who is told.
//!
//! A target's owner learns of every change of state through the log, through an event of type `posthaste.target.*` in the target's
//! workspace, which can be subscribed to like any other, and by e-mail if the server has an address for it.
//!
//! Health is kept in the catalog, so that a restart forgets neither that a target fails nor since when.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use posthaste_channels::{Content, Dispatch, Outcome};
use posthaste_domain::clock::rfc3339;
use posthaste_domain::event::Source;
use posthaste_domain::id::resource_id;
use posthaste_domain::people::Actor;
use posthaste_domain::policy::breaker::{Reason, Snapshot, State};
use posthaste_domain::resource::{Health, Kind, Resource, Target, TargetStatus};
use posthaste_domain::template::Rendered;
use posthaste_store::Change;
use tokio::sync::mpsc;

use crate::accept::{AcceptRequest, Incoming, IncomingKind};
use crate::engine::Engine;
use crate::error::ResourceError;

/// At most one mail about a target in this time, except that it was disabled.
const MAIL_EVERY_MS: i64 = 15 * 60 * 1000;
/// Time for one mail.
const MAIL_TIMEOUT: Duration = Duration::from_secs(30);

/// At most so many mails about failed deliveries of one target in [`MAIL_EVERY_MS`].
const FAILURE_MAILS: u32 = 10;
/// Type of the event about a delivery that failed for good.
pub(crate) const DELIVERY_FAILED: &str = "posthaste.delivery.failed";
/// Stands for the address of the account's or the server's owner.
pub(crate) const OWNER: &str = "owner";

/// Something the owner of a target should know.
#[derive(Clone, Debug)]
pub(crate) enum News {
    Breaker {
        workspace: i64,
        target: i64,
        from: State,
        to: State,
        reason: Reason,
        snapshot: Snapshot,
    },
    RateLimited {
        workspace: i64,
        target: i64,
        until_ms: i64,
    },
    /// A delivery of a subscription that wants this known failed for good.
    Failed {
        workspace: i64,
        target: i64,
        delivery: String,
        attempts: u32,
        reason: String,
        notify: Arc<str>,
    },
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
        if let Err(error) = self.queue.try_send(news) {
            tracing::warn!(%error, "too much news at once; this was only logged");
        }
    }
}

/// Acts on news until the engine is gone.
pub(crate) async fn run(engine: Engine, mut queue: mpsc::Receiver<News>) {
    let cancelled = engine.tasks().cancelled();
    let mut office = Office { engine, mailed: HashMap::new(), failures: HashMap::new() };
    tokio::pin!(cancelled);
    loop {
        tokio::select! {
            () = &mut cancelled => return,
            news = queue.recv() => match news {
                Some(news) => office.act(news).await,
                None => return,
            }
        }
    }
}

struct Office {
    engine: Engine,
    /// When the last mail about a target went out.
    mailed: HashMap<i64, i64>,
    /// Mails about failed deliveries, by target.
    failures: HashMap<i64, Failures>,
}

/// Failed deliveries of one target, so that a dead receiver does not fill its owner's mailbox.
#[derive(Default)]
struct Failures {
    since_ms: i64,
    mailed: u32,
    /// Not told of in any mail yet.
    unmailed: u64,
}

impl Failures {
    /// Counts one; answers how many before it no mail told of, if this one is to be mailed.
    fn count(&mut self, now_ms: i64) -> Option<u64> {
        if now_ms - self.since_ms >= MAIL_EVERY_MS {
            (self.since_ms, self.mailed) = (now_ms, 0);
        }
        if self.mailed == FAILURE_MAILS {
            self.unmailed += 1;
            return None;
        }
        self.mailed += 1;
        Some(std::mem::take(&mut self.unmailed))
    }
}

/// What the owner reads.
struct Notice<'a> {
    what: &'static str,
    reason: &'a str,
    until_ms: Option<i64>,
}

impl Office {
    async fn act(&mut self, news: News) {
        match news {
            News::Breaker { workspace, target, from, to, reason, snapshot } => {
                let what = match to {
                    State::Active => "recovered",
                    State::Probing => "probing",
                    State::Paused => "paused",
                    State::Disabled => "disabled",
                };
                tracing::warn!(target = self.name(target), ?from, ?to, %reason, "a target changed state");
                let reason = reason.to_string();
                if let Err(error) = self.keep(workspace, target, snapshot).await {
                    tracing::error!(%error, target = self.name(target), "the health of a target could not be stored");
                }
                if to == State::Disabled {
                    self.disable(workspace, target, &reason).await;
                }
                self.tell(workspace, target, Notice { what, reason: &reason, until_ms: None }).await;
            }
            News::RateLimited { workspace, target, until_ms } => {
                tracing::info!(target = self.name(target), until_ms, "a target's rate limit holds deliveries back");
                let notice =
                    Notice { what: "rate_limited", reason: "the target's rate limit holds deliveries back", until_ms: Some(until_ms) };
                self.tell(workspace, target, notice).await;
            }
            News::Failed { workspace, target, delivery, attempts, reason, notify } => {
                let Some(entry) = self.engine.by_number::<Target>(target) else { return };
                let data = serde_json::json!({
                    "delivery_id": delivery, "target_id": entry.id, "target_name": entry.doc.name, "attempts": attempts, "reason": reason
                });
                self.publish(workspace, DELIVERY_FAILED, data).await;
                let Some(unmailed) = self.failures.entry(target).or_default().count(self.engine.now_ms()) else {
                    tracing::warn!(delivery, attempts, "a delivery failed for good; its owner had many mails already");
                    return;
                };
                let name = entry.doc.name.replace(char::is_control, " ");
                let mut text =
                    format!("Delivery {delivery} to target {name} ({}) was given up after {attempts} attempts: {reason}.\n", entry.id);
                if unmailed > 0 {
                    text.push_str(&format!("{unmailed} more deliveries to it failed since the last mail.\n"));
                }
                let rendered = Rendered { title: format!("Delivery to {name} failed"), text, html: None };
                let to = if &*notify == OWNER { self.engine.settings().notify_email.as_deref() } else { Some(&*notify) };
                self.mail(to, rendered, delivery.clone());
            }
        }
    }

    /// How the log names a target.
    fn name(&self, target: i64) -> String {
        self.engine.id_of(target).unwrap_or_else(|| target.to_string())
    }

    async fn keep(&self, workspace: i64, target: i64, breaker: Snapshot) -> Result<(), ResourceError> {
        let at_ms = self.engine.now_ms();
        let doc = serde_json::to_value(Health { target, breaker }).expect("a snapshot is plain data");
        let id = resource_id(Health::KIND.prefix(), at_ms, rand::random());
        let write = self.engine.inner().catalogue.write(&Actor::Server, |catalogue| {
            let old = catalogue.list::<Health>(workspace).into_iter().find(|entry| entry.doc.target == target);
            Ok(vec![match old {
                Some(old) => Change::Update { number: old.number, version: None, doc, secrets: Vec::new(), at_ms },
                None => Change::Create { id, kind: Kind::Health, workspace: Some(workspace), doc, secrets: Vec::new(), at_ms },
            }])
        });
        write.await.map(drop)
    }

    async fn disable(&self, workspace: i64, target: i64, reason: &str) {
        let Some(entry) = self.engine.by_number::<Target>(target) else { return };
        if let Err(error) = self.engine.set_status(workspace, &entry.id, TargetStatus::Disabled, Some(reason)).await {
            tracing::error!(%error, target = entry.id, "a target that should be disabled could not be");
        }
    }

    async fn tell(&mut self, workspace: i64, target: i64, notice: Notice<'_>) {
        let Some(entry) = self.engine.by_number::<Target>(target) else { return };
        let mut data = serde_json::json!({ "target_id": entry.id, "target_name": entry.doc.name, "reason": notice.reason });
        if let Some(until_ms) = notice.until_ms {
            data["until"] = rfc3339(until_ms).into();
        }
        self.publish(workspace, &format!("posthaste.target.{}", notice.what), data).await;
        let now_ms = self.engine.now_ms();
        let last_ms = self.mailed.get(&target).copied();
        let due = notice.what == "disabled" || last_ms.is_none_or(|at_ms| now_ms - at_ms >= MAIL_EVERY_MS);
        if notice.what != "rate_limited" && due {
            self.mailed.insert(target, now_ms);
            let name = entry.doc.name.replace(char::is_control, " ");
            let rendered = Rendered {
                title: format!("Target {name}: {}", notice.what),
                text: format!("Target {name} ({}) is {} since {}: {}.\n", entry.id, notice.what, rfc3339(now_ms), notice.reason),
                html: None,
            };
            self.mail(self.engine.settings().notify_email.as_deref(), rendered, format!("{}-{now_ms}", entry.id));
        }
    }

    async fn publish(&self, workspace: i64, type_name: &str, data: serde_json::Value) {
        let event = Incoming { kind: IncomingKind::Named(type_name.into()), payload: data.to_string().into(), deliver_at_ms: None };
        let source = Arc::new(Source { via: "system".into(), key: None, ip: None });
        let request = AcceptRequest { workspace, source, events: vec![event], idempotency: None };
        if let Err(error) = self.engine.accept(request).await {
            tracing::error!(%error, type_name, "a notice could not be stored");
        }
    }

    /// Mails a notice in the background; a relay that hangs holds up nothing.
    fn mail(&self, to: Option<&str>, rendered: Rendered, id: String) {
        let (Some(to), Some(email)) = (to, self.engine.channels().get("email").cloned()) else { return };
        let settings = serde_json::json!({ "to": [to] });
        self.engine.tasks().spawn("notice", async move {
            let dispatch = Dispatch {
                delivery_id: &id,
                settings: &settings,
                settings_key: (0, 0),
                content: Content::Message(rendered),
                connect_timeout: MAIL_TIMEOUT,
                timeout: MAIL_TIMEOUT,
            };
            if let Outcome::Failed(error) = email.send(dispatch).await.outcome {
                tracing::error!(error = error.message, notice = id, "a notice could not be mailed");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_receiver_does_not_fill_a_mailbox() {
        let mut failures = Failures::default();
        let told: Vec<_> = (0..50).filter_map(|n| failures.count(1_000_000_000_000 + n)).collect();
        assert_eq!(told, [0; FAILURE_MAILS as usize]);
        assert_eq!(failures.count(1_000_000_000_000 + MAIL_EVERY_MS), Some(40));
        assert_eq!(failures.count(1_000_000_000_001 + MAIL_EVERY_MS), Some(0));
    }
}
