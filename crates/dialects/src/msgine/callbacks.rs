//! Callback URLs: where the events of one message go instead of the dashboard webhooks (MsGine 5.1).
//!
//! A message names a URL, deliveries need a target: each origin (`scheme://host:port`) that a workspace names gets one target with one
//! subscription, made when it is first used and kept in sight by its mark. The format sends to the message's own URL. So all
//! callbacks to one host share a lane, a breaker and a log, and one dead host delays no other.
//!
//! Invariants: both exist before a message that needs them is stored; a workspace has a bounded number of them; one that no message
//! named for [`MsgineSettings::callback_idle`] gives way to a new one, and no message that was scheduled longer ahead loses its callback.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use posthaste_domain::message;
use posthaste_domain::resource::{Mark, Subscription, Target};
use posthaste_engine::{Desk, Edit, Engine, ResourceError};
use serde_json::{Value, json};

use super::format::CALLBACK_ORIGIN;
use super::{DIALECT, MsgineSettings};

/// Name of the fact in a target's mark that tells until when it is in use.
const USED: &str = "used_ms";
/// A use is written down when the last one on record is so much older.
const REMEMBER_MS: i64 = 24 * 60 * 60 * 1000;
/// Most origins that are remembered between requests.
const REMEMBERED: usize = 10_000;
/// Idle origins forgotten in one change at most.
const SWEPT: usize = 20;

/// Knows which origins are ready.
#[derive(Default)]
pub struct Callbacks {
    ready: Mutex<HashMap<(i64, String), Ready>>,
}

#[derive(Clone)]
struct Ready {
    target: String,
    subscription: String,
    used_ms: i64,
}

impl Callbacks {
    /// Sees that events with a callback URL of this origin will be delivered. `until_ms` is when the message is to be sent.
    ///
    /// # Errors
    /// [`ResourceError::Limit`] when too many origins are in use.
    pub async fn ensure(
        &self,
        engine: &Engine,
        settings: &MsgineSettings,
        workspace: i64,
        origin: &str,
        until_ms: i64,
    ) -> Result<(), ResourceError> {
        let key = (workspace, origin.to_owned());
        let known = self.ready().get(&key).cloned();
        if let Some(known) = known
            && until_ms - known.used_ms < REMEMBER_MS
            && engine.get::<Target>(workspace, &known.target).is_some()
            && engine.get::<Subscription>(workspace, &known.subscription).is_some()
        {
            return Ok(());
        }
        let most = settings.max_callback_hosts;
        let idle_ms = i64::try_from(settings.callback_idle.as_millis()).unwrap_or(i64::MAX);
        let wanted = origin.to_owned();
        engine.edit(workspace, move |desk| plan(desk, &wanted, until_ms, most, idle_ms)).await?;
        let target = engine.list::<Target>(workspace).into_iter().find(|target| origin_of(&target.doc) == Some(origin));
        let Some(target) = target else { return Err(ResourceError::NotFound) };
        let subscription = engine.list::<Subscription>(workspace).into_iter().find(|subscription| is_for(&subscription.doc, &target.id));
        let Some(subscription) = subscription else { return Err(ResourceError::NotFound) };
        let mut ready = self.ready();
        if ready.len() >= REMEMBERED {
            ready.clear();
        }
        ready.insert(
            key,
            Ready { target: target.id.clone(), subscription: subscription.id.clone(), used_ms: used_ms(&target.doc).unwrap_or(until_ms) },
        );
        Ok(())
    }

    /// What is remembered stays usable whatever panicked while holding it: it is checked before it is believed.
    fn ready(&self) -> std::sync::MutexGuard<'_, HashMap<(i64, String), Ready>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has to change for an origin to be ready; nothing if it is.
fn plan(desk: &Desk<'_>, origin: &str, until_ms: i64, most: usize, idle_ms: i64) -> Result<Vec<Edit>, ResourceError> {
    let targets: Vec<_> = desk.list::<Target>().into_iter().filter(|target| origin_of(&target.doc).is_some()).collect();
    let subscriptions = desk.list::<Subscription>();
    let mut edits = Vec::new();
    let target_id = match targets.iter().find(|target| origin_of(&target.doc) == Some(origin)) {
        Some(target) => {
            if until_ms - used_ms(&target.doc).unwrap_or(i64::MIN / 2) >= REMEMBER_MS {
                edits.push(Edit::target(&target.id, Target { dialect: Some(mark(origin, until_ms)), ..target.doc.clone() }));
            }
            target.id.clone()
        }
        None => {
            let idle = |target: &Target| used_ms(target).is_none_or(|used_ms| desk.now_ms() - used_ms >= idle_ms);
            let gone: Vec<_> = targets.iter().filter(|target| idle(&target.doc)).take(SWEPT).collect();
            if targets.len() - gone.len() >= most {
                return Err(ResourceError::Limit { what: "callback hosts", limit: most });
            }
            for target in gone {
                edits.extend(subscriptions.iter().filter(|s| s.doc.target_id == target.id).map(|s| Edit::delete(&s.id)));
                edits.push(Edit::delete(&target.id));
            }
            let id = desk.new_id::<Target>();
            let mut target = Target::new(format!("Callbacks to {origin}"), "webhook", json!({ "url": format!("{origin}/") }));
            target.dialect = Some(mark(origin, until_ms));
            edits.push(Edit::target(&id, target));
            id
        }
    };
    if !subscriptions.iter().any(|subscription| is_for(&subscription.doc, &target_id)) {
        let types = [message::SENT, message::DELIVERED, message::FAILED].map(str::to_owned).to_vec();
        let mut subscription = Subscription::new(types, &target_id);
        subscription.format = Some(DIALECT.to_owned());
        subscription.description = format!("MsGine callback URLs of {origin}");
        subscription.dialect = Some(Mark { dialect: DIALECT.to_owned(), data: json!({ CALLBACK_ORIGIN: origin }) });
        edits.push(Edit::subscription(desk.new_id::<Subscription>(), subscription));
    }
    Ok(edits)
}

fn mark(origin: &str, used_ms: i64) -> Mark {
    Mark { dialect: DIALECT.to_owned(), data: json!({ CALLBACK_ORIGIN: origin, USED: used_ms }) }
}

fn fact<'a>(mark: Option<&'a Mark>, name: &str) -> Option<&'a Value> {
    mark.filter(|mark| mark.dialect == DIALECT)?.data.get(name)
}

fn origin_of(target: &Target) -> Option<&str> {
    fact(target.dialect.as_ref(), CALLBACK_ORIGIN)?.as_str()
}

fn used_ms(target: &Target) -> Option<i64> {
    fact(target.dialect.as_ref(), USED)?.as_i64()
}

fn is_for(subscription: &Subscription, target_id: &str) -> bool {
    subscription.target_id == target_id && fact(subscription.dialect.as_ref(), CALLBACK_ORIGIN).is_some()
}
