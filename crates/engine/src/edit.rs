//! Changes of several resources at once: what a dialect calls one thing is often a target and some subscriptions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use posthaste_domain::id;
use posthaste_domain::resource::{Account, Domain, Kind, Resource, Subscription, Target, TemplateDoc};
use posthaste_store::Change;

use crate::catalogue::{Catalogue, Entry};
use crate::engine::Engine;
use crate::error::ResourceError;
use crate::manage::Managed;
use crate::ops::to_value;

/// What a plan may look at: the resources of its workspace, which do not change while it thinks.
pub struct Desk<'a> {
    catalogue: &'a Catalogue,
    workspace: i64,
    now_ms: i64,
}

impl Desk<'_> {
    /// All of a kind, oldest first.
    pub fn list<R: Resource>(&self) -> Vec<Arc<Entry<R>>> {
        self.catalogue.list(self.workspace)
    }

    /// One by its id.
    pub fn get<R: Resource>(&self, id: &str) -> Option<Arc<Entry<R>>> {
        self.catalogue.get(self.workspace, id)
    }

    /// The event type or domain of a name, or the account in a dialect.
    pub fn named<R: Resource>(&self, name: &str) -> Option<Arc<Entry<R>>> {
        self.catalogue.named(self.workspace, name)
    }

    /// Now.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// A fresh id.
    pub fn new_id<R: Resource>(&self) -> String {
        id::resource_id(R::KIND.prefix(), self.now_ms, rand::random())
    }
}

/// One change of a plan.
#[derive(Debug)]
pub struct Edit {
    step: Step,
    /// Where its document stands in what the caller was asked for.
    place: Option<&'static str>,
}

#[derive(Debug)]
enum Step {
    Target(String, Box<Target>),
    Template(String, Box<TemplateDoc>),
    Subscription(String, Box<Subscription>),
    Account(String, Box<Account>),
    Domain(String, Box<Domain>),
    Delete(String),
}

impl Edit {
    fn new(step: Step) -> Self {
        Self { step, place: None }
    }

    /// Refusals name fields below this one.
    #[must_use]
    pub fn at(self, place: &'static str) -> Self {
        Self { place: Some(place), ..self }
    }

    /// Creates the target, or replaces the one with this id.
    pub fn target(id: impl Into<String>, doc: Target) -> Self {
        Self::new(Step::Target(id.into(), Box::new(doc)))
    }

    /// Creates the template, or replaces the one with this id.
    pub fn template(id: impl Into<String>, doc: TemplateDoc) -> Self {
        Self::new(Step::Template(id.into(), Box::new(doc)))
    }

    /// Creates the subscription, or replaces the one with this id. Its target and its template may stand before it in the plan.
    pub fn subscription(id: impl Into<String>, doc: Subscription) -> Self {
        Self::new(Step::Subscription(id.into(), Box::new(doc)))
    }

    /// Creates the account, or replaces the one with this id.
    pub fn account(id: impl Into<String>, doc: Account) -> Self {
        Self::new(Step::Account(id.into(), Box::new(doc)))
    }

    /// Creates the domain, or replaces the one with this id.
    pub fn domain(id: impl Into<String>, doc: Domain) -> Self {
        Self::new(Step::Domain(id.into(), Box::new(doc)))
    }

    /// Deletes the target, subscription, account or domain with this id. A target goes after its subscriptions.
    pub fn delete(id: impl Into<String>) -> Self {
        Self::new(Step::Delete(id.into()))
    }
}

impl Engine {
    /// Carries out a plan: all of it, durably, or nothing. The plan runs while nobody else can change anything, so what it looks up (that
    /// a name is free, that a limit is not reached) holds when its changes are made. They are in force when this returns.
    ///
    /// # Errors
    /// What the plan answers, or what is wrong with a document in it.
    pub async fn edit(
        &self,
        workspace: i64,
        plan: impl FnOnce(&Desk<'_>) -> Result<Vec<Edit>, ResourceError> + Send + 'static,
    ) -> Result<(), ResourceError> {
        let engine = self.clone();
        let change = async move {
            let at_ms = engine.now_ms();
            let mut kinds = Vec::new();
            let write = |catalogue: &Catalogue| {
                let edits = plan(&Desk { catalogue, workspace, now_ms: at_ms })?;
                let fresh = Fresh::default();
                let mut draft = Draft { engine: &engine, catalogue, workspace, at_ms, fresh, gone: Vec::new(), changes: Vec::new() };
                for Edit { step, place } in edits {
                    kinds.push(draft.take(step).map_err(|error| error.below(place))?);
                }
                Ok(draft.changes)
            };
            let numbers = engine.inner().catalogue.write(engine.actor(), write).await?;
            for (kind, number) in kinds.into_iter().zip(numbers) {
                engine.refresh_kind(kind, number).await;
            }
            Ok(())
        };
        self.to_the_end(change).await
    }
}

/// What a plan has put so far and later parts of it may name.
#[derive(Default)]
pub(crate) struct Fresh {
    /// Targets by id.
    pub(crate) targets: HashMap<String, Target>,
    /// Ids of templates.
    pub(crate) templates: HashSet<String>,
}

/// A plan on its way to become changes of the catalog.
struct Draft<'a> {
    engine: &'a Engine,
    catalogue: &'a Catalogue,
    workspace: i64,
    at_ms: i64,
    fresh: Fresh,
    /// Ids that this plan deletes.
    gone: Vec<String>,
    changes: Vec<Change>,
}

impl Draft<'_> {
    fn take(&mut self, step: Step) -> Result<Kind, ResourceError> {
        match step {
            Step::Target(id, doc) => {
                let doc = self.put(id.clone(), *doc)?;
                self.fresh.targets.insert(id, doc);
                Ok(Kind::Target)
            }
            Step::Template(id, doc) => {
                self.put(id.clone(), *doc)?;
                self.fresh.templates.insert(id);
                Ok(Kind::Template)
            }
            Step::Subscription(id, doc) => self.put(id, *doc).map(|_| Kind::Subscription),
            Step::Account(id, doc) => self.put(id, *doc).map(|_| Kind::Account),
            Step::Domain(id, doc) => self.put(id, *doc).map(|_| Kind::Domain),
            Step::Delete(id) => self.delete(id),
        }
    }

    fn put<R: Managed>(&mut self, id: String, mut doc: R) -> Result<R, ResourceError> {
        let existing = self.catalogue.get::<R>(self.workspace, &id);
        let own = existing.as_ref().map(|entry| entry.number);
        doc.check(&self.engine.context(self.catalogue, &self.fresh, self.workspace, own))?;
        let (secrets, value, at_ms) = (doc.secret_pointers(), to_value(&doc)?, self.at_ms);
        self.changes.push(match own {
            Some(number) => Change::Update { number, version: None, doc: value, secrets, at_ms },
            None => Change::Create { id, kind: R::KIND, workspace: Some(self.workspace), doc: value, secrets, at_ms },
        });
        Ok(doc)
    }

    fn delete(&mut self, id: String) -> Result<Kind, ResourceError> {
        let (catalogue, workspace) = (self.catalogue, self.workspace);
        let found = |kind, number| (kind, number);
        let target = || catalogue.get::<Target>(workspace, &id).map(|e| found(Kind::Target, e.number));
        let subscription = || catalogue.get::<Subscription>(workspace, &id).map(|e| found(Kind::Subscription, e.number));
        let account = || catalogue.get::<Account>(workspace, &id).map(|e| found(Kind::Account, e.number));
        let domain = || catalogue.get::<Domain>(workspace, &id).map(|e| found(Kind::Domain, e.number));
        let (kind, number) = target().or_else(subscription).or_else(account).or_else(domain).ok_or(ResourceError::NotFound)?;
        if kind == Kind::Target {
            let uses = |s: &Arc<Entry<Subscription>>| s.doc.target_id == id && !self.gone.contains(&s.id);
            if let Some(user) = catalogue.list::<Subscription>(workspace).into_iter().find(uses) {
                return Err(ResourceError::InUse { by: user.id.clone() });
            }
        }
        self.changes.push(Change::Delete { number, at_ms: self.at_ms });
        self.gone.push(id);
        Ok(kind)
    }
}
