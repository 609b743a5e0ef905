//! Who is signed in: sessions in memory, and behind them in the store.
//!
//! Invariants:
//! - A session that was begun, or whose end was answered, is so on disk as well.
//! - A visit is looked up in memory; the store hears of it once an hour at most.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use posthaste_domain::people::audit::{self, Action};
use posthaste_domain::people::{Lifetimes, MAX_SESSIONS, Member, Session};
use posthaste_store::{Catalog, Cluster, StoreError};
use tokio::sync::watch;

use crate::catalogue::Entry;
use crate::engine::Engine;
use crate::error::ResourceError;

/// All sessions of an installation.
pub(crate) struct Sessions {
    store: Arc<dyn Catalog>,
    cluster: Option<Arc<dyn Cluster>>,
    by_hash: RwLock<HashMap<String, Arc<Session>>>,
    /// Told when a session has ended.
    standing: watch::Sender<()>,
    /// Serialises writers: memory changes in the order of the store.
    writing: tokio::sync::Mutex<()>,
}

impl Sessions {
    pub(crate) async fn load(
        store: Arc<dyn Catalog>,
        cluster: Option<Arc<dyn Cluster>>,
        standing: watch::Sender<()>,
    ) -> Result<Self, StoreError> {
        let by_hash = RwLock::new(by_hash(store.sessions().await?));
        Ok(Self { store, cluster, by_hash, standing, writing: tokio::sync::Mutex::new(()) })
    }

    /// Looks up what other nodes changed.
    pub(crate) async fn hear(&self) -> Result<(), StoreError> {
        let _order = self.writing.lock().await;
        *self.by_hash.write() = by_hash(self.store.sessions().await?);
        self.standing.send_replace(());
        Ok(())
    }

    /// Waits until all nodes know of what was changed.
    async fn confirmed(&self) -> Result<(), StoreError> {
        match &self.cluster {
            Some(cluster) => cluster.confirmed().await,
            None => Ok(()),
        }
    }

    async fn put(&self, session: Session) -> Result<Arc<Session>, StoreError> {
        self.store.put_session(session.clone()).await?;
        let session = Arc::new(session);
        self.by_hash.write().insert(session.token_hash.clone(), Arc::clone(&session));
        Ok(session)
    }

    async fn end(&self, gone: &[Arc<Session>], entries: Vec<audit::Entry>) -> Result<(), StoreError> {
        if gone.is_empty() && entries.is_empty() {
            return Ok(());
        }
        self.store.end_sessions(gone.iter().map(|session| session.id.clone()).collect(), entries).await?;
        let mut by_hash = self.by_hash.write();
        for session in gone {
            by_hash.remove(&session.token_hash);
        }
        drop(by_hash);
        self.standing.send_replace(());
        Ok(())
    }
}

fn by_hash(all: Vec<Session>) -> HashMap<String, Arc<Session>> {
    all.into_iter().map(|session| (session.token_hash.clone(), Arc::new(session))).collect()
}

impl Engine {
    /// Changes when a session has ended, or a member or a workspace was changed: whoever shows something to somebody for long then looks whether
    /// they may still see it.
    pub fn standing(&self) -> watch::Receiver<()> {
        self.inner().catalogue.standing().subscribe()
    }

    /// The session whose token has this SHA-256, dead ones included.
    pub fn session(&self, token_hash: &str) -> Option<Arc<Session>> {
        self.inner().sessions.by_hash.read().get(token_hash).cloned()
    }

    /// The sessions of a member, the one that was seen last first.
    pub fn sessions_of(&self, member: &str) -> Vec<Arc<Session>> {
        let mut all: Vec<_> = self.inner().sessions.by_hash.read().values().filter(|session| session.member == member).cloned().collect();
        all.sort_unstable_by(|a, b| (b.seen_ms, &b.id).cmp(&(a.seen_ms, &a.id)));
        all
    }

    /// Begins a session. Of too many of one member the one that was seen longest ago ends.
    pub async fn begin_session(&self, session: Session) -> Result<Arc<Session>, ResourceError> {
        let engine = self.clone();
        let begin = async move {
            let sessions = &engine.inner().sessions;
            let order = sessions.writing.lock().await;
            let old = engine.sessions_of(&session.member);
            if old.len() >= MAX_SESSIONS {
                sessions.end(&old[MAX_SESSIONS - 1..], Vec::new()).await?;
            }
            let begun = sessions.put(session).await?;
            drop(order);
            sessions.confirmed().await?;
            Ok(begun)
        };
        self.to_the_end(begin).await
    }

    /// Notes that a session was seen now, if it is still there.
    pub async fn touch_session(&self, token_hash: &str) -> Result<(), ResourceError> {
        let (engine, token_hash) = (self.clone(), token_hash.to_owned());
        let touch = async move {
            let sessions = &engine.inner().sessions;
            let _order = sessions.writing.lock().await;
            let now_ms = engine.now_ms();
            if let Some(session) = engine.session(&token_hash).filter(|session| session.is_due(now_ms)) {
                sessions.put(Session { seen_ms: now_ms, ..(*session).clone() }).await?;
            }
            Ok(())
        };
        self.to_the_end(touch).await
    }

    /// Ends those sessions of a member that `which` chooses; answers how many. If somebody ends them who is not just leaving, the audit log tells.
    pub async fn end_sessions(
        &self,
        member: &Arc<Entry<Member>>,
        is_revoked: bool,
        which: impl Fn(&Session) -> bool + Send + 'static,
    ) -> Result<usize, ResourceError> {
        let (engine, member) = (self.clone(), Arc::clone(member));
        let end = async move {
            let sessions = &engine.inner().sessions;
            let order = sessions.writing.lock().await;
            let gone: Vec<_> = engine.sessions_of(&member.id).into_iter().filter(|session| which(session)).collect();
            let mut entries = Vec::new();
            for session in gone.iter().filter(|_| is_revoked) {
                for workspace in engine.workspaces_of(&member.doc) {
                    entries.push(audit::Entry {
                        at_ms: engine.now_ms(),
                        workspace: Some(workspace),
                        actor: engine.actor().clone(),
                        action: Action::Revoke,
                        kind: audit::SESSION.to_owned(),
                        id: session.id.clone(),
                        name: member.doc.name.clone(),
                        fields: Vec::new(),
                    });
                }
            }
            sessions.end(&gone, entries).await?;
            drop(order);
            sessions.confirmed().await?;
            Ok(gone.len())
        };
        self.to_the_end(end).await
    }

    /// Forgets sessions that are over, and those of members that are gone.
    pub async fn sweep_sessions(&self, lifetimes: Lifetimes) -> Result<usize, ResourceError> {
        let engine = self.clone();
        let sweep = async move {
            let sessions = &engine.inner().sessions;
            let _order = sessions.writing.lock().await;
            let now_ms = engine.now_ms();
            let all: Vec<_> = sessions.by_hash.read().values().cloned().collect();
            let over = |session: &Arc<Session>| !session.is_alive(lifetimes, now_ms) || engine.member(&session.member).is_none();
            let gone: Vec<_> = all.into_iter().filter(over).collect();
            sessions.end(&gone, Vec::new()).await?;
            Ok(gone.len())
        };
        self.to_the_end(sweep).await
    }
}
