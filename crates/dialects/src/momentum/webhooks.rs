//! Webhooks in the catalog: a target and a subscription each, marked with the webhook's id.
//!
//! A pair that was replaced or deleted is *retired*: it collects nothing more and drains, and is removed once nothing of it can be shown
//! or sent any more.

use std::sync::Arc;

use posthaste_domain::resource::{Mark, Subscription, Target, TargetStatus};
use posthaste_engine::{Desk, Edit, Engine, Entry, ResourceError};
use serde::{Deserialize, Serialize};

use super::document::Webhook;
use super::events::event_types;
use super::outcomes::Seen;
use super::{MomentumSettings, uuid};

/// The dialect's name in marks.
const DIALECT: &str = "momentum";
/// Characters of a target's name.
const NAME_CHARACTERS: usize = 200;

/// What is kept of a webhook besides its target's settings: the data of its subscription's mark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// The webhook's id.
    id: String,
    name: String,
    /// Event keys; the format reads them too.
    events: Vec<String>,
    /// When it was replaced or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired_ms: Option<i64>,
    /// What the pairs before this one saw.
    #[serde(default)]
    before: Seen,
}

/// A webhook, or a retired version of one.
#[derive(Clone)]
pub struct Pair {
    subscription: Arc<Entry<Subscription>>,
    target: Arc<Entry<Target>>,
    kept: Kept,
}

impl Pair {
    /// The webhook's id.
    pub fn id(&self) -> &str {
        &self.kept.id
    }

    /// What its owner wants of it.
    pub fn webhook(&self) -> Webhook {
        let active = self.subscription.doc.enabled && self.target.doc.status == TargetStatus::Active;
        Webhook::of(&self.kept.name, &self.kept.events, active, &self.target.doc.settings)
    }

    /// Numbers of the target and of the version of its settings.
    pub fn settings_key(&self) -> (i64, i64) {
        (self.target.number, self.target.version)
    }

    /// What the pairs before this one saw.
    pub fn before(&self) -> Seen {
        self.kept.before
    }

    fn is_retired(&self) -> bool {
        self.kept.retired_ms.is_some()
    }

    /// The same subscription with something else kept.
    fn with(&self, kept: &Kept, enabled: bool) -> Result<Edit, ResourceError> {
        let mut doc = self.subscription.doc.clone();
        doc.enabled = enabled;
        doc.dialect = Some(mark(kept)?);
        Ok(Edit::subscription(&self.subscription.id, doc))
    }

    fn with_status(&self, status: TargetStatus) -> Edit {
        let mut doc = self.target.doc.clone();
        (doc.status, doc.status_reason) = (status, None);
        Edit::target(&self.target.id, doc)
    }
}

fn mark(kept: &Kept) -> Result<Mark, ResourceError> {
    let data = serde_json::to_value(kept).map_err(|_| ResourceError::State { reason: "the webhook cannot be written" })?;
    Ok(Mark { dialect: DIALECT.to_owned(), data })
}

/// All pairs among these, retired ones included, oldest first.
fn pairs(subscriptions: Vec<Arc<Entry<Subscription>>>, target: impl Fn(&str) -> Option<Arc<Entry<Target>>>) -> Vec<Pair> {
    let pair = |subscription: Arc<Entry<Subscription>>| {
        let mark = subscription.doc.dialect.as_ref().filter(|mark| mark.dialect == DIALECT)?;
        let kept = serde_json::from_value(mark.data.clone()).ok()?;
        Some(Pair { target: target(&subscription.doc.target_id)?, kept, subscription })
    };
    subscriptions.into_iter().filter_map(pair).collect()
}

fn pairs_on(desk: &Desk<'_>) -> Vec<Pair> {
    pairs(desk.list(), |id| desk.get(id))
}

/// The webhooks of a workspace as they are now.
pub struct Webhooks(Vec<Pair>);

impl Webhooks {
    /// Reads them.
    pub fn of(engine: &Engine, workspace: i64) -> Self {
        Self(pairs(engine.list(workspace), |id| engine.get(workspace, id)))
    }

    /// Those that are there for clients, oldest first. A webhook is as old as its id, not as its latest version.
    pub fn living(&self) -> Vec<&Pair> {
        let mut order: Vec<&str> = Vec::new();
        for pair in &self.0 {
            if !order.contains(&pair.id()) {
                order.push(pair.id());
            }
        }
        order.into_iter().filter_map(|id| self.get(id)).collect()
    }

    /// One of them.
    pub fn get(&self, id: &str) -> Option<&Pair> {
        self.0.iter().find(|pair| !pair.is_retired() && pair.id() == id)
    }

    /// Numbers of all targets of a webhook, those of its retired versions included.
    pub fn targets(&self, id: &str) -> Vec<i64> {
        self.0.iter().filter(|pair| pair.id() == id).map(|pair| pair.target.number).collect()
    }
}

/// Saves a new webhook; answers its id.
pub async fn create(engine: &Engine, workspace: i64, webhook: Webhook, settings: &MomentumSettings) -> Result<String, ResourceError> {
    let id = uuid::random();
    let kept =
        Kept { id: id.clone(), name: webhook.name.clone(), events: webhook.events.clone(), retired_ms: None, before: Seen::default() };
    let (activation, keep) = (millis(settings.activation), kept_for(settings));
    engine
        .edit(workspace, move |desk| {
            let mut edits = sweep(&pairs_on(desk), desk.now_ms(), keep);
            edits.extend(pair(desk, &webhook, &kept, desk.now_ms() + activation)?);
            Ok(edits)
        })
        .await?;
    Ok(id)
}

/// Saves a changed webhook.
///
/// # Errors
/// [`ResourceError::Conflict`] if it is not as `old` any more, [`ResourceError::NotFound`] if it is gone.
pub async fn update(
    engine: &Engine,
    workspace: i64,
    old: Pair,
    new: Webhook,
    before: Seen,
    settings: &MomentumSettings,
) -> Result<(), ResourceError> {
    let keep = kept_for(settings);
    engine
        .edit(workspace, move |desk| {
            let all = pairs_on(desk);
            check_unchanged(&all, &old)?;
            let was = old.webhook();
            let mut edits = sweep(&all, desk.now_ms(), keep);
            let mut kept = Kept { name: new.name.clone(), events: new.events.clone(), ..old.kept.clone() };
            if new.sends_like(&was) {
                edits.push(old.with(&kept, new.active)?);
            } else {
                let retired = Kept { retired_ms: Some(desk.now_ms()), ..old.kept.clone() };
                edits.push(old.with(&retired, false)?);
                kept.before = before;
                edits.extend(pair(desk, &new, &kept, old.subscription.doc.active_from_ms.unwrap_or(0))?);
            }
            if new.active != was.active {
                // What is queued, of this version or an older one, waits as well, and goes on as well.
                let own = |pair: &&Pair| pair.id() == old.id() && !is_over(pair, desk.now_ms(), keep);
                edits.extend(all.iter().filter(own).map(|pair| pair.with_status(status(new.active))));
            }
            Ok(edits)
        })
        .await
}

/// Deletes a webhook: it collects nothing more, and what is queued is still sent.
pub async fn delete(engine: &Engine, workspace: i64, id: &str, settings: &MomentumSettings) -> Result<(), ResourceError> {
    let (id, keep) = (id.to_owned(), kept_for(settings));
    engine
        .edit(workspace, move |desk| {
            let all = pairs_on(desk);
            let mut edits = sweep(&all, desk.now_ms(), keep);
            let old = all.iter().find(|pair| !pair.is_retired() && pair.id() == id).ok_or(ResourceError::NotFound)?;
            edits.push(old.with(&Kept { retired_ms: Some(desk.now_ms()), ..old.kept.clone() }, false)?);
            Ok(edits)
        })
        .await
}

fn check_unchanged(all: &[Pair], old: &Pair) -> Result<(), ResourceError> {
    let current = all.iter().find(|pair| !pair.is_retired() && pair.id() == old.id()).ok_or(ResourceError::NotFound)?;
    let (found, expected) = (&current.subscription, &old.subscription);
    let same = found.id == expected.id && found.version == expected.version && current.target.version == old.target.version;
    if same { Ok(()) } else { Err(ResourceError::Conflict { expected: expected.version, found: found.version }) }
}

fn status(active: bool) -> TargetStatus {
    if active { TargetStatus::Active } else { TargetStatus::Paused }
}

/// A new target and its subscription.
fn pair(desk: &Desk<'_>, webhook: &Webhook, kept: &Kept, active_from_ms: i64) -> Result<[Edit; 2], ResourceError> {
    let (target_id, subscription_id) = (desk.new_id::<Target>(), desk.new_id::<Subscription>());
    let name: String = kept.name.chars().filter(|c| !c.is_control()).take(NAME_CHARACTERS).collect();
    let mut target = Target::new(format!("Momentum: {name}"), "webhook", webhook.settings());
    target.status = status(webhook.active);
    target.dialect = Some(Mark { dialect: DIALECT.to_owned(), data: serde_json::json!({ "id": kept.id }) });
    let mut subscription = Subscription::new(event_types(&kept.events), &target_id);
    subscription.format = Some(DIALECT.to_owned());
    subscription.description = format!("Momentum webhook {}", kept.id);
    subscription.enabled = webhook.active;
    subscription.active_from_ms = Some(active_from_ms);
    subscription.dialect = Some(mark(kept)?);
    Ok([Edit::target(target_id, target), Edit::subscription(subscription_id, subscription)])
}

fn millis(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

/// How long a retired pair is of any use: until its last batch is sent or dropped, and nothing of it is in the batch status.
fn kept_for(settings: &MomentumSettings) -> i64 {
    millis(settings.batch_wait + settings.retry_window + settings.timeout + settings.status_window)
}

fn is_over(pair: &Pair, now_ms: i64, keep_ms: i64) -> bool {
    pair.kept.retired_ms.is_some_and(|at| now_ms.saturating_sub(at) > keep_ms)
}

/// Removes the retired pairs that are of no use any more.
fn sweep(all: &[Pair], now_ms: i64, keep_ms: i64) -> Vec<Edit> {
    let over = all.iter().filter(|pair| is_over(pair, now_ms, keep_ms));
    over.flat_map(|pair| [Edit::delete(&pair.subscription.id), Edit::delete(&pair.target.id)]).collect()
}
