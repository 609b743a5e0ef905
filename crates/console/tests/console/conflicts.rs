//! Forms that come too late: somebody else saved or deleted meanwhile, or the session has ended, or another workspace was chosen.

use posthaste_domain::people::Role;
use posthaste_domain::resource::Workspace;
use posthaste_engine::ResourceError;
use serde_json::{Value, json};

use crate::rig::{Browser, PASSWORD, Rig, fields};

fn id(value: &Value) -> String {
    value["id"].as_str().expect("an id").to_owned()
}

async fn sent(browser: &mut Browser, path: &str, fields: &[(String, String)], more: &[(&str, &str)]) -> crate::rig::Page {
    let own = fields.iter().filter(|(name, _)| name != "csrf").map(|(name, value)| (name.as_str(), value.as_str()));
    let all: Vec<(&str, &str)> = more.iter().copied().chain(own).collect();
    browser.post(path, &all).await
}

/// The address of each form that edits something, what the API calls it, and what somebody else changes.
async fn edited(rig: &Rig) -> Vec<(String, String, Value)> {
    let target = rig.target("Shop", "https://example.com/hook", &["order.paid"]).await;
    let subscription = id(&rig.api("GET", "/subscriptions", Value::Null).await["items"][0]);
    let of_type = id(&rig.api("POST", "/event-types", json!({"name": "order.paid"})).await);
    let template = id(&rig.api("POST", "/templates", json!({"name": "Mine", "blocks": [{"kind": "text", "text": "Hello"}]})).await);
    let key = id(&rig.api("POST", "/keys", json!({"kind": "private", "description": "Mine", "scopes": ["read"]})).await);
    let domain = id(&rig.api("POST", "/domains", json!({"name": "mail.example.com"})).await);
    let member = id(&rig.api("POST", "/members", json!({"name": "Bo", "email": "bo@example.com", "role": "member"})).await);
    let bin = id(&rig.api("POST", "/bins", json!({"name": "Mine"})).await);
    let workspace = id(&rig.api("GET", "/workspaces", Value::Null).await["items"][0]);
    rig.api("PUT", "/accounts/messagemedia", json!({"settings": {"account_id": "first"}})).await;
    vec![
        (format!("/console/bins/{bin}/edit"), format!("/bins/{bin}"), json!({"name": "Theirs"})),
        ("/console/settings/workspace".into(), format!("/workspaces/{workspace}"), json!({"name": "Theirs"})),
        (format!("/console/targets/{target}/edit"), format!("/targets/{target}"), json!({"name": "Theirs"})),
        (
            format!("/console/targets/{target}/subscriptions/{subscription}"),
            format!("/subscriptions/{subscription}"),
            json!({"description": "Theirs"}),
        ),
        (
            format!("/console/events/{of_type}/deliveries/{subscription}"),
            format!("/subscriptions/{subscription}"),
            json!({"description": "Theirs again"}),
        ),
        (format!("/console/events/{of_type}/edit"), format!("/event-types/{of_type}"), json!({"description": "Theirs"})),
        (format!("/console/templates/{template}"), format!("/templates/{template}"), json!({"name": "Theirs"})),
        (format!("/console/keys/{key}"), format!("/keys/{key}"), json!({"description": "Theirs"})),
        (format!("/console/domains/{domain}"), format!("/domains/{domain}"), json!({"track": {"opens": true}})),
        (format!("/console/members/{member}"), format!("/members/{member}"), json!({"name": "Theirs"})),
        ("/console/settings/dialects/messagemedia".into(), "/accounts/messagemedia".into(), json!({"settings": {"account_id": "theirs"}})),
    ]
}

#[tokio::test]
async fn whoever_saves_second_may_take_theirs_or_save_anyway() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    for (path, api, theirs) in edited(&rig).await {
        let page = browser.get(&path).await.expect(200);
        let mine = fields(&page.text, &path);
        let method = if api.starts_with("/accounts") { "PUT" } else { "PATCH" };
        let stored = rig.api(method, &api, theirs).await;
        for _ in 0..2 {
            let page = sent(&mut browser, &path, &mine, &[("do", "save")]).await.expect(422);
            page.has("Somebody else saved this while you were at it").has("href=\"\"").is_inert();
            page.has(&format!("name=\"anyway\" value=\"{}\"", stored["version"]));
        }
        assert_eq!(rig.api("GET", &api, Value::Null).await["version"], stored["version"], "{path}");
        // Theirs is at the same address.
        let page = browser.get(&path).await.expect(200);
        assert!(fields(&page.text, &path).contains(&("version".into(), stored["version"].to_string())), "{path}");
        let anyway = stored["version"].to_string();
        let page = sent(&mut browser, &path, &mine, &[("anyway", &anyway)]).await;
        assert!(page.to().contains("done=saved"), "{path}: {}", page.to());
        // And once more it is no longer the present one.
        let page = sent(&mut browser, &path, &mine, &[("anyway", &anyway)]).await.expect(422);
        page.has("Somebody else saved this");
    }
}

async fn log_out_everywhere(rig: &Rig, email: &str) {
    let member = rig.state.engine.member_by_email(email).expect("a member");
    rig.state.engine.end_sessions(&member, false, |_| true).await.expect("the sessions end");
}

#[tokio::test]
async fn what_was_typed_comes_back_after_the_log_in() {
    const DATA: &str = "{\r\n  \"note\": \"</pre><script>alert('kept')</script>\"}";
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/inbox/send").await.expect(200);
    log_out_everywhere(&rig, "ada@example.com").await;
    let typed = [("type", "order.kept"), ("data", DATA), ("deliver_at", "")];
    let page = browser.post("/console/inbox/send", &typed).await.expect(401);
    page.has("What you typed is kept").is_inert();
    assert!(page.headers.get("location").is_none());
    let carried = fields(&page.text, "/console/login");

    let wrong = sent(&mut browser, "/console/login", &carried, &[("email", "ada@example.com"), ("password", "not it at all")]).await;
    let wrong = wrong.expect(422);
    wrong.has("What you typed is kept").is_inert();
    let carried: Vec<_> =
        fields(&wrong.text, "/console/login").into_iter().filter(|(name, _)| name != "email" && name != "password").collect();
    let page = sent(&mut browser, "/console/login", &carried, &[("email", "ada@example.com"), ("password", PASSWORD)]).await.expect(200);
    page.has("Acme &lt;b&gt;Corp").has("order.kept").has("&lt;script&gt;alert(").has("Send it now").is_inert();
    for cookie in page.headers.get_all("set-cookie") {
        assert!(!cookie.to_str().expect("text").contains("kept"), "{cookie:?}");
    }
    assert_eq!(rig.api("GET", "/events", Value::Null).await["items"], json!([]), "nobody pressed the button");

    let again = fields(&page.text, "/console/inbox/send");
    let to = sent(&mut browser, "/console/inbox/send", &again, &[]).await.to().to_owned();
    assert!(to.starts_with("/console/inbox/evt_"), "{to}");
    let event = rig.api("GET", "/events", Value::Null).await["items"][0].clone();
    assert_eq!((&event["type"], &event["data"]["note"]), (&json!("order.kept"), &json!("</pre><script>alert('kept')</script>")));
}

#[tokio::test]
async fn a_form_of_an_earlier_session_is_shown_again() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let old = browser.csrf.clone();
    log_out_everywhere(&rig, "ada@example.com").await;
    browser.post("/console/login", &[("email", "ada@example.com"), ("password", PASSWORD)]).await.to();
    let form = [("csrf", old.as_str()), ("type", "order.kept"), ("data", "{}")];
    let page = browser.post_as("/console/inbox/send", &form, &[("sec-fetch-site", "same-origin")]).await.expect(403);
    page.has("order.kept").has("Send it now").is_inert();
    // Unless the browser says nothing of where the form comes from.
    browser.post_as("/console/inbox/send", &form, &[]).await.expect(403).lacks("order.kept");
    let again = fields(&page.text, "/console/inbox/send");
    browser.get("/console/inbox").await.expect(200);
    assert!(sent(&mut browser, "/console/inbox/send", &again, &[]).await.to().starts_with("/console/inbox/evt_"));
}

#[tokio::test]
async fn passwords_are_not_kept_and_buttons_lead_back_to_their_page() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    log_out_everywhere(&rig, "ada@example.com").await;
    let secrets = [("old", PASSWORD), ("password", "another long password")];
    let page = browser.post("/console/account/password", &secrets).await;
    assert_eq!(page.to(), "/console/login");
    let headers = [("sec-fetch-site", "same-origin"), ("referer", "http://posthaste.test/console/targets?search=a")];
    let page = browser.post_as("/console/targets/tgt_1/resume", &[], &headers).await;
    assert_eq!(page.to(), "/console/login?back=%2Fconsole%2Ftargets%3Fsearch%3Da");
    let elsewhere = [("sec-fetch-site", "same-origin"), ("referer", "http://evil.example/console/targets")];
    assert_eq!(browser.post_as("/console/targets/tgt_1/resume", &[], &elsewhere).await.to(), "/console/login");
}

const TYPED: &str = "typed <b>by</b> me";

#[tokio::test]
async fn what_was_typed_about_a_thing_that_was_deleted_is_shown() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let mut forms = Vec::new();
    let mut edited = edited(&rig).await;
    edited.retain(|(_, api, _)| !api.starts_with("/accounts") && !api.starts_with("/workspaces"));
    for (path, ..) in &edited {
        let page = browser.get(path).await.expect(200);
        forms.push((path.clone(), fields(&page.text, path)));
    }
    // What others use goes after those.
    edited.sort_by_key(|(_, api, _)| !api.starts_with("/subscriptions"));
    edited.dedup_by_key(|(_, api, _)| api.clone());
    for (_, api, _) in &edited {
        rig.api("DELETE", api, Value::Null).await;
    }
    for (path, form) in forms {
        let others: Vec<_> = form.into_iter().filter(|(name, _)| name != "name" && name != "description").collect();
        let page = sent(&mut browser, &path, &others, &[("name", TYPED), ("description", TYPED), ("do", "save")]).await.expect(404);
        page.has("is not there any more").has("typed &lt;b&gt;by&lt;/b&gt; me").lacks("Send it again").is_inert();
    }
    // A button alone has nothing to show, and an address nobody sent a form to neither.
    browser.post("/console/targets/tgt_1/resume", &[]).await.expect(404).has("Nothing is at this address").lacks("What you typed");
    browser.get("/console/targets/tgt_1/edit").await.expect(404).lacks("What you typed");
}

#[tokio::test]
async fn what_was_typed_in_another_workspace_is_carried_back_to_it() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let first = browser.csrf.split_once('.').expect("a token and a workspace").1.to_owned();
    let number = rig.state.engine.create_workspace(Workspace { name: "Second".into(), parent: None }).await.expect("a workspace").number;
    let second = rig.state.engine.id_of(number).expect("an id");
    let member = rig.state.engine.member_by_email("ada@example.com").expect("a member").id.clone();
    let room = second.clone();
    let change = move |old: &posthaste_domain::people::Member| {
        let mut new = old.clone();
        new.roles.insert(room.clone(), Role::Administrator);
        Ok::<_, ResourceError>(new)
    };
    rig.state.engine.change_member(&member, change).await.expect("the member is changed");

    let page = browser.get("/console/inbox/send").await.expect(200);
    let form: Vec<_> = fields(&page.text, "/console/inbox/send").into_iter().filter(|(name, _)| name == "csrf").collect();
    browser.post("/console/workspace", &[("workspace", &second)]).await.to();
    let old: Vec<(&str, &str)> = [("type", "order.kept"), ("data", "{\"note\": \"typed\"}"), ("csrf", form[0].1.as_str())].into();
    let page = browser.post_as("/console/inbox/send", &old, &[("sec-fetch-site", "same-origin")]).await.expect(409);
    page.has("order.kept").has("with what you typed").is_inert();
    let back = fields(&page.text, "/console/workspace");
    // The menu of workspaces is before it: its form has no more than the token.
    let back = if back.len() > 1 { back } else { fields(page.text.rsplit_once("<form").expect("forms").1, "/console/workspace") };
    let page = sent(&mut browser, "/console/workspace", &back, &[]).await.expect(200);
    page.has("another workspace had been chosen").has("order.kept").has("Send it now").is_inert();
    assert_eq!(browser.csrf.split_once('.').expect("a token and a workspace").1, first);
    assert_eq!(rig.api("GET", "/events", Value::Null).await["items"], json!([]), "nobody pressed the button");
    let again = fields(&page.text, "/console/inbox/send");
    assert!(sent(&mut browser, "/console/inbox/send", &again, &[]).await.to().starts_with("/console/inbox/evt_"));
}

#[tokio::test]
async fn forms_that_are_too_large_are_answered_with_a_page() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    // The largest payload there is, of letters that a browser sends as six bytes for two.
    let large = format!("\"{}\"", "é".repeat((1 << 19) - 100));
    assert!(
        browser.post("/console/inbox/send", &[("type", "order.large"), ("data", &large)]).await.to().starts_with("/console/inbox/evt_")
    );
    let huge = "é".repeat(1 << 20);
    let page = browser.post("/console/inbox/send", &[("type", "order.large"), ("data", &huge)]).await.expect(413);
    page.has("<h1>The form is too large</h1>").has("way back").has("To the console").is_inert();
    // The same to whoever has no session.
    rig.browser().post("/console/login", &[("email", &huge)]).await.expect(413).has("<h1>The form is too large</h1>").is_inert();
    log_out_everywhere(&rig, "ada@example.com").await;
    let page = browser.post("/console/inbox/send", &[("type", "order.large"), ("data", &large)]).await.expect(401);
    page.has("too long to come back by itself").lacks("What you typed is kept").is_inert();
}

#[tokio::test]
async fn what_a_member_may_not_save_is_shown_with_what_was_typed() {
    let rig = Rig::new().await;
    rig.administrator().await;
    let key = id(&rig.api("POST", "/keys", json!({"kind": "private", "description": "Mine", "scopes": ["read"]})).await);
    let mut member = rig.member().await;
    let page = member.post(&format!("/console/keys/{key}"), &[("description", TYPED)]).await.expect(403);
    page.has("typed &lt;b&gt;by&lt;/b&gt; me").lacks("Send it again").is_inert();
}
