//! Members, and what was done by whom.

use std::sync::Arc;

use posthaste_domain::people::audit::{self, Version};
use posthaste_domain::people::{Actor, INSTALLATION, Member, check_email};
use posthaste_domain::resource::{Key, Kind, Workspace};
use posthaste_store::{AuditFilter, AuditRecord, Change, StoreError};
use serde_json::Value;

use crate::catalogue::{Catalogue, Entry};
use crate::engine::Engine;
use crate::error::ResourceError;
use crate::manage::{Context, Managed, check_name};

/// Most members of an installation.
const MAX_MEMBERS: usize = 10_000;

impl Engine {
    /// This engine in the hands of somebody: what is changed through the handle is recorded as theirs.
    #[must_use]
    pub fn by(&self, actor: Actor) -> Self {
        self.held_by(actor)
    }

    /// This engine in the hands of a program with a key.
    #[must_use]
    pub fn by_key(&self, key: &Entry<Key>) -> Self {
        self.by(Actor::Key { id: key.id.clone(), description: key.doc.description.clone() })
    }

    /// All members, oldest first.
    pub fn people(&self) -> Vec<Arc<Entry<Member>>> {
        self.list(INSTALLATION)
    }

    /// The member of an id.
    pub fn member(&self, id: &str) -> Option<Arc<Entry<Member>>> {
        self.get(INSTALLATION, id)
    }

    /// The member of a folded e-mail address.
    pub fn member_by_email(&self, folded: &str) -> Option<Arc<Entry<Member>>> {
        self.inner().catalogue.named(INSTALLATION, folded)
    }

    /// Numbers of the workspaces in which a member has a role.
    pub fn workspaces_of(&self, member: &Member) -> Vec<i64> {
        let has_role = |number: &i64| self.id_of(*number).is_some_and(|id| member.role(&id).is_some());
        self.workspaces().into_iter().filter(has_role).collect()
    }

    /// Makes a member. It is in force when this returns.
    ///
    /// # Errors
    /// The field at fault: the address is taken, say.
    pub async fn create_member(&self, doc: Member) -> Result<Arc<Entry<Member>>, ResourceError> {
        self.create(INSTALLATION, doc).await
    }

    /// Makes the first member, and gives the workspace that it rules its name; refused when there is one.
    pub async fn create_first_member(&self, organisation: String, doc: Member) -> Result<Arc<Entry<Member>>, ResourceError> {
        let workspace = self.workspaces().first().and_then(|number| self.by_number::<Workspace>(*number)).ok_or(ResourceError::NotFound)?;
        let made = self.create_if(INSTALLATION, doc, |catalogue| match catalogue.count(INSTALLATION, Kind::Member) {
            0 => Ok(()),
            _ => Err(ResourceError::State { reason: "there is a member already" }),
        });
        let member = made.await?;
        if !organisation.trim().is_empty() && organisation != workspace.doc.name {
            let by = self.by(member.doc.actor(&member.id));
            let renamed = Workspace { name: organisation, ..workspace.doc.clone() };
            by.update(workspace.number, &workspace.id, None, renamed).await?;
        }
        Ok(member)
    }

    /// Changes a member. `change` gets what is stored now, while nobody else can change anything. No workspace that somebody rules may be left
    /// with nobody who does.
    pub async fn change_member(
        &self,
        id: &str,
        change: impl Fn(&Member) -> Result<Member, ResourceError> + Send + 'static,
    ) -> Result<Arc<Entry<Member>>, ResourceError> {
        loop {
            let entry = self.member(id).ok_or(ResourceError::NotFound)?;
            let doc = change(&entry.doc)?;
            if doc == entry.doc {
                // As far as this node has heard.
                self.inner().catalogue.hear().await?;
                match self.member(id) {
                    Some(now) if now.version == entry.version => return Ok(entry),
                    _ => continue,
                }
            }
            match self.update(INSTALLATION, id, Some(entry.version), doc).await {
                Err(ResourceError::Conflict { .. }) => {}
                other => return other,
            }
        }
    }

    /// Puts another document in the place of a member's, if it is still the one that was read.
    pub async fn replace_member(&self, read: &Entry<Member>, doc: Member) -> Result<Arc<Entry<Member>>, ResourceError> {
        self.update(INSTALLATION, &read.id, Some(read.version), doc).await
    }

    /// Deletes a member and ends its sessions. The last administrator of a workspace stays.
    pub async fn delete_member(&self, id: &str) -> Result<(), ResourceError> {
        let entry = self.member(id).ok_or(ResourceError::NotFound)?;
        self.delete_if::<Member>(INSTALLATION, id, |catalogue, entry| keep_administrators(catalogue, entry, None)).await?;
        self.end_sessions(&entry, false, |_| true).await.map(drop)
    }

    /// Entries of the audit log of a workspace, newest first, behind the entry with this number.
    pub async fn audit(
        &self,
        workspace: i64,
        filter: AuditFilter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        self.inner().catalogue.store().audit(workspace, filter, before, limit).await
    }
}

/// Refuses what would leave a workspace without an administrator that has one now.
fn keep_administrators(catalogue: &Catalogue, entry: &Entry<Member>, after: Option<&Member>) -> Result<(), ResourceError> {
    for (workspace, _) in entry.doc.roles.iter().filter(|(id, _)| entry.doc.administers(id)) {
        if after.is_some_and(|after| after.administers(workspace)) {
            continue;
        }
        // A workspace that is gone needs nobody.
        let lives = catalogue.workspaces().into_iter().any(|number| catalogue.id_of(number).as_ref() == Some(workspace));
        let others = catalogue.list::<Member>(INSTALLATION);
        if lives && !others.iter().any(|other| other.id != entry.id && other.doc.administers(workspace)) {
            return Err(ResourceError::State { reason: "this is the last administrator of the workspace; make somebody else one first" });
        }
    }
    Ok(())
}

impl Managed for Member {
    fn check(&mut self, context: &Context<'_>) -> Result<(), ResourceError> {
        if context.own.is_none() && context.catalogue.count(INSTALLATION, Kind::Member) >= MAX_MEMBERS {
            return Err(ResourceError::Limit { what: "members", limit: MAX_MEMBERS });
        }
        self.name = self.name.trim().to_owned();
        self.email = self.email.trim().to_owned();
        check_name(&self.name)?;
        check_email(&self.email).map_err(|reason| ResourceError::invalid("email", reason))?;
        let other = context.catalogue.named::<Self>(INSTALLATION, &posthaste_domain::people::fold_email(&self.email));
        if other.is_some_and(|other| Some(other.number) != context.own) {
            return Err(ResourceError::Duplicate { field: "email" });
        }
        if self.roles.is_empty() {
            return Err(ResourceError::invalid("role", "a member needs a role in a workspace"));
        }
        match context.own.and_then(|number| context.catalogue.by_number::<Self>(number)) {
            Some(old) => keep_administrators(context.catalogue, &old, Some(self)),
            None => Ok(()),
        }
    }
}

/// The entries of the audit log that belong to changes.
pub(crate) fn entries(catalogue: &Catalogue, actor: &Actor, changes: &[Change]) -> Vec<audit::Entry> {
    let mut entries = Vec::new();
    for change in changes {
        let (kind, id, workspace, before, after, at_ms) = match change {
            Change::Create { id, kind, workspace, doc, secrets, at_ms } => {
                (*kind, id.clone(), *workspace, None, Some((doc.clone(), secrets.clone())), *at_ms)
            }
            Change::Update { number, doc, secrets, at_ms, .. } => {
                let Some(stored) = catalogue.stored(*number) else { continue };
                (stored.kind, stored.id, Some(stored.workspace), Some(stored.document), Some((doc.clone(), secrets.clone())), *at_ms)
            }
            Change::Delete { number, at_ms } => {
                let Some(stored) = catalogue.stored(*number) else { continue };
                (stored.kind, stored.id, Some(stored.workspace), Some(stored.document), None, *at_ms)
            }
        };
        if !audit::is_recorded(kind, actor) {
            continue;
        }
        let fields = audit::changes(
            before.as_ref().map(|(doc, secrets)| Version { doc, secrets }),
            after.as_ref().map(|(doc, secrets)| Version { doc, secrets }),
        );
        let (old, new) = (before.as_ref().map(|(doc, _)| doc), after.as_ref().map(|(doc, _)| doc));
        let is_nothing = old.is_some() && new.is_some() && fields.is_empty();
        if is_nothing || audit::is_log_in(kind, old, new, &fields) {
            continue;
        }
        let name = new.or(old).map(audit::name_of).unwrap_or_default();
        let action = audit::action_of(kind, old, new, &fields);
        let entry = audit::Entry { at_ms, workspace, actor: actor.clone(), action, kind: kind.name().to_owned(), id, name, fields };
        if kind == Kind::Member {
            entries.extend(for_each_workspace(catalogue, &entry, old, new));
        } else {
            entries.push(entry);
        }
    }
    entries
}

/// A change of a member concerns every workspace in which it has or had a role, and each hears nothing of the roles in the others.
fn for_each_workspace(catalogue: &Catalogue, entry: &audit::Entry, old: Option<&Value>, new: Option<&Value>) -> Vec<audit::Entry> {
    let has_role = |doc: Option<&Value>, id: &str| doc.and_then(|doc| doc.get("roles")?.get(id)).is_some();
    let concerned = catalogue.workspaces().into_iter().filter_map(|number| Some((number, catalogue.id_of(number)?)));
    let concerned = concerned.filter(|(_, id)| has_role(old, id) || has_role(new, id));
    let for_one = |(number, id): (i64, String)| {
        let mut entry = audit::Entry { workspace: Some(number), ..entry.clone() };
        let own = format!("roles.{id}");
        entry.fields.retain(|field| !field.field.starts_with("roles.") || field.field == own);
        (!entry.fields.is_empty() || new.is_none()).then_some(entry)
    };
    concerned.filter_map(for_one).collect()
}
