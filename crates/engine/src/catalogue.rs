//! The catalog in memory: every living resource, typed, and the way to change it.
//!
//! Invariants:
//! - A change is durable before it is visible, and visible before the call that made it returns.
//! - The view is only ever changed under one lock, in the order in which the store took the changes.
//! - Where several nodes share the store, a change is checked against all changes of all nodes before it, and known to every node that lives
//!   when the call that made it returns.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use posthaste_domain::people::{Actor, Member, fold_email};
use posthaste_domain::resource::{
    Account, Bin, Domain, EventType, Health, Key, Kind, Replay, Resource, Subscription, Target, TemplateDoc, Workspace,
};
use posthaste_store::{Catalog, CatalogNews, Change, Cluster, Record, StoreError};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{EngineError, ResourceError};
use crate::members::entries;

/// One resource with its identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<R> {
    /// What the journal refers to.
    pub number: i64,
    /// Public id.
    pub id: String,
    /// Number of the owning workspace.
    pub workspace: i64,
    /// 1 at creation, one more at each update.
    pub version: i64,
    /// Time of creation.
    pub created_ms: i64,
    /// Time of the last change.
    pub updated_ms: i64,
    /// The document, secrets in place.
    pub doc: R,
}

struct Slot {
    kind: Kind,
    workspace: i64,
    id: String,
    /// `None` for tombstones.
    entry: Option<Arc<dyn Any + Send + Sync>>,
}

#[derive(Default)]
struct View {
    slots: HashMap<i64, Slot>,
    ids: HashMap<String, i64>,
    lists: HashMap<(i64, Kind), BTreeMap<i64, Arc<dyn Any + Send + Sync>>>,
    keys: HashMap<String, Arc<Entry<Key>>>,
    /// Numbers of what has a name that is unique in its workspace.
    names: HashMap<(i64, Kind, String), i64>,
    generations: HashMap<i64, u64>,
}

/// How long a change that is made waits for a database that went away, before its caller is told that not all may know of it.
const PATIENCE: Duration = Duration::from_secs(8);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// The typed view over a [`Catalog`].
pub struct Catalogue {
    store: Arc<dyn Catalog>,
    view: RwLock<View>,
    /// Changes so far, of all workspaces.
    changes: AtomicU64,
    /// Told when somebody may do less, or more.
    standing: watch::Sender<()>,
    /// Serialises writers, so that the view changes in the order of the store.
    writing: tokio::sync::Mutex<()>,
    shared: Option<Shared>,
}

/// What is known of other nodes' changes.
pub(crate) struct Shared {
    cluster: Arc<dyn Cluster>,
    /// Version of the store's catalog that the view has.
    version: AtomicI64,
    /// Others' changes that nothing was made of yet but to show them.
    heard: Mutex<Heard>,
}

/// Changes that other nodes made.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Kind, workspace and number of what changed.
    pub records: Vec<(Kind, i64, i64)>,
    /// Whether sessions began or ended.
    pub sessions: bool,
}

impl Catalogue {
    /// Loads everything; with a cluster, so that from then on no other node says that something is changed before this one knows.
    pub async fn load(store: Arc<dyn Catalog>, cluster: Option<Arc<dyn Cluster>>) -> Result<Self, EngineError> {
        let (records, shared) = match cluster {
            None => (store.load().await?, None),
            Some(cluster) => {
                let news = cluster.news(-1).await?;
                cluster.seen(news.version).await?;
                (news.records, Some(Shared { cluster, version: AtomicI64::new(news.version), heard: Mutex::default() }))
            }
        };
        let catalogue = Self::of(store, records, shared)?;
        // What was changed before the others knew of this node.
        catalogue.hear().await.map_err(EngineError::Store)?;
        Ok(catalogue)
    }

    /// Shows these records, which are all that a store has.
    pub(crate) fn of(store: Arc<dyn Catalog>, records: Vec<Record>, shared: Option<Shared>) -> Result<Self, EngineError> {
        let mut view = View::default();
        for record in records {
            view.put(record)?;
        }
        let (changes, standing) = (AtomicU64::new(0), watch::Sender::new(()));
        Ok(Self { store, view: RwLock::new(view), changes, standing, writing: tokio::sync::Mutex::default(), shared })
    }

    /// The version of the store's catalog that is shown here.
    pub fn version(&self) -> i64 {
        self.shared.as_ref().map_or(0, |shared| shared.version.load(Ordering::Acquire))
    }

    /// Shows what other nodes changed, and says so.
    pub async fn hear(&self) -> Result<(), StoreError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let _order = self.writing.lock().await;
        let news = shared.cluster.news(self.version()).await?;
        let version = news.version;
        self.take_in(shared, news);
        shared.cluster.seen(version).await
    }

    /// What other nodes changed since this was asked last.
    pub(crate) fn heard(&self) -> Heard {
        self.shared.as_ref().map(|shared| std::mem::take(&mut *shared.heard.lock())).unwrap_or_default()
    }

    fn take_in(&self, shared: &Shared, news: CatalogNews) {
        let CatalogNews { version, records, sessions } = news;
        {
            let mut heard = shared.heard.lock();
            heard.records.extend(records.iter().map(|record| (record.kind, record.workspace, record.number)));
            heard.sessions |= sessions;
        }
        if !records.is_empty() {
            let is_about_people = records.iter().any(is_about_people);
            if let Err(error) = self.show(records) {
                tracing::error!(%error, "a change of another node cannot be read");
            }
            self.changes.fetch_add(1, Ordering::Release);
            if is_about_people {
                self.standing.send_replace(());
            }
        }
        shared.version.store(version, Ordering::Release);
    }

    /// Grows with every change, after it is visible and before the call that made it returns.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whom to tell when somebody may do less, or more: after that is visible, and before the call that made it so returns.
    pub(crate) fn standing(&self) -> &watch::Sender<()> {
        &self.standing
    }

    /// Grows with every change in one workspace of what routes are made from.
    pub fn generation_of(&self, workspace: i64) -> u64 {
        self.view.read().generations.get(&workspace).copied().unwrap_or(0)
    }

    /// Numbers of the living workspaces.
    pub fn workspaces(&self) -> Vec<i64> {
        let view = self.view.read();
        let mut numbers: Vec<i64> =
            view.slots.iter().filter(|(_, s)| s.kind == Kind::Workspace && s.entry.is_some()).map(|(n, _)| *n).collect();
        numbers.sort_unstable();
        numbers
    }

    /// All of a kind in a workspace, oldest first.
    pub fn list<R: Resource>(&self, workspace: i64) -> Vec<Arc<Entry<R>>> {
        let view = self.view.read();
        view.lists.get(&(workspace, R::KIND)).map(|l| l.values().filter_map(typed).collect()).unwrap_or_default()
    }

    /// How many of a kind a workspace has.
    pub fn count(&self, workspace: i64, kind: Kind) -> usize {
        self.view.read().lists.get(&(workspace, kind)).map_or(0, BTreeMap::len)
    }

    /// One by its public id; only within its workspace.
    pub fn get<R: Resource>(&self, workspace: i64, id: &str) -> Option<Arc<Entry<R>>> {
        let view = self.view.read();
        let slot = view.slots.get(view.ids.get(id)?)?;
        if slot.kind != R::KIND || slot.workspace != workspace {
            return None;
        }
        slot.entry.as_ref().and_then(typed)
    }

    /// One by its number.
    pub fn by_number<R: Resource>(&self, number: i64) -> Option<Arc<Entry<R>>> {
        let view = self.view.read();
        let slot = view.slots.get(&number)?;
        if slot.kind != R::KIND {
            return None;
        }
        slot.entry.as_ref().and_then(typed)
    }

    /// Numbers of all of a kind in a workspace, deleted ones included, in no order.
    pub fn numbers(&self, workspace: i64, kind: Kind) -> Vec<i64> {
        let view = self.view.read();
        view.slots.iter().filter(|(_, slot)| slot.kind == kind && slot.workspace == workspace).map(|(number, _)| *number).collect()
    }

    /// Public id of a number, deleted resources included.
    pub fn id_of(&self, number: i64) -> Option<String> {
        self.view.read().slots.get(&number).map(|s| s.id.clone())
    }

    /// Number of an id, deleted resources included.
    pub fn number_of(&self, workspace: i64, id: &str) -> Option<i64> {
        let view = self.view.read();
        let number = *view.ids.get(id)?;
        (view.slots.get(&number)?.workspace == workspace).then_some(number)
    }

    /// The key whose token has this SHA-256 (lower-case hex).
    pub fn key(&self, token_hash: &str) -> Option<Arc<Entry<Key>>> {
        self.view.read().keys.get(token_hash).cloned()
    }

    /// The key of a public id, whatever its workspace.
    pub fn key_by_id(&self, id: &str) -> Option<Arc<Entry<Key>>> {
        let view = self.view.read();
        let slot = view.slots.get(view.ids.get(id)?)?;
        slot.entry.as_ref().and_then(typed)
    }

    /// The event type or domain of a name, the account in a dialect, or the replay of an `Idempotency-Key`.
    pub fn named<R: Resource>(&self, workspace: i64, name: &str) -> Option<Arc<Entry<R>>> {
        let view = self.view.read();
        let number = view.names.get(&(workspace, R::KIND, name.to_owned()))?;
        view.slots.get(number)?.entry.as_ref().and_then(typed)
    }

    /// Where it is kept.
    pub(crate) fn store(&self) -> &Arc<dyn Catalog> {
        &self.store
    }

    /// A living resource as it is stored.
    pub(crate) fn stored(&self, number: i64) -> Option<Stored> {
        let view = self.view.read();
        let slot = view.slots.get(&number)?;
        let document = document(slot.kind, slot.entry.as_ref()?)?;
        Some(Stored { kind: slot.kind, id: slot.id.clone(), workspace: slot.workspace, document })
    }

    /// Applies changes: durable, then visible, and in the audit log with who made them. `check` runs under the writers' lock, knows all that was
    /// changed before, and may refuse, or find that there is nothing to change.
    pub async fn write(
        &self,
        actor: &Actor,
        check: impl FnOnce(&Self) -> Result<Vec<Change>, ResourceError>,
    ) -> Result<Vec<i64>, ResourceError> {
        let order = self.writing.lock().await;
        let mut written = None;
        let records = match &self.shared {
            None => {
                let changes = check(self)?;
                if changes.is_empty() {
                    return Ok(Vec::new());
                }
                let entries = entries(self, actor, &changes);
                self.store.write(changes, entries).await?
            }
            Some(shared) => {
                let mut pen = shared.cluster.pen(self.version()).await?;
                self.take_in(shared, pen.news());
                let changes = match check(self) {
                    Ok(changes) if !changes.is_empty() => changes,
                    nothing => {
                        pen.put_back().await;
                        drop(order);
                        nothing?;
                        // That it is so already is as good as a change once all nodes know of it.
                        self.make_known(shared).await?;
                        return Ok(Vec::new());
                    }
                };
                let entries = entries(self, actor, &changes);
                let (version, records) = pen.write(changes, entries).await?;
                written = Some(version);
                records
            }
        };
        let numbers = records.iter().map(|r| r.number).collect();
        let is_about_people = records.iter().any(is_about_people);
        let shown = self.show(records);
        self.changes.fetch_add(1, Ordering::Release);
        if is_about_people {
            self.standing.send_replace(());
        }
        if let Some((shared, version)) = self.shared.as_ref().zip(written) {
            shared.version.store(version, Ordering::Release);
            drop(order);
            // It is made in any case; but only success says that all nodes know of it.
            self.make_known(shared).await.inspect_err(|error| {
                tracing::warn!(%error, "a change is made, but it is not known whether all nodes know of it; they will within a second");
            })?;
        }
        shown.map(|()| numbers)
    }

    /// Waits until all nodes know what is shown here, also while the database is away for a moment.
    async fn make_known(&self, shared: &Shared) -> Result<(), StoreError> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let told = async {
                shared.cluster.seen(self.version()).await?;
                shared.cluster.confirmed().await
            };
            match told.await {
                Err(StoreError::Unavailable(_)) if Instant::now() < patience => tokio::time::sleep(PAUSE).await,
                told => return told,
            }
        }
    }

    /// Shows all that can be read; fails if one could not.
    fn show(&self, records: Vec<Record>) -> Result<(), ResourceError> {
        let mut view = self.view.write();
        let mut shown = Ok(());
        for record in records {
            let (workspace, kind) = (record.workspace, record.kind);
            if let Err(error) = view.put(record) {
                tracing::error!(%error, "a stored document cannot be read back");
                shown = Err(ResourceError::State { reason: "the stored document cannot be read back" });
            }
            if matches!(kind, Kind::EventType | Kind::Target | Kind::Template | Kind::Subscription | Kind::Account) {
                *view.generations.entry(workspace).or_default() += 1;
            }
        }
        shown
    }
}

/// Whether somebody may do less, or more, with it.
fn is_about_people(record: &Record) -> bool {
    matches!(record.kind, Kind::Member | Kind::Workspace)
}

/// A living resource as it is stored.
pub(crate) struct Stored {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) workspace: i64,
    /// The document and the pointers of its secrets.
    pub(crate) document: (Value, Vec<String>),
}

/// The document of an entry, and the pointers of its secrets.
fn document(kind: Kind, entry: &Arc<dyn Any + Send + Sync>) -> Option<(Value, Vec<String>)> {
    fn of<R: Resource>(entry: &Arc<dyn Any + Send + Sync>) -> Option<(Value, Vec<String>)> {
        let entry = typed::<R>(entry)?;
        Some((serde_json::to_value(&entry.doc).ok()?, entry.doc.secret_pointers()))
    }
    match kind {
        Kind::Workspace => of::<Workspace>(entry),
        Kind::Key => of::<Key>(entry),
        Kind::EventType => of::<EventType>(entry),
        Kind::Target => of::<Target>(entry),
        Kind::Template => of::<TemplateDoc>(entry),
        Kind::Subscription => of::<Subscription>(entry),
        Kind::Bin => of::<Bin>(entry),
        Kind::Replay => of::<Replay>(entry),
        Kind::Health => of::<Health>(entry),
        Kind::Domain => of::<Domain>(entry),
        Kind::Account => of::<Account>(entry),
        Kind::Member => of::<Member>(entry),
    }
}

fn typed<R: Resource>(entry: &Arc<dyn Any + Send + Sync>) -> Option<Arc<Entry<R>>> {
    Arc::clone(entry).downcast::<Entry<R>>().ok()
}

impl View {
    fn put(&mut self, record: Record) -> Result<(), EngineError> {
        let Record { number, kind, workspace, .. } = record;
        self.remove_indexes(number);
        let id = record.id.clone();
        let entry: Option<Arc<dyn Any + Send + Sync>> = if record.deleted {
            None
        } else {
            Some(match kind {
                Kind::Workspace => Arc::new(parse::<Workspace>(record)?),
                Kind::Key => {
                    let entry = Arc::new(parse::<Key>(record)?);
                    self.keys.insert(entry.doc.token_hash.clone(), Arc::clone(&entry));
                    entry
                }
                Kind::EventType => {
                    let entry = Arc::new(parse::<EventType>(record)?);
                    self.names.insert((workspace, kind, entry.doc.name.clone()), number);
                    entry
                }
                Kind::Target => Arc::new(parse::<Target>(record)?),
                Kind::Template => Arc::new(parse::<TemplateDoc>(record)?),
                Kind::Subscription => Arc::new(parse::<Subscription>(record)?),
                Kind::Bin => Arc::new(parse::<Bin>(record)?),
                Kind::Replay => {
                    let entry = Arc::new(parse::<Replay>(record)?);
                    if let Some(request) = &entry.doc.request {
                        self.names.insert((workspace, kind, request.key.clone()), number);
                    }
                    entry
                }
                Kind::Health => Arc::new(parse::<Health>(record)?),
                Kind::Domain => {
                    let entry = Arc::new(parse::<Domain>(record)?);
                    self.names.insert((workspace, kind, entry.doc.name.clone()), number);
                    entry
                }
                Kind::Account => {
                    let entry = Arc::new(parse::<Account>(record)?);
                    self.names.insert((workspace, kind, entry.doc.dialect.clone()), number);
                    entry
                }
                Kind::Member => {
                    let entry = Arc::new(parse::<Member>(record)?);
                    self.names.insert((workspace, kind, fold_email(&entry.doc.email)), number);
                    entry
                }
            })
        };
        let list = self.lists.entry((workspace, kind)).or_default();
        match &entry {
            Some(entry) => drop(list.insert(number, Arc::clone(entry))),
            None => drop(list.remove(&number)),
        }
        self.ids.insert(id.clone(), number);
        self.slots.insert(number, Slot { kind, workspace, id, entry });
        Ok(())
    }

    /// Forgets what the old version of a record was found by.
    fn remove_indexes(&mut self, number: i64) {
        let Some(old) = self.slots.get(&number).and_then(|s| s.entry.clone()) else { return };
        if let Some(key) = typed::<Key>(&old) {
            self.keys.remove(&key.doc.token_hash);
        } else if let Some(event_type) = typed::<EventType>(&old) {
            self.names.remove(&(event_type.workspace, Kind::EventType, event_type.doc.name.clone()));
        } else if let Some(domain) = typed::<Domain>(&old) {
            self.names.remove(&(domain.workspace, Kind::Domain, domain.doc.name.clone()));
        } else if let Some(account) = typed::<Account>(&old) {
            self.names.remove(&(account.workspace, Kind::Account, account.doc.dialect.clone()));
        } else if let Some(member) = typed::<Member>(&old) {
            self.names.remove(&(member.workspace, Kind::Member, fold_email(&member.doc.email)));
        } else if let Some(replay) = typed::<Replay>(&old)
            && let Some(request) = &replay.doc.request
        {
            self.names.remove(&(replay.workspace, Kind::Replay, request.key.clone()));
        }
    }
}

fn parse<R: Resource>(record: Record) -> Result<Entry<R>, EngineError> {
    let Record { number, id, workspace, version, created_ms, updated_ms, doc, .. } = record;
    match serde_json::from_value(doc) {
        Ok(doc) => Ok(Entry { number, id, workspace, version, created_ms, updated_ms, doc }),
        Err(source) => Err(EngineError::Document { kind: R::KIND.name(), id, source }),
    }
}
