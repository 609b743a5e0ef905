//! The routing table: everything that an event needs to find its subscriptions, compiled per workspace and immutable.
//!
//! A change of configuration raises the catalogue's generation; the next reader of a stale workspace compiles it anew before it
//! matches. There is no time to live: what was configured before a publish is seen by it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use foldhash::{HashMap, HashMapExt};
use parking_lot::Mutex;
use posthaste_channels::{Channel, Channels, ContentKind};
use posthaste_domain::matching::{Filter, PatternIndex, Rule, RuleIndex, TypePattern};
use posthaste_domain::message::MessageChannel;
use posthaste_domain::policy::{EffectivePolicy, Order, Policy, Rate};
use posthaste_domain::resource::{Account, EventType, Subscription, Target, TargetStatus, TemplateDoc};
use posthaste_domain::signature::SigningSecret;
use posthaste_domain::template::{Block, Template};
use serde_json::Value;

use crate::catalogue::{Catalogue, Entry};
use crate::format::{Format, Formats, Prepared};
use crate::manage::DEFAULT_FORMAT;
use crate::messages::carrier_of;
use crate::settings::CarrierSettings;
use crate::steward::OWNER;

/// Attempts in flight from which on a limit is divided by the nodes: the most nodes for which that is exact.
const DIVISIBLE: u32 = 8;

/// A target, ready to send to.
pub struct TargetRoute {
    /// Number, also the lane's.
    pub number: i64,
    /// Owning workspace.
    pub workspace: i64,
    /// Public id.
    pub id: String,
    /// Version of the document: settings are prepared once per version.
    pub version: i64,
    /// Its channel; `None` when this build does not have it.
    pub channel: Option<Arc<dyn Channel>>,
    /// Name of the channel.
    pub channel_name: String,
    /// Settings, secrets in place.
    pub settings: Value,
    /// HTTP method of the settings, `POST` unless they say otherwise.
    pub method: String,
    /// Secrets, newest first.
    signing: Vec<SigningSecret>,
    /// The times after which they no longer sign.
    signs_until_ms: Vec<i64>,
    /// Active, paused or disabled.
    pub status: TargetStatus,
    /// Limits of the lane: the strictest of the target's subscriptions.
    pub lane: LanePolicy,
}

impl TargetRoute {
    /// The secrets that sign at a time.
    pub fn secrets_at(&self, now_ms: i64) -> Cow<'_, [SigningSecret]> {
        if self.signs_until_ms.iter().all(|until_ms| now_ms < *until_ms) {
            return Cow::Borrowed(&self.signing);
        }
        let signs = self.signing.iter().zip(&self.signs_until_ms).filter(|(_, until_ms)| now_ms < **until_ms);
        signs.map(|(secret, _)| secret.clone()).collect()
    }
}

/// What of a policy belongs to the target as a whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LanePolicy {
    /// Attempts in flight.
    pub concurrency: u32,
    /// Sends per window.
    pub rate: Option<Rate>,
    /// First in, first out.
    pub fifo: bool,
}

/// A subscription, ready to match.
pub struct SubscriptionRoute {
    /// Number.
    pub number: i64,
    /// Number of the target.
    pub target: i64,
    /// Compiled template.
    pub template: Option<Arc<Template>>,
    /// Wire format, for channels that take one and unless there is a template.
    pub format: Option<Arc<dyn Format>>,
    /// What the format made of the subscription's mark.
    pub prepared: Prepared,
    /// The workspace's settings in the format's dialect; null without any.
    pub account: Arc<Value>,
    /// Payload filter.
    pub filter: Option<Filter>,
    /// Events received before this make no delivery.
    pub active_from_ms: i64,
    /// Of an event's subscriptions with the same word and target only the oldest counts.
    pub once: Option<Arc<str>>,
    /// Who is mailed when a delivery fails for good.
    pub notify: Option<Arc<str>>,
    /// The carrier that it leads to: then its events are messages to send.
    pub carrier: Option<MessageChannel>,
    /// Everything resolved.
    pub policy: EffectivePolicy,
    /// Whether its deliveries are for the owner of the target; see [`LanePolicy::has_owner`].
    pub for_owner: bool,
    /// Whether order is kept at its target.
    pub is_ordered: bool,
}

/// One workspace, compiled.
pub struct WorkspaceRoutes {
    generation: u64,
    /// The catalogue's changes up to which these are known to be right.
    right_at: AtomicU64,
    rules: RuleIndex<i64>,
    patterns: PatternIndex<i64>,
    type_names: HashMap<i64, Arc<str>>,
    type_secrets: HashMap<Arc<str>, String>,
    /// Subscriptions by number, switched-off ones included (their deliveries may still be pending).
    pub subscriptions: HashMap<i64, Arc<SubscriptionRoute>>,
    /// Targets by number.
    pub targets: HashMap<i64, Arc<TargetRoute>>,
}

impl SubscriptionRoute {
    /// Whether one event is written and signed within microseconds, however it was configured.
    pub fn is_quick(&self) -> bool {
        self.template.is_none() && self.carrier.is_none() && self.format.as_ref().is_some_and(|format| format.is_quick())
    }
}

impl WorkspaceRoutes {
    /// The event type whose rule an inbox document fits: the oldest of them.
    pub fn type_of(&self, document: &Value) -> Option<Arc<str>> {
        self.rules.find(document).and_then(|n| self.type_names.get(&n)).cloned()
    }

    /// MsgGO secret of an event type.
    pub fn type_secret(&self, name: &str) -> Option<&str> {
        self.type_secrets.get(name).map(String::as_str)
    }

    /// Subscriptions that want an event received now, oldest first. `document` is asked for only when a filter or a format needs it.
    pub fn matches<'d>(
        &self,
        type_name: &str,
        now_ms: i64,
        mut document: impl FnMut() -> Option<&'d Value>,
        found: &mut Vec<Arc<SubscriptionRoute>>,
    ) {
        let mut numbers = Vec::new();
        self.patterns.find(type_name, &mut numbers);
        for number in numbers {
            let Some(subscription) = self.subscriptions.get(&number) else { continue };
            if now_ms < subscription.active_from_ms {
                continue;
            }
            let fits = match &subscription.filter {
                None => true,
                Some(filter) => document().is_some_and(|d| filter.matches(d)),
            };
            let open = self.targets.get(&subscription.target).is_some_and(|t| t.status != TargetStatus::Disabled);
            if !fits || !open {
                continue;
            }
            let wanted = subscription.format.as_ref().is_none_or(|f| f.wants(&subscription.prepared, type_name, &mut document));
            let said = |s: &Arc<SubscriptionRoute>| s.once == subscription.once && s.target == subscription.target;
            if wanted && !(subscription.once.is_some() && found.iter().any(said)) {
                found.push(Arc::clone(subscription));
            }
        }
    }
}

/// The table of all workspaces.
pub struct Routing {
    channels: Channels,
    formats: Formats,
    carriers: CarrierSettings,
    /// Whether other nodes send to the same targets.
    is_shared: bool,
    table: ArcSwap<HashMap<i64, Arc<WorkspaceRoutes>>>,
    compiling: Mutex<()>,
}

impl Routing {
    /// An empty table; workspaces compile when first asked for. `is_shared`: other nodes send to the same targets.
    pub fn new(channels: Channels, formats: Formats, carriers: CarrierSettings, is_shared: bool) -> Self {
        Self { channels, formats, carriers, is_shared, table: ArcSwap::default(), compiling: Mutex::new(()) }
    }

    /// The current routes of a workspace.
    pub fn of(&self, catalogue: &Catalogue, workspace: i64) -> Arc<WorkspaceRoutes> {
        // Read first: a change that comes later is found by the next caller.
        let changes = catalogue.changes();
        if let Some(routes) = self.table.load().get(&workspace) {
            if routes.right_at.load(Ordering::Relaxed) == changes {
                return Arc::clone(routes);
            }
            if routes.generation >= catalogue.generation_of(workspace) {
                routes.right_at.store(changes, Ordering::Relaxed);
                return Arc::clone(routes);
            }
        }
        let _one = self.compiling.lock();
        let generation = catalogue.generation_of(workspace);
        if let Some(routes) = self.table.load().get(&workspace)
            && routes.generation >= generation
        {
            return Arc::clone(routes);
        }
        let routes = Arc::new(self.compile(catalogue, workspace, generation));
        let mut table = HashMap::clone(&self.table.load());
        table.insert(workspace, Arc::clone(&routes));
        self.table.store(Arc::new(table));
        routes
    }

    fn compile(&self, catalogue: &Catalogue, workspace: i64, generation: u64) -> WorkspaceRoutes {
        let types = catalogue.list::<EventType>(workspace);
        let mut type_names = HashMap::with_capacity(types.len());
        let mut type_secrets = HashMap::with_capacity(types.len());
        let mut rules = Vec::with_capacity(types.len());
        for entry in &types {
            let name: Arc<str> = entry.doc.name.as_str().into();
            type_secrets.insert(Arc::clone(&name), entry.doc.secret.clone());
            type_names.insert(entry.number, name);
            match Rule::parse(entry.doc.rule.clone()) {
                Ok(rule) => rules.push((entry.number, rule, entry.doc.rule_is_default)),
                Err(error) => tracing::error!(event_type = entry.id, %error, "stored rule is not usable"),
            }
        }

        let templates: HashMap<String, Arc<Template>> = catalogue
            .list::<TemplateDoc>(workspace)
            .into_iter()
            .filter_map(|entry| Some((entry.id.clone(), Arc::new(compile_template(&entry)?))))
            .collect();

        let targets = catalogue.list::<Target>(workspace);
        let by_id: HashMap<&str, &Arc<Entry<Target>>> = targets.iter().map(|t| (t.id.as_str(), t)).collect();
        let accounts: HashMap<String, Arc<Value>> = catalogue
            .list::<Account>(workspace)
            .into_iter()
            .map(|entry| (entry.doc.dialect.clone(), Arc::new(entry.doc.settings.clone())))
            .collect();
        let mut found = Vec::new();
        let mut patterns = Vec::new();
        let mut lanes: HashMap<i64, LanePolicy> = HashMap::new();
        for entry in catalogue.list::<Subscription>(workspace) {
            let Some(target) = by_id.get(entry.doc.target_id.as_str()) else { continue };
            let route = self.subscription(&entry, target, &templates, &accounts);
            let lane = lanes.entry(target.number).or_insert_with(|| LanePolicy::of(&route.policy));
            *lane = lane.strictest(LanePolicy::of(&route.policy));
            if entry.doc.enabled {
                patterns.extend(entry.doc.event_types.iter().filter_map(|p| Some((entry.number, TypePattern::parse(p).ok()?))));
            }
            found.push(route);
        }
        let own = |route: SubscriptionRoute| {
            let lane = lanes.get(&route.target);
            let for_owner = self.is_shared && lane.is_some_and(LanePolicy::has_owner);
            let is_ordered = lane.is_some_and(|lane| lane.fifo);
            (route.number, Arc::new(SubscriptionRoute { for_owner, is_ordered, ..route }))
        };
        let subscriptions = found.into_iter().map(own).collect();
        let targets = targets
            .iter()
            .map(|entry| {
                let lane = lanes.get(&entry.number).copied().unwrap_or_else(|| LanePolicy::of(&target_policy(&entry.doc).resolve()));
                (entry.number, Arc::new(self.target(entry, lane)))
            })
            .collect();
        WorkspaceRoutes {
            generation,
            // The next reader looks.
            right_at: AtomicU64::new(u64::MAX),
            rules: RuleIndex::build(rules),
            patterns: PatternIndex::build(patterns),
            type_names,
            type_secrets,
            subscriptions,
            targets,
        }
    }

    fn subscription(
        &self,
        entry: &Entry<Subscription>,
        target: &Entry<Target>,
        templates: &HashMap<String, Arc<Template>>,
        accounts: &HashMap<String, Arc<Value>>,
    ) -> SubscriptionRoute {
        let doc = &entry.doc;
        let takes_wire = self.channels.get(&target.doc.channel).is_some_and(|c| c.takes(ContentKind::Wire));
        let format = takes_wire.then(|| self.formats.get(doc.format.as_deref().unwrap_or(DEFAULT_FORMAT)).cloned()).flatten();
        let own = doc.policy.as_ref().and_then(|p| Policy::from_json(p).ok()).unwrap_or_default();
        let settings = doc.dialect.as_ref().map_or(&Value::Null, |mark| &mark.data);
        let prepared = match format.as_ref().map(|f| f.prepare(settings, &target.doc.settings)) {
            Some(Ok(prepared)) => prepared,
            Some(Err(error)) if doc.template_id.is_none() => {
                tracing::error!(subscription = entry.id, %error, "stored settings do not suit their format");
                Prepared::none()
            }
            _ => Prepared::none(),
        };
        let carrier = carrier_of(doc.dialect.as_ref());
        let fallback = match (carrier, &format) {
            (Some(channel), _) => self.carriers.policy(channel),
            (None, Some(format)) => format.policy_for(&prepared),
            (None, None) => Policy::standard(),
        };
        let account: Arc<Value> = format.as_ref().and_then(|f| accounts.get(f.dialect())).cloned().unwrap_or_default();
        let format_notifies = format.as_ref().is_some_and(|f| f.notifies_owner());
        SubscriptionRoute {
            number: entry.number,
            target: target.number,
            template: doc.template_id.as_ref().and_then(|id| templates.get(id)).cloned(),
            format,
            prepared,
            filter: doc.filter.as_ref().and_then(|f| Filter::parse(f).ok()),
            active_from_ms: doc.active_from_ms.unwrap_or(i64::MIN),
            once: doc.once.as_deref().map(Arc::from),
            notify: doc.notify.as_deref().or_else(|| format_notifies.then_some(OWNER)).map(|to| owner_of(&account, to).into()),
            account,
            carrier,
            policy: own.or(&target_policy(&target.doc)).or(&fallback).resolve(),
            for_owner: false,
            is_ordered: false,
        }
    }

    /// What a subscription without any wishes would be: for tests of a target that has none.
    pub fn plain_subscription(&self, target: &Entry<Target>) -> SubscriptionRoute {
        let takes_wire = self.channels.get(&target.doc.channel).is_some_and(|c| c.takes(ContentKind::Wire));
        SubscriptionRoute {
            number: 0,
            target: target.number,
            template: None,
            format: takes_wire.then(|| self.formats.get(DEFAULT_FORMAT).cloned()).flatten(),
            prepared: Prepared::none(),
            account: Arc::default(),
            filter: None,
            active_from_ms: i64::MIN,
            once: None,
            notify: None,
            carrier: None,
            policy: target_policy(&target.doc).or(&Policy::standard()).resolve(),
            for_owner: false,
            is_ordered: false,
        }
    }

    fn target(&self, entry: &Entry<Target>, lane: LanePolicy) -> TargetRoute {
        let doc = &entry.doc;
        let secrets =
            doc.signing.iter().filter_map(|key| Some((SigningSecret::parse(&key.secret).ok()?, key.expires_ms.unwrap_or(i64::MAX))));
        let (signing, signs_until_ms) = secrets.unzip();
        TargetRoute {
            number: entry.number,
            workspace: entry.workspace,
            id: entry.id.clone(),
            version: entry.version,
            channel: self.channels.get(&doc.channel).cloned(),
            channel_name: doc.channel.clone(),
            settings: doc.settings.clone(),
            method: doc.settings.get("method").and_then(Value::as_str).unwrap_or("POST").to_owned(),
            signing,
            signs_until_ms,
            status: doc.status,
            lane,
        }
    }
}

impl LanePolicy {
    fn of(policy: &EffectivePolicy) -> Self {
        Self { concurrency: policy.concurrency, rate: policy.rate, fifo: policy.order == Order::Fifo }
    }

    /// Whether one node alone sends to the target, where there are several: order cannot be kept otherwise, and a few places cannot be divided.
    pub fn has_owner(&self) -> bool {
        self.fifo || self.concurrency < DIVISIBLE
    }

    /// The part of one among so many nodes that send to the same target.
    pub fn shared_by(self, nodes: u32) -> Self {
        if nodes <= 1 || self.has_owner() {
            return self;
        }
        let part = |rate: Rate| match rate.limit / nodes {
            0 => Rate { limit: 1, per: rate.per * nodes / rate.limit.max(1) },
            limit => Rate { limit, ..rate },
        };
        Self { concurrency: (self.concurrency / nodes).max(1), rate: self.rate.map(part), ..self }
    }

    /// What satisfies both.
    fn strictest(self, other: Self) -> Self {
        let per_second = |r: &Rate| f64::from(r.limit) / r.per.as_secs_f64().max(0.001);
        let rate = match (self.rate, other.rate) {
            (Some(a), Some(b)) => Some(if per_second(&a) <= per_second(&b) { a } else { b }),
            (a, b) => a.or(b),
        };
        Self { concurrency: self.concurrency.min(other.concurrency), rate, fifo: self.fifo || other.fifo }
    }
}

/// Whom `owner` means: the account's `owner_email`, if it has one, and the server's owner otherwise.
fn owner_of<'a>(account: &'a Value, notify: &'a str) -> &'a str {
    match account.get("owner_email").and_then(Value::as_str) {
        Some(address) if notify == OWNER => address,
        _ => notify,
    }
}

fn target_policy(target: &Target) -> Policy {
    target.policy.as_ref().and_then(|p| Policy::from_json(p).ok()).unwrap_or_default()
}

fn compile_template(entry: &Entry<TemplateDoc>) -> Option<Template> {
    let blocks: Vec<Block> = serde_json::from_value(entry.doc.blocks.clone()).ok()?;
    Template::compile(&blocks).inspect_err(|error| tracing::error!(template = entry.id, %error, "stored template is not usable")).ok()
}
