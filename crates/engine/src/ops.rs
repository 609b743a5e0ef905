//! What surfaces ask of the engine besides accepting: configuration and targets.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_channels::{Content, Dispatch, Preview, Report};
use posthaste_domain::delivery::{Attempt, Delivery};
use posthaste_domain::event::{Event, Source};
use posthaste_domain::id::{self, DeliveryKey, Sequence};
use posthaste_domain::resource::{
    Account, Domain, EventType, Key, KeyKind, Kind, Resource, Scope, SigningKey, Subscription, Target, TargetStatus, Workspace,
};
use posthaste_domain::signature::{SigningSecret, hex};
use posthaste_store::{Change, PageLimit, StoreError};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::catalogue::{Catalogue, Entry};
use crate::edit::Fresh;
use crate::engine::{Engine, shown_state};
use crate::error::ResourceError;
use crate::lanes::{Command, LaneHealth};
use crate::manage::{Context, Managed};
use crate::routing::{SubscriptionRoute, WorkspaceRoutes};

/// What came of testing a target.
#[derive(Clone, Debug)]
pub struct TestReport {
    /// Whether the target took it.
    pub delivered: bool,
    /// Everything that was seen.
    pub attempt: Attempt,
}

/// What a test of a target carries.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Type of the event, `posthaste.test` unless given.
    pub type_name: Option<String>,
    /// The payload, a JSON document; a small one if absent.
    pub data: Option<Bytes>,
}

/// A key to make.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Private or public.
    pub kind: KeyKind,
    /// Free text.
    pub description: String,
    /// Everything for a private key and publishing for a public one, if nothing is said.
    pub scopes: Option<Vec<Scope>>,
    /// For public keys.
    pub allowed_domains: Vec<String>,
    /// Made up if not given.
    pub token: Option<String>,
    /// Whether the token is kept, encrypted, so that requests may prove it by HMAC.
    pub may_sign: bool,
}

impl NewKey {
    /// A key with the usual scopes, a made-up token and nothing else.
    pub fn new(kind: KeyKind) -> Self {
        Self { kind, description: String::new(), scopes: None, allowed_domains: Vec::new(), token: None, may_sign: false }
    }
}

/// Secrets of a target that sign at once, the newest included.
const MAX_SECRETS: usize = 5;

/// Bytes of payloads that are read at once to find the ids of a batch.
const MEMBER_BYTES: usize = 4 << 20;

impl Engine {
    pub(crate) fn context<'a>(&'a self, catalogue: &'a Catalogue, fresh: &'a Fresh, workspace: i64, own: Option<i64>) -> Context<'a> {
        let inner = self.inner();
        Context { workspace, own, catalogue, fresh, channels: &inner.channels, formats: &inner.formats, settings: &inner.settings }
    }

    /// The living key of a token.
    pub fn find_key(&self, token: &str) -> Option<Arc<Entry<Key>>> {
        self.inner().catalogue.key(&token_hash(token))
    }

    /// Grows with every change of the configuration, keys included, before the call that made it returns: what was found before may be used
    /// as long as this stays.
    pub fn configuration(&self) -> u64 {
        self.inner().catalogue.changes()
    }

    /// The key of an id, whatever its workspace.
    pub fn key_by_id(&self, id: &str) -> Option<Arc<Entry<Key>>> {
        self.inner().catalogue.key_by_id(id)
    }

    /// Makes a key; answers it with its token, which is not stored unless the key may sign requests.
    pub async fn create_key(&self, workspace: i64, key: NewKey) -> Result<(Arc<Entry<Key>>, String), ResourceError> {
        let NewKey { kind, description, scopes, allowed_domains, token, may_sign } = key;
        let token = token.unwrap_or_else(|| id::token(if kind == KeyKind::Private { "phk" } else { "php" }, rand::random()));
        if self.find_key(&token).is_some() {
            return Err(ResourceError::Duplicate { field: "token" });
        }
        let scopes = scopes.unwrap_or_else(|| vec![if kind == KeyKind::Private { Scope::Admin } else { Scope::Publish }]);
        let hint: String = token.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
        let secret = may_sign.then(|| token.clone());
        let doc = Key { kind, description, scopes, allowed_domains, token_hash: token_hash(&token), token_hint: hint, secret };
        Ok((self.create(workspace, doc).await?, token))
    }

    /// All of a kind in a workspace, oldest first.
    pub fn list<R: Resource>(&self, workspace: i64) -> Vec<Arc<Entry<R>>> {
        self.inner().catalogue.list(workspace)
    }

    /// One of a workspace.
    pub fn get<R: Resource>(&self, workspace: i64, id: &str) -> Option<Arc<Entry<R>>> {
        self.inner().catalogue.get(workspace, id)
    }

    /// One by the number that the journal holds.
    pub fn by_number<R: Resource>(&self, number: i64) -> Option<Arc<Entry<R>>> {
        self.inner().catalogue.by_number(number)
    }

    /// Public id of a number, deleted resources included.
    pub fn id_of(&self, number: i64) -> Option<String> {
        self.inner().catalogue.id_of(number)
    }

    /// Number of an id of this workspace, deleted resources included.
    pub fn number_of(&self, workspace: i64, id: &str) -> Option<i64> {
        self.inner().catalogue.number_of(workspace, id)
    }

    /// The event type of a name.
    pub fn find_event_type(&self, workspace: i64, name: &str) -> Option<Arc<Entry<EventType>>> {
        self.inner().catalogue.named(workspace, name)
    }

    /// The domain of a name.
    pub fn find_domain(&self, workspace: i64, name: &str) -> Option<Arc<Entry<Domain>>> {
        self.inner().catalogue.named(workspace, &name.to_ascii_lowercase())
    }

    /// A workspace's settings in a dialect.
    pub fn account(&self, workspace: i64, dialect: &str) -> Option<Arc<Entry<Account>>> {
        self.inner().catalogue.named(workspace, dialect)
    }

    /// Numbers of all workspaces.
    pub fn workspaces(&self) -> Vec<i64> {
        self.inner().catalogue.workspaces()
    }

    /// Makes a workspace.
    pub async fn create_workspace(&self, doc: Workspace) -> Result<Arc<Entry<Workspace>>, ResourceError> {
        self.put_new(None, doc, |_| Ok(())).await
    }

    /// Makes the first workspace; `None` if there is one, of another node for one.
    pub async fn create_first_workspace(&self, doc: Workspace) -> Result<Option<Arc<Entry<Workspace>>>, ResourceError> {
        let is_first = |catalogue: &Catalogue| match catalogue.workspaces().is_empty() {
            true => Ok(()),
            false => Err(ResourceError::Duplicate { field: "workspace" }),
        };
        match self.put_new(None, doc, is_first).await {
            Err(ResourceError::Duplicate { field: "workspace" }) => Ok(None),
            made => made.map(Some),
        }
    }

    /// Makes a resource. It is in force when this returns.
    pub async fn create<R: Managed>(&self, workspace: i64, doc: R) -> Result<Arc<Entry<R>>, ResourceError> {
        self.put_new(Some(workspace), doc, |_| Ok(())).await
    }

    /// Makes a resource unless `check` refuses, which runs while nobody else can change anything.
    pub(crate) async fn create_if<R: Managed>(
        &self,
        workspace: i64,
        doc: R,
        check: impl FnOnce(&Catalogue) -> Result<(), ResourceError> + Send + 'static,
    ) -> Result<Arc<Entry<R>>, ResourceError> {
        self.put_new(Some(workspace), doc, check).await
    }

    async fn put_new<R: Managed>(
        &self,
        workspace: Option<i64>,
        mut doc: R,
        check: impl FnOnce(&Catalogue) -> Result<(), ResourceError> + Send + 'static,
    ) -> Result<Arc<Entry<R>>, ResourceError> {
        let engine = self.clone();
        let put = async move {
            let at_ms = engine.now_ms();
            let id = id::resource_id(R::KIND.prefix(), at_ms, rand::random());
            let change = |catalogue: &Catalogue| {
                check(catalogue)?;
                doc.check(&engine.context(catalogue, &Fresh::default(), workspace.unwrap_or(0), None))?;
                let secrets = doc.secret_pointers();
                Ok(vec![Change::Create { id, kind: R::KIND, workspace, doc: to_value(&doc)?, secrets, at_ms }])
            };
            let numbers = engine.inner().catalogue.write(engine.actor(), change).await?;
            numbers.first().and_then(|n| engine.by_number(*n)).ok_or(ResourceError::NotFound)
        };
        self.to_the_end(put).await
    }

    /// Runs a change to its end, whether or not whoever asked for it still waits: of a client that hangs up in the middle there would
    /// otherwise be something on disk that memory does not know of.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, ResourceError>> + Send + 'static,
    ) -> Result<T, ResourceError> {
        let (answer, receive) = oneshot::channel();
        self.tasks().spawn("change", async move {
            let _ = answer.send(change.await);
        });
        receive.await.unwrap_or(Err(ResourceError::Store(StoreError::Closed)))
    }

    /// Replaces a document; with a version, only if it is still that one. It is in force when this returns.
    pub async fn update<R: Managed>(
        &self,
        workspace: i64,
        id: &str,
        version: Option<i64>,
        mut doc: R,
    ) -> Result<Arc<Entry<R>>, ResourceError> {
        let (engine, id) = (self.clone(), id.to_owned());
        let put = async move {
            let at_ms = engine.now_ms();
            let change = |catalogue: &Catalogue| {
                let entry = catalogue.get::<R>(workspace, &id).ok_or(ResourceError::NotFound)?;
                doc.check(&engine.context(catalogue, &Fresh::default(), workspace, Some(entry.number)))?;
                let secrets = doc.secret_pointers();
                Ok(vec![Change::Update { number: entry.number, version, doc: to_value(&doc)?, secrets, at_ms }])
            };
            let numbers = engine.inner().catalogue.write(engine.actor(), change).await?;
            let number = numbers.first().copied().ok_or(ResourceError::NotFound)?;
            engine.refresh::<R>(number).await;
            engine.by_number(number).ok_or(ResourceError::NotFound)
        };
        self.to_the_end(put).await
    }

    /// Deletes a resource; what a bin caught goes with it. A target or template that a subscription uses cannot go before it.
    pub async fn delete<R: Managed>(&self, workspace: i64, id: &str) -> Result<(), ResourceError> {
        self.delete_if::<R>(workspace, id, |_, _| Ok(())).await
    }

    /// Deletes a resource unless `check` refuses, which runs while nobody else can change anything.
    pub(crate) async fn delete_if<R: Managed>(
        &self,
        workspace: i64,
        id: &str,
        check: impl FnOnce(&Catalogue, &Entry<R>) -> Result<(), ResourceError> + Send + 'static,
    ) -> Result<(), ResourceError> {
        let (engine, id) = (self.clone(), id.to_owned());
        let delete = async move {
            let at_ms = engine.now_ms();
            let change = |catalogue: &Catalogue| {
                let entry = catalogue.get::<R>(workspace, &id).ok_or(ResourceError::NotFound)?;
                check(catalogue, &entry)?;
                if matches!(R::KIND, Kind::Target | Kind::Template) {
                    let uses = |s: &Subscription| s.target_id == id || s.template_id.as_ref() == Some(&id);
                    if let Some(user) = catalogue.list::<Subscription>(workspace).into_iter().find(|s| uses(&s.doc)) {
                        return Err(ResourceError::InUse { by: user.id.clone() });
                    }
                }
                if let Some(domain) = catalogue.get::<Domain>(workspace, &id)
                    && let Some(user) = crate::manage::user_of_domain(catalogue, workspace, &domain.doc.name)
                {
                    return Err(ResourceError::InUse { by: user });
                }
                Ok(vec![Change::Delete { number: entry.number, at_ms }])
            };
            let numbers = engine.inner().catalogue.write(engine.actor(), change).await?;
            if let Some(number) = numbers.first() {
                engine.refresh::<R>(*number).await;
                if R::KIND == Kind::Bin {
                    engine.bins().clear(*number).await?;
                }
            }
            Ok(())
        };
        self.to_the_end(delete).await
    }

    /// Wakes the lane of a changed target.
    async fn refresh<R: Resource>(&self, number: i64) {
        self.refresh_kind(R::KIND, number).await;
    }

    pub(crate) async fn refresh_kind(&self, kind: Kind, number: i64) {
        if kind == Kind::Target {
            self.inner().lanes.send(number, Command::Refresh { target: number }).await;
        }
    }

    /// Holds a target's deliveries.
    pub async fn pause(&self, workspace: i64, target_id: &str, reason: &str) -> Result<Arc<Entry<Target>>, ResourceError> {
        self.set_status(workspace, target_id, TargetStatus::Paused, Some(reason)).await
    }

    /// Lets a paused or disabled target's deliveries flow again, gently.
    pub async fn resume(&self, workspace: i64, target_id: &str) -> Result<Arc<Entry<Target>>, ResourceError> {
        self.set_status(workspace, target_id, TargetStatus::Active, None).await
    }

    /// Whatever else is changed meanwhile stays.
    pub(crate) async fn set_status(
        &self,
        workspace: i64,
        id: &str,
        status: TargetStatus,
        reason: Option<&str>,
    ) -> Result<Arc<Entry<Target>>, ResourceError> {
        let (engine, id, reason) = (self.clone(), id.to_owned(), reason.map(str::to_owned));
        let put = async move {
            let at_ms = engine.now_ms();
            // Whether it is so already is asked with the right to change it: this node may not have heard of another's change.
            let change = |catalogue: &Catalogue| {
                let entry = catalogue.get::<Target>(workspace, &id).ok_or(ResourceError::NotFound)?;
                if entry.doc.status == status {
                    return Ok(Vec::new());
                }
                let doc = Target { status, status_reason: reason, ..entry.doc.clone() };
                let secrets = doc.secret_pointers();
                Ok(vec![Change::Update { number: entry.number, version: None, doc: to_value(&doc)?, secrets, at_ms }])
            };
            for number in engine.inner().catalogue.write(engine.actor(), change).await? {
                engine.refresh::<Target>(number).await;
            }
            engine.get::<Target>(workspace, &id).ok_or(ResourceError::NotFound)
        };
        self.to_the_end(put).await
    }

    /// Gives a target a new signing secret; the old one goes on signing beside it for the overlap.
    pub async fn rotate_secret(
        &self,
        workspace: i64,
        target_id: &str,
        secret: Option<String>,
        asymmetric: bool,
    ) -> Result<Arc<Entry<Target>>, ResourceError> {
        let entry = self.get::<Target>(workspace, target_id).ok_or(ResourceError::NotFound)?;
        let now_ms = self.now_ms();
        let until = now_ms + self.settings().rotation_overlap.as_millis() as i64;
        let mut doc = entry.doc.clone();
        doc.signing.retain(|key| key.expires_ms.is_none_or(|t| t > now_ms));
        for key in &mut doc.signing {
            key.expires_ms.get_or_insert(until);
        }
        // Each signs every delivery: however often somebody rotates, the header stays short.
        doc.signing.truncate(MAX_SECRETS - 1);
        doc.signing
            .insert(0, SigningKey { secret: secret.unwrap_or_else(|| new_secret(asymmetric)), created_ms: now_ms, expires_ms: None });
        self.update(workspace, target_id, Some(entry.version), doc).await
    }

    /// Sends a sample to a target once and reports exactly what came back. Nothing is stored.
    pub async fn test_target(&self, workspace: i64, target_id: &str, sample: Sample) -> Result<TestReport, ResourceError> {
        let (routes, number, subscription) = self.testable(workspace, target_id)?;
        let target = routes.targets.get(&number).ok_or(ResourceError::NotFound)?;
        let (delivered, attempt) = self.inner().sender.test(self.sample_event(workspace, sample), target, &subscription).await;
        Ok(TestReport { delivered, attempt })
    }

    /// What [`Self::test_target`] would send. Nothing is sent.
    ///
    /// # Errors
    /// [`ResourceError::Invalid`] at `data` when this sample cannot be sent.
    pub async fn preview_test(&self, workspace: i64, target_id: &str, sample: Sample) -> Result<Preview, ResourceError> {
        let (routes, number, subscription) = self.testable(workspace, target_id)?;
        let target = routes.targets.get(&number).ok_or(ResourceError::NotFound)?;
        let preview = self.inner().sender.preview(self.sample_event(workspace, sample), target, &subscription).await;
        preview.map_err(|reason| ResourceError::invalid("data", reason))
    }

    /// A target with the subscription whose form its tests have: the first of its own, if there is one.
    fn testable(&self, workspace: i64, target_id: &str) -> Result<(Arc<WorkspaceRoutes>, i64, Arc<SubscriptionRoute>), ResourceError> {
        let entry = self.get::<Target>(workspace, target_id).ok_or(ResourceError::NotFound)?;
        let routes = self.inner().routing.of(&self.inner().catalogue, workspace);
        let existing = routes.subscriptions.values().find(|s| s.target == entry.number).cloned();
        let subscription = existing.unwrap_or_else(|| Arc::new(self.inner().routing.plain_subscription(&entry)));
        Ok((routes, entry.number, subscription))
    }

    fn sample_event(&self, workspace: i64, sample: Sample) -> Arc<Event> {
        let now_ms = self.now_ms();
        Arc::new(Event {
            // Out of the journal's range of numbers, so that the id collides with no stored one.
            sequence: Sequence((1 << 42) + now_ms % (1 << 42)),
            workspace,
            type_name: Some(sample.type_name.as_deref().unwrap_or("posthaste.test").into()),
            payload: sample.data.unwrap_or_else(|| Bytes::from_static(br#"{"message":"This is a test from Posthaste."}"#)),
            source: Arc::new(Source { via: "test".into(), key: None, ip: None }),
            received_ms: now_ms,
        })
    }

    /// One HTTP request by the webhook channel, guarded like every delivery, to where no target points yet. Nothing is stored and nothing
    /// follows from it.
    ///
    /// # Errors
    /// When the settings cannot be used; the field is named.
    pub async fn try_webhook(
        &self,
        settings: &serde_json::Value,
        body: Bytes,
        headers: Vec<(http::HeaderName, http::HeaderValue)>,
        timeout: std::time::Duration,
    ) -> Result<Report, ResourceError> {
        let channel = self.inner().channels.get("webhook").ok_or(ResourceError::State { reason: "this server has no webhook channel" })?;
        let checked = channel.check(settings).map_err(|e| ResourceError::invalid(e.field, e.reason))?;
        let dispatch = Dispatch {
            delivery_id: "",
            settings: &checked.settings,
            settings_key: (0, 0),
            content: Content::Wire { body, headers, query: None, url: None },
            connect_timeout: timeout,
            timeout,
        };
        Ok(channel.send(dispatch).await)
    }

    /// What the lane of a target says.
    pub async fn health(&self, target: i64) -> LaneHealth {
        let idle = || LaneHealth { breaker: "active".into(), ..LaneHealth::default() };
        self.inner().lanes.health(target).await.unwrap_or_else(idle)
    }

    /// What the lanes of a workspace's targets say, by the targets' numbers. Deleted targets are among them as long as they are owed anything.
    pub async fn health_of_all(&self, workspace: i64) -> Vec<(i64, LaneHealth)> {
        let own: HashSet<i64> = self.target_numbers(workspace).into_iter().collect();
        self.inner().lanes.health_of_all().await.into_iter().filter(|(target, _)| own.contains(target)).collect()
    }

    /// Numbers of all targets that a workspace has or had.
    pub fn target_numbers(&self, workspace: i64) -> Vec<i64> {
        self.inner().catalogue.numbers(workspace, Kind::Target)
    }

    /// `queued`, `held`, `delivered`, `failed` or `cancelled`.
    pub fn public_state(&self, delivery: &Delivery) -> &'static str {
        let holds = self.by_number::<Target>(delivery.target).is_some_and(|t| t.doc.status != TargetStatus::Active);
        shown_state(delivery.state, holds)
    }

    /// Ids of the events of a batch, in the order of acceptance, at most `most`.
    pub async fn members(&self, batch: DeliveryKey, most: usize) -> Result<Vec<String>, StoreError> {
        let mut ids: Vec<String> = Vec::new();
        let mut after = Sequence(0);
        while ids.len() < most {
            let limit = PageLimit { items: most - ids.len(), bytes: MEMBER_BYTES };
            let page = self.inner().journal.members(batch, after, limit).await?;
            let Some(last) = page.last() else { break };
            after = last.sequence;
            ids.extend(page.iter().map(|event| event.id()));
        }
        Ok(ids)
    }
}

/// A fresh signing secret: 32 random bytes.
pub fn new_secret(asymmetric: bool) -> String {
    let secret =
        if asymmetric { SigningSecret::generate_ed25519(rand::random()) } else { SigningSecret::generate_symmetric(rand::random()) };
    secret.to_text()
}

fn token_hash(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

pub(crate) fn to_value<R: Resource>(doc: &R) -> Result<serde_json::Value, ResourceError> {
    serde_json::to_value(doc).map_err(|_| ResourceError::State { reason: "the document cannot be written as JSON" })
}
