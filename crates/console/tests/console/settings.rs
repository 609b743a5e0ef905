//! Settings: workspaces, dialects, and what the server runs with.

use serde_json::{Value, json};

use crate::rig::Rig;

#[tokio::test]
async fn workspaces_are_renamed_and_made() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    assert_eq!(browser.get("/console/settings").await.to(), "/console/settings/workspace");
    browser.get("/console/settings/workspace").await.expect(200).has("Acme &lt;b&gt;Corp").is_inert();
    browser.post("/console/settings/workspace", &[("name", "")]).await.expect(422).has("aria-invalid=\"true\"").is_inert();
    browser.post("/console/settings/workspace", &[("name", "Renamed <i>why")]).await.to();
    browser.get("/console/inbox").await.expect(200).has("Renamed &lt;i&gt;why").is_inert();
    let page = browser.post("/console/settings/workspaces/new", &[("name", "Second")]).await.expect(200);
    page.has("phk_").has("shown this once").is_inert();
    // Who made it may go there.
    let page = browser.get("/console/settings/workspaces").await.expect(200);
    page.has("Second").has("Go there").is_inert();
    let id = rig.api("GET", "/workspaces?search=second", Value::Null).await["items"][0]["id"].as_str().expect("an id").to_owned();
    browser.post("/console/workspace", &[("workspace", &id)]).await.to();
    browser.get("/console/keys").await.expect(200).has("First administrator").is_inert();
    // There an administrator does not rule the server: what is not for them is not offered, and whom to ask is said.
    browser.get("/console/settings/workspace").await.expect(200).lacks(">All workspaces<").lacks(">Server<");
    for path in ["/console/settings/server", "/console/settings/workspaces", "/console/settings/workspaces/new"] {
        let page = browser.get(path).await.expect(403);
        page.has("Ask an administrator of the first workspace").lacks("ask one of its administrators").lacks("name=\"name\"").is_inert();
    }
    browser.post("/console/settings/workspaces/new", &[("name", "Third")]).await.expect(403).has("first workspace");
    let mut member = rig.member().await;
    member.get("/console/settings/dialects").await.expect(200).lacks(">Server<");
    member.get("/console/settings/workspaces/new").await.expect(403).has("first workspace").lacks("name=\"name\"");
}

// MSGINE-64: the webhook secret is visible, and a new one is made on request.
#[tokio::test]
async fn dialects_keep_what_is_chosen() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/settings/dialects").await.expect(200).has("MsGine").has("Mailgun").has("MessageMedia").is_inert();
    let path = "/console/settings/dialects/msgine";
    browser.get(path).await.expect(200).has("whsec_").is_inert();
    let secret = rig.api("GET", "/accounts/msgine", Value::Null).await["settings"]["webhook_secret"].clone();
    let base =
        [("generation_1.price", "0.05"), ("generation_1.currency", "USD"), ("generation_2.price", "30"), ("generation_2.currency", "UGX")];
    let mut fields = vec![("sender_id", "My App"), ("tier", "free")];
    fields.extend(base);
    let page = browser.post(path, &fields).await.expect(422);
    page.has("letters and digits").has("value=\"My App\"").has("aria-invalid=\"true\"").is_inert();
    let mut fields = vec![("sender_id", "MyApp"), ("tier", "enterprise"), ("per_minute", "5000"), ("per_second", "300")];
    fields.extend(base);
    assert!(browser.post(path, &fields).await.to().ends_with("?done=saved"));
    let now = rig.api("GET", "/accounts/msgine", Value::Null).await;
    assert_eq!((&now["settings"]["per_minute"], &now["settings"]["webhook_secret"]), (&json!(5000), &secret));
    assert!(browser.post(&format!("{path}/secret"), &[]).await.to().ends_with("?done=rotated"));
    let then = rig.api("GET", "/accounts/msgine", Value::Null).await;
    assert_eq!(then["settings"]["per_minute"], json!(5000));
    assert_ne!(then["settings"]["webhook_secret"], secret);
    for dialect in ["mailgun", "messagemedia"] {
        browser.get(&format!("/console/settings/dialects/{dialect}")).await.expect(200).is_inert();
    }
    browser.post("/console/settings/dialects/messagemedia", &[("signature_keys", "true"), ("account_id", "acme")]).await.to();
    let account = rig.api("GET", "/accounts/messagemedia", Value::Null).await;
    assert_eq!((&account["settings"]["signature_keys"], &account["settings"]["account_id"]), (&json!(true), &json!("acme")));
    browser.get("/console/settings/dialects/nothing").await.expect(404).is_inert();
}

#[tokio::test]
async fn what_the_server_runs_with_is_listed() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let page = browser.get("/console/settings/server").await.expect(200);
    page.has("retention.age").has("POSTHASTE_RETENTION_AGE").has("posthaste check").is_inert();
    let page = browser.get("/console/settings/server?search=relay").await.expect(200);
    page.has("email.relay").lacks("POSTHASTE_RETENTION_AGE").is_inert();
    browser.get("/console/settings/server?show=changed").await.expect(200).has("email.relay").lacks("retention.age<").is_inert();
}
