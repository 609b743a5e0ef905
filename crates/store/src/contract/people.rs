//! The audit log and the sessions.

use posthaste_domain::people::audit::{Action, Entry, FieldChange, SESSION};
use posthaste_domain::people::{Actor, Session};
use posthaste_domain::resource::Kind;
use serde_json::json;

use super::{Factory, Store};
use crate::{AuditFilter, AuditRecord, CatalogError, Change};

fn change(id: &str) -> Change {
    Change::Create { id: id.into(), kind: Kind::Workspace, workspace: None, doc: json!({"name": id}), secrets: Vec::new(), at_ms: 1 }
}

fn entry(workspace: Option<i64>, id: &str, at_ms: i64) -> Entry {
    let field = FieldChange { field: "name".into(), before: None, after: Some("\"ä\"".into()), secret: false };
    Entry {
        at_ms,
        workspace,
        actor: Actor::Key { id: "key_1".into(), description: "the shop".into() },
        action: Action::Create,
        kind: "target".into(),
        id: id.into(),
        name: "A target".into(),
        fields: vec![field],
    }
}

async fn listed(store: &Store, workspace: i64, filter: AuditFilter, before: Option<i64>, limit: usize) -> Vec<AuditRecord> {
    store.catalog.audit(workspace, filter, before, limit).await.expect("audit")
}

async fn all_ids(store: &Store, workspace: i64, filter: AuditFilter) -> Vec<String> {
    listed(store, workspace, filter, None, 1000).await.into_iter().map(|record| record.entry.id).collect()
}

/// Entries are there if and only if their change is, in the workspace that they name or that the change makes; also after a restart.
pub async fn audit_entries_belong_to_their_change(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let made = store.catalog.write(vec![change("wsp_1")], vec![entry(None, "wsp_1", 5)]).await.expect("write");
    let workspace = made[0].number;
    let kept = listed(&store, workspace, AuditFilter::default(), None, 10).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].entry, entry(Some(workspace), "wsp_1", 5), "it comes back as it was written");

    // The second change is refused: nothing of the whole stays, the entries included.
    let changes = vec![change("wsp_2"), Change::Delete { number: 99, at_ms: 1 }];
    let refused = store.catalog.write(changes, vec![entry(Some(workspace), "wsp_2", 6), entry(None, "wsp_2", 6)]).await;
    assert!(matches!(refused, Err(CatalogError::NotFound)), "{refused:?}");
    assert_eq!(all_ids(&store, workspace, AuditFilter::default()).await, ["wsp_1"]);
    assert_eq!(store.catalog.load().await.expect("load").len(), 1);
    store.journal.close().await;

    let store = open(dir.path()).await;
    assert_eq!(listed(&store, workspace, AuditFilter::default(), None, 10).await, kept);
    let deleted = Entry { action: Action::Delete, fields: Vec::new(), actor: Actor::Server, ..entry(Some(workspace), "wsp_1", 7) };
    store.catalog.write(vec![Change::Delete { number: workspace, at_ms: 7 }], vec![deleted.clone()]).await.expect("write");
    let after = listed(&store, workspace, AuditFilter::default(), None, 10).await;
    assert!(after[0].number > kept[0].number, "later entries have larger numbers");
    assert_eq!((&after[0].entry, &after[1]), (&deleted, &kept[0]), "what was deleted keeps its past");
    store.journal.close().await;
}

/// Pages go on below a number, filters hold one by one and together, other workspaces see nothing, and age takes entries away.
pub async fn audit_is_filtered_and_ends(open: &impl Factory) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let workspaces = store.catalog.write(vec![change("wsp_1"), change("wsp_2")], Vec::new()).await.expect("write");
    let (one, two) = (workspaces[0].number, workspaces[1].number);
    let member = Actor::Member { id: "mbr_1".into(), name: "Ann".into() };
    let entries = vec![
        entry(Some(one), "a", 10),
        Entry { actor: Actor::Server, action: Action::Disable, ..entry(Some(one), "b", 20) },
        Entry { actor: member.clone(), kind: "key".into(), ..entry(Some(one), "c", 30) },
        entry(Some(two), "d", 30),
        Entry { actor: member, action: Action::Update, ..entry(Some(one), "a", 40) },
    ];
    store.catalog.end_sessions(Vec::new(), entries).await.expect("write");
    let text = |text: &str| Some(text.to_owned());
    for (filter, expected) in [
        (AuditFilter::default(), &["a", "c", "b", "a"][..]),
        (AuditFilter { kind: text("key"), ..AuditFilter::default() }, &["c"]),
        (AuditFilter { actor: text("mbr_1"), ..AuditFilter::default() }, &["a", "c"]),
        (AuditFilter { actor: text("server"), ..AuditFilter::default() }, &["b"]),
        (AuditFilter { actor: text("member"), ..AuditFilter::default() }, &[]),
        (AuditFilter { action: Some(Action::Create), ..AuditFilter::default() }, &["c", "a"]),
        (AuditFilter { id: text("a"), ..AuditFilter::default() }, &["a", "a"]),
        (AuditFilter { from_ms: Some(20), to_ms: Some(40), ..AuditFilter::default() }, &["c", "b"]),
        (AuditFilter { id: text("a"), actor: text("key_1"), to_ms: Some(11), ..AuditFilter::default() }, &["a"]),
        (AuditFilter { kind: text("nothing"), ..AuditFilter::default() }, &[]),
    ] {
        assert_eq!(all_ids(&store, one, filter.clone()).await, expected, "{filter:?}");
    }
    assert_eq!(all_ids(&store, two, AuditFilter::default()).await, ["d"]);
    assert!(all_ids(&store, 99, AuditFilter::default()).await.is_empty());

    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = listed(&store, one, AuditFilter::default(), before, 1).await;
        let Some(last) = page.last() else { break };
        assert_eq!(page.len(), 1);
        before = Some(last.number);
        seen.push(last.entry.id.clone());
    }
    assert_eq!(seen, ["a", "c", "b", "a"]);

    assert_eq!(store.catalog.drop_audit(30).await.expect("drop"), 2);
    assert_eq!(all_ids(&store, one, AuditFilter::default()).await, ["a", "c"]);
    assert_eq!(store.catalog.drop_audit(30).await.expect("drop"), 0);
    store.journal.close().await;
}

/// Sessions outlive a restart; ending them tells the audit log in the same step; of a visit only its time is new.
pub async fn sessions_are_kept(open: &impl Factory) {
    let session = |id: &str| Session {
        id: id.into(),
        token_hash: format!("hash of {id}"),
        member: "mbr_1".into(),
        user_agent: "A browser/1.0 ä".into(),
        ip: "192.0.2.1".into(),
        created_ms: 10,
        seen_ms: 10,
    };
    let sorted = async |store: &Store| {
        let mut all = store.catalog.sessions().await.expect("sessions");
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    };
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let workspace = store.catalog.write(vec![change("wsp_1")], Vec::new()).await.expect("write")[0].number;
    for id in ["ses_1", "ses_2", "ses_3"] {
        store.catalog.put_session(session(id)).await.expect("put");
    }
    store.catalog.put_session(Session { seen_ms: 99, ..session("ses_2") }).await.expect("put");
    let seen = Session { seen_ms: 99, ..session("ses_2") };
    assert_eq!(sorted(&store).await, [session("ses_1"), seen.clone(), session("ses_3")]);
    store.journal.close().await;

    let store = open(dir.path()).await;
    assert_eq!(sorted(&store).await, [session("ses_1"), seen.clone(), session("ses_3")]);
    let revoked = Entry { action: Action::Revoke, kind: SESSION.into(), ..entry(Some(workspace), "ses_1", 50) };
    store.catalog.end_sessions(vec!["ses_1".into(), "ses_3".into(), "unknown".into()], vec![revoked]).await.expect("end");
    assert_eq!(all_ids(&store, workspace, AuditFilter::default()).await, ["ses_1"]);
    store.journal.close().await;

    let store = open(dir.path()).await;
    assert_eq!(sorted(&store).await, [seen]);
    store.journal.close().await;
}
