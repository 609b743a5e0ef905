//! Members and the audit log.

use serde_json::Value;

use crate::rig::{PASSWORD, Page, Rig};

/// The token of the link on a page.
fn link_token(page: &Page) -> String {
    let rest = page.text.split("/console/password?token=").nth(1).expect("a link");
    rest.chars().take_while(char::is_ascii_alphanumeric).collect()
}

#[tokio::test]
async fn somebody_is_invited_comes_in_and_is_removed() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/members").await.expect(200).has("(you)").has("Administrator").is_inert();
    let page = browser.post("/console/members/new", &[("name", "Bo <i>why"), ("email", "nobody"), ("role", "member")]).await.expect(422);
    page.has("aria-invalid=\"true\"").has("value=\"Bo &lt;i&gt;why\"").is_inert();
    let fields = [("name", "Bo <i>why"), ("email", "bo@example.com"), ("role", "member")];
    let page = browser.post("/console/members/new", &fields).await.expect(200);
    page.has("shown this once").is_inert();
    let token = link_token(&page);
    browser.get("/console/members").await.expect(200).has("Bo &lt;i&gt;why").has("Invited").lacks(&token).is_inert();
    browser.post("/console/members/new", &fields).await.expect(422).has("aria-invalid=\"true\"").is_inert();

    let mut bo = rig.browser();
    bo.get(&format!("/console/password?token={token}")).await.expect(200).is_inert();
    bo.post("/console/password", &[("token", &token), ("password", PASSWORD)]).await.to();
    bo.get("/console/members").await.expect(403).has("For administrators").is_inert();
    bo.get("/console/audit").await.expect(403).has("For administrators").is_inert();
    let members = rig.api("GET", "/members?search=bo", Value::Null).await;
    let path = format!("/console/members/{}", members["items"][0]["id"].as_str().expect("an id"));
    browser.get(&path).await.expect(200).has("Log out everywhere").is_inert();
    browser.post(&format!("{path}/sessions"), &[]).await.to();
    assert!(bo.get("/console/inbox").await.to().starts_with("/console/login"));
    // Another link; then switched off, which ends what there is.
    let page = browser.post(&format!("{path}/link"), &[]).await.expect(200);
    assert_ne!(link_token(&page), token);
    bo.post("/console/login", &[("email", "bo@example.com"), ("password", PASSWORD)]).await.to();
    let off = [("name", "Bo"), ("email", "bo@example.com"), ("role", "member"), ("disabled", "true")];
    assert_eq!(browser.post(&path, &off).await.to(), "/console/members?done=saved");
    assert!(bo.get("/console/inbox").await.to().starts_with("/console/login"));
    browser.post(&format!("{path}/link"), &[]).await.expect(422).has("disabled").is_inert();
    browser.get(&format!("{path}/delete")).await.expect(200).has("Remove this member?").is_inert();
    assert_eq!(browser.post(&format!("{path}/delete"), &[]).await.to(), "/console/members?done=deleted");
    browser.get(&path).await.expect(404).is_inert();
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let members = rig.api("GET", "/members", Value::Null).await;
    let path = format!("/console/members/{}", members["items"][0]["id"].as_str().expect("an id"));
    let lesser = [("name", "Ada"), ("email", "ada@example.com"), ("role", "member")];
    browser.post(&path, &lesser).await.expect(422).has("administrator").has("role=\"alert\"").is_inert();
    let off = [("name", "Ada"), ("email", "ada@example.com"), ("role", "administrator"), ("disabled", "true")];
    browser.post(&path, &off).await.expect(422).has("role=\"alert\"").is_inert();
    browser.post(&format!("{path}/delete"), &[]).await.expect(422).has("role=\"alert\"").is_inert();
    browser.get("/console/members").await.expect(200).has("(you)");
}

#[tokio::test]
async fn changes_are_in_the_audit_log_with_what_was_before() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let made = [("kind", "private"), ("description", "Shop <i>why"), ("scopes", "publish")];
    browser.post("/console/keys/new", &made).await.expect(200);
    let key = rig.api("GET", "/keys?search=shop", Value::Null).await["items"][0]["id"].as_str().expect("a key").to_owned();
    let changed = [("kind", "private"), ("description", "Other <script>"), ("scopes", "publish")];
    browser.post(&format!("/console/keys/{key}"), &changed).await.to();
    let page = browser.get(&format!("/console/audit?id={key}")).await.expect(200);
    page.has("Shop &lt;i&gt;why").has("Other &lt;script&gt;").has("Ada &lt;script&gt;Lovelace").has("Created").has("Changed").is_inert();
    browser.get(&format!("/console/audit?id={key}&action=delete")).await.expect(200).has("Nothing found").is_inert();
    browser.get("/console/audit?kind=key&action=update").await.expect(200).has(&key).is_inert();
    browser.get("/console/audit?from=yesterday").await.expect(200).has("aria-invalid=\"true\"").is_inert();
    browser.get("/console/audit?actor=server").await.expect(200).has("The server").lacks("Shop &lt;i&gt;why").is_inert();
}
