//! Members: what they may do, who may change them, and who stays.

use posthaste_domain::people::{Actor, Role};
use posthaste_server::Principal;
use posthaste_server::people::{Login, PeopleError};
use serde_json::{Value, json};

use crate::people::{home, is_signed_in, set_up, sign_in};
use crate::rig::{Rig, id, ids};

/// The member as one who acts in the first workspace with this role.
fn acting(rig: &Rig, role: Role) -> Principal {
    let actor = Actor::Member { id: "mbr_bob".into(), name: "Bob".into() };
    Principal::member(rig.engine.workspaces()[0], role, actor, None)
}

async fn add(rig: &Rig, email: &str, role: &str) -> String {
    id(&rig.post("/members", json!({"name": "Bob", "email": email, "role": role})).await.expect(201))
}

#[tokio::test]
async fn a_member_does_not_rule() {
    let rig = Rig::new().await;
    set_up(&rig).await;
    let own = ids(&rig.get("/members").await.expect(200)).remove(0);
    let before = [rig.get("/keys").await.bytes, rig.get("/members").await.bytes, rig.get("/audit").await.bytes];
    let bob = || acting(&rig, Role::Member);
    let person = json!({"name": "Eve", "email": "eve@example.com", "role": "administrator"});
    for (method, path, body) in [
        ("GET", "/keys".to_owned(), Value::Null),
        ("POST", "/keys".to_owned(), json!({"kind": "private"})),
        ("GET", "/members".to_owned(), Value::Null),
        ("POST", "/members".to_owned(), person),
        ("POST", "/members/setup-link".to_owned(), Value::Null),
        ("GET", format!("/members/{own}"), Value::Null),
        ("PATCH", format!("/members/{own}"), json!({"role": "member"})),
        ("DELETE", format!("/members/{own}"), Value::Null),
        ("POST", format!("/members/{own}/link"), Value::Null),
        ("GET", format!("/members/{own}/sessions"), Value::Null),
        ("DELETE", format!("/members/{own}/sessions"), Value::Null),
        ("GET", "/audit".to_owned(), Value::Null),
        ("GET", "/workspaces".to_owned(), Value::Null),
        ("POST", "/workspaces".to_owned(), json!({"name": "Mine"})),
    ] {
        let refused = rig.call_as(bob(), method, &path, body).await;
        assert_eq!((refused.problem().0, refused.problem().1.as_str()), (403, "scope_missing"), "{method} {path}");
        assert!(refused.text().contains("your role"), "{}", refused.text());
    }
    let after = [rig.get("/keys").await.bytes, rig.get("/members").await.bytes, rig.get("/audit").await.bytes];
    assert_eq!(before, after, "something was changed");

    // The rest is open to it.
    let target = json!({"name": "t", "channel": "webhook", "settings": {"url": "http://receiver.test/ok"}});
    let made = rig.call_as(bob(), "POST", "/targets", target).await.expect(201);
    rig.call_as(bob(), "POST", "/events", json!({"type": "a", "data": 1})).await.expect(202);
    rig.call_as(bob(), "GET", "/events", Value::Null).await.expect(200);
    let entry = &rig.get("/audit?actor=mbr_bob").await.expect(200)["items"][0];
    assert_eq!((&entry["actor"], &entry["resource"]["id"]), (&json!({"type": "member", "id": "mbr_bob", "name": "Bob"}), &made["id"]));

    // An administrator may.
    rig.call_as(acting(&rig, Role::Administrator), "POST", "/keys", json!({"kind": "private"})).await.expect(201);
}

#[tokio::test]
async fn the_last_administrator_of_a_workspace_stays() {
    let rig = Rig::new().await;
    set_up(&rig).await;
    let ann = ids(&rig.get("/members").await.expect(200)).remove(0);
    let bob = add(&rig, "bob@example.com", "member").await;
    let path = format!("/members/{ann}");
    for (body, field) in [(json!({"role": "member"}), "role"), (json!({"disabled": true}), "disabled")] {
        let refused = rig.call("PATCH", &path, body).await;
        assert_eq!(refused.problem(), (409, "wrong_state".into(), Some(field.into())));
    }
    assert_eq!(rig.call("DELETE", &path, Value::Null).await.problem().1, "wrong_state");
    assert_eq!(rig.get(&path).await.expect(200)["role"], "administrator");
    // With another one it may go, and a disabled one does not count.
    rig.call("PATCH", &format!("/members/{bob}"), json!({"role": "administrator", "disabled": true})).await.expect(200);
    assert_eq!(rig.call("DELETE", &path, Value::Null).await.problem().1, "wrong_state");
    rig.call("PATCH", &format!("/members/{bob}"), json!({"disabled": false})).await.expect(200);
    rig.call("PATCH", &path, json!({"role": "member"})).await.expect(200);
    assert_eq!(rig.call("DELETE", &format!("/members/{bob}"), Value::Null).await.problem().1, "wrong_state");
    rig.call("DELETE", &path, Value::Null).await.expect(204);
    assert_eq!(ids(&rig.get("/members").await.expect(200)), [bob]);
}

#[tokio::test]
async fn bad_members_are_refused_with_the_field() {
    let rig = Rig::new().await;
    let bob = add(&rig, "Bob@example.com", "administrator").await;
    let person = |name: &str, email: &str, role: &str| json!({"name": name, "email": email, "role": role});
    for (body, status, field) in [
        (person("", "a@example.com", "member"), 422, "name"),
        (person("A\u{7}", "a@example.com", "member"), 422, "name"),
        (person("A", "a.example.com", "member"), 422, "email"),
        (person("A", "", "member"), 422, "email"),
        (person("A", "a@example.com", "owner"), 422, "role"),
        (person("A", " bob@EXAMPLE.com", "member"), 409, "email"),
    ] {
        let refused = rig.post("/members", body.clone()).await;
        assert_eq!((refused.problem().0, refused.problem().2.as_deref()), (status, Some(field)), "{body}");
    }
    let eve = add(&rig, "eve@example.com", "member").await;
    for (body, status, field) in [
        (json!({"email": "bob@example.com"}), 409, "email"),
        (json!({"email": "nobody"}), 422, "email"),
        (json!({"name": null}), 422, "name"),
        (json!({"role": "king"}), 422, "role"),
        (json!({"disabled": "yes"}), 422, "disabled"),
        (json!({"has_password": true}), 422, "has_password"),
        (json!({"password": "a new password"}), 422, "password"),
    ] {
        let refused = rig.call("PATCH", &format!("/members/{eve}"), body.clone()).await;
        assert_eq!((refused.problem().0, refused.problem().2.as_deref()), (status, Some(field)), "{body}: {}", refused.text());
    }
    // What was read may be sent back.
    let read = rig.get(&format!("/members/{eve}")).await.expect(200);
    rig.call("PATCH", &format!("/members/{eve}"), read).await.expect(200);
    let found = rig.get("/members?search=BOB@").await.expect(200);
    assert_eq!(ids(&found), [bob]);
}

// Somebody with a role in two workspaces is not taken over from the smaller one.
#[tokio::test]
async fn a_member_of_two_workspaces_is_ruled_from_the_first() {
    let rig = Rig::new().await;
    set_up(&rig).await;
    let ann = ids(&rig.get("/members").await.expect(200)).remove(0);
    let made = rig.post("/workspaces", json!({"name": "Other"})).await.expect(201);
    let token = made["token"].as_str().expect("a token");
    let other = async |method: &str, path: &str, body: Value| {
        let headers = [("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        rig.raw(method, &format!("/posthaste/v1{path}"), token, &headers, body).await
    };
    let path = format!("/members/{ann}");
    assert_eq!(other("GET", &path, Value::Null).await.problem().1, "not_found", "without a role there she is nobody");
    assert_eq!(other("GET", "/members", Value::Null).await.expect(200)["items"], json!([]));

    let joined = json!({"name": "Somebody", "email": "ANN@example.com", "role": "member"});
    let joined = other("POST", "/members", joined).await.expect(201);
    assert_eq!(
        (&joined["name"], &joined["role"], &joined["link"], &joined["url"]),
        (&json!("Ann"), &json!("member"), &json!(null), &json!(null))
    );
    for (method, path, body) in [
        ("PATCH", path.clone(), json!({"email": "eve@example.com"})),
        ("PATCH", path.clone(), json!({"name": "Eve"})),
        ("PATCH", path.clone(), json!({"disabled": true})),
        ("POST", format!("{path}/link"), Value::Null),
        ("GET", format!("{path}/sessions"), Value::Null),
        ("DELETE", format!("{path}/sessions"), Value::Null),
        ("POST", "/members/setup-link".to_owned(), Value::Null),
    ] {
        assert_eq!(other(method, &path, body).await.problem().1, "scope_missing", "{method} {path}");
    }
    // Its own role it gives and takes, and the first workspace hears nothing of it.
    let before = rig.get("/audit").await.text().to_owned();
    assert_eq!(other("PATCH", &path, json!({"role": "administrator"})).await.expect(200)["role"], "administrator");
    assert_eq!(rig.get(&path).await.expect(200)["role"], "administrator");
    other("PATCH", &path, json!({"role": "member"})).await.problem();
    let second = json!({"name": "Carl", "email": "carl@example.com", "role": "administrator"});
    other("POST", "/members", second).await.expect(201);
    other("DELETE", &path, Value::Null).await.expect(204);
    assert_eq!(rig.get("/audit").await.text(), before, "roles in another workspace show");
    assert_eq!(rig.get(&path).await.expect(200)["name"], "Ann");
    assert_eq!(other("GET", &path, Value::Null).await.problem().1, "not_found");
    let log = other("GET", "/audit?kind=member", Value::Null).await.expect(200);
    assert_eq!(log["items"].as_array().map(Vec::len), Some(4), "{log}");
}

// Whoever invites an address first chooses its password, perhaps: that must not open another workspace.
#[tokio::test]
async fn nobody_is_taken_in_with_a_password_that_another_workspace_chose() {
    let rig = Rig::new().await;
    set_up(&rig).await;
    let made = rig.post("/workspaces", json!({"name": "Other"})).await.expect(201);
    let third = rig.post("/workspaces", json!({"name": "Third"})).await.expect(201);
    let invite = async |workspace: &Value| {
        let token = workspace["token"].as_str().expect("a token");
        let body = json!({"name": "Carol", "email": "carol@example.com", "role": "administrator"}).to_string();
        rig.raw("POST", "/posthaste/v1/members", token, &[("content-type", "application/json")], body).await
    };
    let carol = invite(&made).await.expect(201);
    let url = carol["url"].as_str().expect("a link").to_owned();
    let token = url.split("token=").nth(1).expect("a token");
    let people = rig.state.people();
    let Ok(Login::Done(session)) = people.use_link(token, "chosen by somebody else", &home()).await else { panic!("the link works") };

    let refused = invite(&third).await.problem();
    assert_eq!(refused.1, "duplicate", "a third workspace does not take her in");
    let invited = json!({"name": "Carol", "email": "Carol@example.com", "role": "member"});
    let joined = rig.post("/members", invited).await.expect(201);
    assert_eq!((&joined["id"], &joined["has_password"]), (&carol["id"], &json!(false)));
    assert!(joined["url"].is_string(), "a link of the first workspace's own");
    assert!(!is_signed_in(people, &session).await);
    assert!(matches!(sign_in(&rig, "carol@example.com", "chosen by somebody else").await, Err(PeopleError::Wrong)));
}
