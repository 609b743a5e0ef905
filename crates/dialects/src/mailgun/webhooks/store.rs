//! Webhooks as they are kept: one target for each URL of a workspace, one subscription for each level, name and URL.
//!
//! Every change is a plan over the list of a workspace's [`Hook`]s that runs while nobody else can change anything, so limits and
//! duplicates are judged without a race. Invariants: a hook that stays keeps its subscription, and so its pending retries; one that
//! goes takes them along; a target without hooks goes too, unless somebody else subscribed to it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use posthaste_domain::resource::{Mark, Subscription, Target};
use posthaste_engine::{Desk, Edit, Engine, Entry, ResourceError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::access::refuse_change;
use super::super::account;
use super::super::answer::Refusal;
use super::super::format::DIALECT;
use super::super::names::Name;

/// What of a hook is kept in its subscription's mark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Data {
    name: String,
    position: u32,
    #[serde(flatten)]
    level: Level,
}

/// Where a hook belongs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "level", rename_all = "snake_case")]
pub(super) enum Level {
    /// To one domain.
    Domain {
        /// Its name in lower case.
        domain: String,
    },
    /// To the whole account, as part of a webhook with an id.
    Account(AccountHook),
}

/// A webhook of the account level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AccountHook {
    /// 24 hexadecimal characters.
    pub(super) webhook_id: String,
    /// Free text.
    pub(super) description: String,
    /// When it was made.
    pub(super) created_ms: i64,
}

/// A URL of a webhook name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hook {
    /// Of its subscription; `None` until it has one.
    subscription: Option<String>,
    pub(super) level: Level,
    pub(super) name: Name,
    pub(super) url: String,
    /// Place among the URLs of its name, or among the names of its webhook.
    pub(super) position: u32,
}

impl Hook {
    /// One that is not kept yet.
    pub(super) fn new(level: Level, name: Name, url: impl Into<String>, position: u32) -> Self {
        Self { subscription: None, level, name, url: url.into(), position }
    }

    /// Whether it belongs to a domain.
    pub(super) fn is_of(&self, wanted: &str) -> bool {
        matches!(&self.level, Level::Domain { domain } if domain == wanted)
    }

    /// Its webhook of the account level.
    pub(super) fn account(&self) -> Option<&AccountHook> {
        match &self.level {
            Level::Account(hook) => Some(hook),
            Level::Domain { .. } => None,
        }
    }

    fn read(entry: &Entry<Subscription>, urls: &HashMap<&str, &str>) -> Option<Self> {
        let mark = entry.doc.dialect.as_ref().filter(|mark| mark.dialect == DIALECT)?;
        let data = Data::deserialize(&mark.data).ok()?;
        let url = (*urls.get(entry.doc.target_id.as_str())?).to_owned();
        Some(Self { subscription: Some(entry.id.clone()), level: data.level, name: Name::of(&data.name)?, url, position: data.position })
    }

    fn document(&self, target: &str) -> Result<Subscription, ResourceError> {
        let data = Data { name: self.name.text().to_owned(), position: self.position, level: self.level.clone() };
        let data = serde_json::to_value(data).map_err(|error| ResourceError::invalid("dialect", error.to_string()))?;
        let description = match &self.level {
            Level::Domain { domain } => format!("Mailgun webhook {} of {domain}", self.name.text()),
            Level::Account(_) => format!("Mailgun account webhook {}", self.name.text()),
        };
        Ok(Subscription {
            format: Some(DIALECT.to_owned()),
            description,
            // The same URL at both levels gets an event once.
            once: Some(format!("{DIALECT}:{}", self.name.text())),
            dialect: Some(Mark { dialect: DIALECT.to_owned(), data }),
            ..Subscription::new(vec![self.name.event_type().to_owned()], target)
        })
    }
}

/// The hooks among a workspace's subscriptions, in the order of their positions.
fn hooks(targets: &[Arc<Entry<Target>>], subscriptions: &[Arc<Entry<Subscription>>]) -> Vec<Hook> {
    let urls = targets.iter().filter_map(|target| Some((target.id.as_str(), target.doc.settings.get("url")?.as_str()?))).collect();
    let mut hooks: Vec<Hook> = subscriptions.iter().filter_map(|entry| Hook::read(entry, &urls)).collect();
    hooks.sort_by_key(|hook| hook.position);
    hooks
}

/// All hooks of a workspace.
pub(super) fn list(engine: &Engine, workspace: i64) -> Vec<Hook> {
    // Subscriptions first: a hook made in between then only has a target too many.
    let subscriptions = engine.list::<Subscription>(workspace);
    hooks(&engine.list::<Target>(workspace), &subscriptions)
}

/// Changes a workspace's hooks: `plan` gets all of them and the time, changes the list as it likes and answers something, or refuses.
pub(super) async fn change<T: Send + 'static>(
    engine: &Engine,
    workspace: i64,
    plan: impl FnOnce(&mut Vec<Hook>, i64) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let answer: Arc<Mutex<Option<Result<T, Refusal>>>> = Arc::default();
    let slot = Arc::clone(&answer);
    let carried_out = engine.edit(workspace, move |desk| {
        let (targets, subscriptions) = (desk.list::<Target>(), desk.list::<Subscription>());
        let before = hooks(&targets, &subscriptions);
        let mut after = before.clone();
        let outcome = plan(&mut after, desk.now_ms());
        let edits = if outcome.is_ok() { edits(desk, &targets, &subscriptions, &before, &after) } else { Ok(Vec::new()) };
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        edits
    });
    carried_out.await.map_err(refuse_change)?;
    let outcome = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
    outcome.unwrap_or_else(|| Err(Refusal::internal()))
}

/// What has to be done so that `before` becomes `after`.
fn edits(
    desk: &Desk<'_>,
    targets: &[Arc<Entry<Target>>],
    subscriptions: &[Arc<Entry<Subscription>>],
    before: &[Hook],
    after: &[Hook],
) -> Result<Vec<Edit>, ResourceError> {
    let ours = |target: &&Arc<Entry<Target>>| target.doc.dialect.as_ref().is_some_and(|mark| mark.dialect == DIALECT);
    let mut by_url: HashMap<String, String> = HashMap::new();
    for target in targets.iter().filter(ours) {
        if let Some(url) = target.doc.settings.get("url").and_then(|url| url.as_str()) {
            by_url.entry(url.to_owned()).or_insert_with(|| target.id.clone());
        }
    }
    let mut edits: Vec<Edit> = account::creation(desk).filter(|_| !after.is_empty()).into_iter().collect();
    for hook in after.iter().filter(|hook| !before.contains(hook)) {
        let target = match by_url.get(&hook.url) {
            Some(id) => id.clone(),
            None => {
                let id = desk.new_id::<Target>();
                edits.push(Edit::target(&id, target(&hook.url)));
                by_url.insert(hook.url.clone(), id.clone());
                id
            }
        };
        let id = hook.subscription.clone().unwrap_or_else(|| desk.new_id::<Subscription>());
        edits.push(Edit::subscription(id, hook.document(&target)?));
    }
    let kept: HashSet<&str> = after.iter().filter_map(|hook| hook.subscription.as_deref()).collect();
    let gone: HashSet<&str> = before.iter().filter_map(|hook| hook.subscription.as_deref()).filter(|id| !kept.contains(id)).collect();
    edits.extend(gone.iter().map(|id| Edit::delete(*id)));
    let used: HashSet<&str> = after.iter().map(|hook| hook.url.as_str()).collect();
    let unused = targets.iter().filter(ours).filter(|target| {
        let has_hooks = target.doc.settings.get("url").and_then(|url| url.as_str()).is_some_and(|url| used.contains(url));
        let has_others = subscriptions.iter().any(|entry| entry.doc.target_id == target.id && !gone.contains(entry.id.as_str()));
        !has_hooks && !has_others
    });
    edits.extend(unused.map(|target| Edit::delete(&target.id)));
    Ok(edits)
}

fn target(url: &str) -> Target {
    // A display name has 255 characters at most; the URL itself is in the settings.
    let name: String = format!("Mailgun {url}").chars().filter(|char| !char.is_control()).take(255).collect();
    let mark = Mark { dialect: DIALECT.to_owned(), data: json!({}) };
    Target { dialect: Some(mark), ..Target::new(name, "webhook", json!({ "url": url })) }
}
