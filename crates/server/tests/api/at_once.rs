//! What several clients do at the same time.

use serde_json::{Value, json};

use crate::rig::Rig;

const TIMES: usize = 30;

/// Whoever names no version takes nothing back of what others change: neither a pause nor another field.
#[tokio::test]
async fn changes_of_several_clients_all_stay() {
    let rig = Rig::new().await;
    let path = format!("/targets/{}", rig.target("place").await);
    let field = async |name: &str| rig.get(&path).await.expect(200)[name].clone();
    let names = async {
        for time in 0..TIMES {
            let name = format!("name {time}");
            rig.call("PATCH", &path, json!({ "name": name })).await.expect(200);
            assert_eq!(field("name").await, name);
        }
    };
    let policies = async {
        for time in 1..=TIMES {
            rig.call("PATCH", &path, json!({ "policy": { "concurrency": time } })).await.expect(200);
            assert_eq!(field("policy").await["concurrency"], time);
        }
    };
    let pauses = async {
        for _ in 0..TIMES {
            for (action, status) in [("pause", "paused"), ("resume", "active")] {
                rig.post(&format!("{path}/{action}"), Value::Null).await.expect(200);
                assert_eq!(field("status").await, status);
            }
        }
    };
    tokio::join!(names, policies, pauses);
}

/// The account that the first readers make is the same for all of them, and settings that come at the same moment stay.
#[tokio::test]
async fn an_account_is_made_once() {
    let rig = Rig::new().await;
    let path = "/accounts/msgine";
    let chosen = rig.call("PUT", path, json!({ "settings": { "tier": "professional" } }));
    let (one, two, chosen, three) = tokio::join!(rig.get(path), rig.get(path), chosen, rig.get(path));
    let (one, two, chosen, three) = (one.expect(200), two.expect(200), chosen.expect(200), three.expect(200));
    let secret = &chosen["settings"]["webhook_secret"];
    for read in [&one, &two, &three, &rig.get(path).await.expect(200)] {
        assert_eq!(&read["settings"]["webhook_secret"], secret);
    }
    assert_eq!(rig.get(path).await.expect(200)["settings"]["tier"], "professional");
}
