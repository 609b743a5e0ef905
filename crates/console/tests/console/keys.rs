//! Keys: made, shown once, limited, deleted; and who may not.

use posthaste_domain::resource::KeyKind;
use posthaste_engine::NewKey;
use serde_json::{Value, json};

use crate::rig::{Page, Rig};

/// The token on the page that shows it.
fn token(page: &Page) -> String {
    let from = page.text.find("phk_").expect("a token");
    page.text[from..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// Whether a key may read events.
async fn works(rig: &Rig, token: &str) -> u16 {
    let request = http::Request::builder().uri("/posthaste/v1/events").header("authorization", format!("Bearer {token}"));
    let request = request.body(axum::body::Body::empty()).expect("a request");
    tower::ServiceExt::oneshot(rig.app.clone(), request).await.expect("an answer").status().as_u16()
}

// MSGGO-13: a key that was deleted is refused at once.
#[tokio::test]
async fn a_key_is_made_shown_once_changed_and_deleted() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let page = browser.get("/console/keys").await.expect(200);
    page.has("New private key").has("New public key").is_inert();
    // Without a scope nothing is made, and what was typed is still there.
    let page = browser.get("/console/keys/new?kind=private").await.expect(200);
    page.has("value=\"publish\" checked").is_inert();
    let page = browser.post("/console/keys/new", &[("kind", "private"), ("description", "Shop <i>why")]).await.expect(422);
    page.has("role=\"alert\"").has("at least one of admin").has("value=\"Shop &lt;i&gt;why\"").is_inert();
    let fields = [("kind", "private"), ("description", "Shop <i>why"), ("scopes", "publish"), ("scopes", "read")];
    let page = browser.post("/console/keys/new", &fields).await.expect(200);
    let token = token(&page);
    page.has("shown this once").has("data-copy").is_inert();
    assert_eq!(works(&rig, &token).await, 200);
    let list = browser.get("/console/keys?search=shop").await.expect(200);
    list.has("Shop &lt;i&gt;why").has(&token[token.len() - 4..]).lacks(&token).is_inert();

    let keys = rig.api("GET", "/keys?search=shop", Value::Null).await;
    let path = format!("/console/keys/{}", keys["items"][0]["id"].as_str().expect("an id"));
    browser.get(&path).await.expect(200).lacks(&token).is_inert();
    let version = keys["items"][0]["version"].to_string();
    let fields = [("kind", "private"), ("version", version.as_str()), ("description", "Shop"), ("scopes", "publish")];
    assert_eq!(browser.post(&path, &fields).await.to(), "/console/keys?done=saved");
    assert_eq!(works(&rig, &token).await, 403, "it may only publish now");
    // Somebody else was faster.
    browser.post(&path, &fields).await.expect(422).has("role=\"alert\"").is_inert();

    browser.get(&format!("{path}/delete")).await.expect(200).has("Delete this key?").has("refused at once").is_inert();
    assert_eq!(browser.post(&format!("{path}/delete"), &[]).await.to(), "/console/keys?done=deleted");
    assert_eq!(works(&rig, &token).await, 401);
    browser.get(&path).await.expect(404).is_inert();
}

// MSGGO-49: a public key needs a domain.
#[tokio::test]
async fn a_public_key_needs_domains() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let page = browser.post("/console/keys/new", &[("kind", "public"), ("description", "Site"), ("allowed_domains", "")]).await.expect(422);
    page.has("needs at least one allowed domain").has("aria-invalid=\"true\"").is_inert();
    let fields = [("kind", "public"), ("description", "Site"), ("allowed_domains", "www.example.com\r\n*.example.org")];
    let page = browser.post("/console/keys/new", &fields).await.expect(200);
    page.has("/inbox").has("X-MsgGO-Key").is_inert();
    let keys = rig.api("GET", "/keys?search=site", Value::Null).await;
    assert_eq!(keys["items"][0]["allowed_domains"], json!(["www.example.com", "*.example.org"]));
}

// MSGGO-50: the 101st key is refused with a clear message; deleting one frees a place.
#[tokio::test]
async fn the_101st_key_is_refused() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let workspace = rig.state.engine.workspaces()[0];
    let mut last = None;
    for _ in 1..100 {
        last = Some(rig.state.engine.create_key(workspace, NewKey::new(KeyKind::Private)).await.expect("a key").0);
    }
    let fields = [("kind", "private"), ("description", "One more"), ("scopes", "publish")];
    let page = browser.post("/console/keys/new", &fields).await.expect(422);
    page.has("role=\"alert\"").has("100").has("value=\"One more\"").lacks("shown this once").is_inert();
    let list = browser.get("/console/keys").await.expect(200);
    list.has("rel=\"next\"").is_inert();
    browser.post(&format!("/console/keys/{}/delete", last.expect("a key").id), &[]).await.to();
    browser.post("/console/keys/new", &fields).await.expect(200).has("shown this once");
}

// MSGGO-51: who is no administrator cannot make keys, and does not see them.
#[tokio::test]
async fn members_neither_see_nor_make_keys() {
    let rig = Rig::new().await;
    rig.administrator().await;
    let mut member = rig.member().await;
    member.get("/console/inbox").await.expect(200).lacks("href=\"/console/keys\"");
    for path in ["/console/keys", "/console/keys/new", "/console/settings/workspace", "/console/settings/server"] {
        member.get(path).await.expect(403).has("For administrators").lacks("<form class=\"form\"").is_inert();
    }
    let before = rig.api("GET", "/keys", Value::Null).await["items"].as_array().map(Vec::len);
    let fields = [("kind", "private"), ("description", "Mine"), ("scopes", "admin")];
    member.post("/console/keys/new", &fields).await.expect(422).has("your role in this workspace").is_inert();
    assert_eq!(rig.api("GET", "/keys", Value::Null).await["items"].as_array().map(Vec::len), before);
}
