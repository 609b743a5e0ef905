//! Addresses that nothing more is sent to.

use super::{Factory, Store};
use crate::{Suppression, SuppressionReason};

fn one(scope: &str, address: &str, reason: SuppressionReason, at_ms: i64) -> Suppression {
    Suppression { scope: scope.into(), address: address.into(), reason, at_ms }
}

async fn addresses(store: &Store, scope: Option<&str>, after: Option<(&str, &str)>, limit: usize) -> Vec<String> {
    let after = after.map(|(scope, address)| (scope.to_owned(), address.to_owned()));
    let list = store.suppressions.suppressions(1, scope.map(str::to_owned), after, limit).await.expect("list");
    list.into_iter().map(|found| format!("{} {}", found.scope, found.address)).collect()
}

/// They are found without regard to case, belong to one workspace and scope, are listed by pages, and survive a restart.
pub async fn suppressions_are_kept(open: &impl Factory) {
    use SuppressionReason::{Bounce, Complaint, Unsubscribe};
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let put = async |workspace, suppression| store.suppressions.suppress(workspace, suppression).await.expect("suppress");
    put(1, one("D.example", "Bob@X.example", Bounce, 5)).await;
    put(1, one("d.example", "bob@x.example", Complaint, 9)).await;
    put(1, one("d.example", "ann@x.example", Unsubscribe, 6)).await;
    put(1, one("sms", "+15550100", Unsubscribe, 7)).await;
    put(1, one("a.example", "zed@x.example", Bounce, 8)).await;
    put(2, one("d.example", "cy@x.example", Bounce, 8)).await;

    let find = async |store: &Store, workspace, scopes: &[&str], addresses: &[&str]| {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        store.suppressions.suppressed(workspace, owned(scopes), owned(addresses)).await.expect("suppressed")
    };
    let bob = one("d.example", "bob@x.example", Complaint, 5);
    assert_eq!(find(&store, 1, &["d.EXAMPLE"], &["cy@x.example", "BOB@x.example"]).await, [None, Some(bob.clone())]);
    assert_eq!(find(&store, 1, &["b.example"], &["bob@x.example"]).await, [None]);
    assert_eq!(find(&store, 2, &["d.example"], &["bob@x.example"]).await, [None]);
    let found = find(&store, 1, &["sms:shop", "sms"], &["+15550100"]).await;
    assert_eq!(found, [Some(one("sms", "+15550100", Unsubscribe, 7))]);

    let all = ["a.example zed@x.example", "d.example ann@x.example", "d.example bob@x.example", "sms +15550100"];
    assert_eq!(addresses(&store, None, None, 10).await, all);
    assert_eq!(addresses(&store, None, None, 2).await, all[..2]);
    assert_eq!(addresses(&store, None, Some(("d.example", "ann@x.example")), 10).await, all[2..]);
    assert_eq!(addresses(&store, Some("D.example"), None, 10).await, all[1..3]);
    assert_eq!(addresses(&store, Some("d.example"), Some(("d.example", "ann@x.example")), 10).await, all[2..3]);
    assert_eq!(addresses(&store, Some("d.example"), Some(("a.example", "zed@x.example")), 10).await, all[1..3]);
    assert!(addresses(&store, Some("d.example"), Some(("sms", "+15550100")), 10).await.is_empty());

    assert!(store.suppressions.unsuppress(1, "d.Example", "ANN@x.example").await.expect("unsuppress"));
    assert!(!store.suppressions.unsuppress(1, "d.example", "ann@x.example").await.expect("unsuppress"));
    store.journal.close().await;
    let store = open(dir.path()).await;
    assert_eq!(addresses(&store, Some("d.example"), None, 10).await, ["d.example bob@x.example"]);
    assert_eq!(find(&store, 1, &["d.example"], &["bob@x.example"]).await, [Some(bob)]);
    store.journal.close().await;
}
