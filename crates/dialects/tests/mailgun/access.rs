//! Keys, rates, domains, shapes of answers.

use http::{Request, header};
use posthaste_dialects::mailgun::MailgunSettings;
use posthaste_domain::resource::{Domain, Scope};
use posthaste_engine::ResourceError;
use serde_json::json;

use crate::rig::{Form, HOOKS, Rig, stranger};
use crate::support::Answer;

/// A request with an `Authorization` of one's own.
async fn with_credentials(rig: &Rig, method: &str, target: &str, credentials: Option<&str>) -> Answer {
    use base64::Engine as _;
    let mut request = Request::builder().method(method).uri(target);
    if let Some(credentials) = credentials {
        let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
        request = request.header(header::AUTHORIZATION, format!("Basic {encoded}"));
    }
    rig.stage.send(request.body(axum::body::Body::empty()).unwrap()).await
}

const WEBHOOKS: [(&str, &str); 12] = [
    ("GET", HOOKS),
    ("POST", HOOKS),
    ("PUT", "/v3/domains/d.test/webhooks/clicked"),
    ("DELETE", "/v3/domains/d.test/webhooks/clicked"),
    ("GET", "/v3/domains/d.test/webhooks/clicked"),
    ("PUT", "/v3/domains/d.test/webhooks/clicked/test"),
    ("POST", "/v4/domains/d.test/webhooks"),
    ("PUT", "/v4/domains/d.test/webhooks"),
    ("GET", "/v1/webhooks"),
    ("DELETE", "/v1/webhooks/aaaaaaaaaaaaaaaaaaaaaaaa"),
    ("GET", "/v5/accounts/http_signing_key"),
    ("POST", "/v5/accounts/http_signing_key"),
];

// MAILGUN-1, MAILGUN-2, MAILGUN-4, MAILGUN-5
#[tokio::test]
async fn webhook_endpoints_want_a_key() {
    let rig = Rig::start().await;
    for (method, target) in WEBHOOKS {
        for bad in [None, Some("api:wrong"), Some("api:"), Some("someone:"), Some("api")] {
            let answer = with_credentials(&rig, method, target, bad).await;
            assert_eq!(answer.expect(401), json!({"message": "Invalid private key"}), "{method} {target} {bad:?}");
            assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Basic realm=\"MG API\"");
        }
        let answer = with_credentials(&rig, method, target, Some(&format!("api:{}", rig.stage.token))).await;
        assert_ne!(answer.status, 401, "{method} {target}");
        let other_user = with_credentials(&rig, method, target, Some(&format!("admin:{}", rig.stage.token))).await;
        assert_eq!(other_user.status, 401);
    }
    let events = with_credentials(&rig, "GET", "/v3/d.test/events", Some("api:wrong")).await;
    assert_eq!((events.status.as_u16(), events.text().as_str()), (401, "Forbidden"));
    assert!(events.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/plain"));
    assert_eq!(events.headers[header::WWW_AUTHENTICATE], "Basic realm=\"MG API\"");
    assert_eq!(with_credentials(&rig, "GET", "/v3/d.test/events", None).await.status, 401);
    assert_eq!(with_credentials(&rig, "GET", "/v3/d.test/events", Some(&format!("api:{}", rig.stage.token))).await.status, 200);
}

#[tokio::test]
async fn a_key_may_do_what_its_scopes_say() {
    let mut rig = Rig::start().await;
    rig.stage.token = rig.stage.key(rig.stage.workspace, Some(vec![Scope::Read])).await;
    rig.get(HOOKS).await.expect(200);
    rig.get("/v3/d.test/events").await.expect(200);
    assert_eq!(rig.post(HOOKS, &[("id", "clicked"), ("url", "http://a/")]).await.expect(403), json!({"message": "Forbidden"}));
    // Whoever reads the signing key can forge webhooks.
    rig.get("/v5/accounts/http_signing_key").await.expect(403);
    rig.stage.token = rig.stage.key(rig.stage.workspace, Some(vec![Scope::Publish])).await;
    rig.get(HOOKS).await.expect(403);
}

// MAILGUN-6, MAILGUN-7, MAILGUN-8, MAILGUN-9, MAILGUN-10
#[tokio::test]
async fn both_encodings_and_bare_requests_work() {
    let rig = Rig::start().await;
    for form in [Form::Url, Form::Multipart] {
        let clicked = "/v3/domains/d.test/webhooks/clicked";
        let created = rig.form("POST", HOOKS, form, &[("id", "clicked"), ("url", "http://a/?x=1&y=%C3%A9"), ("url[]", "http://b/")]).await;
        assert_eq!(created.expect(200)["webhook"]["urls"], json!(["http://a/?x=1&y=%C3%A9", "http://b/"]), "{form:?}");
        rig.form("PUT", clicked, form, &[("url", "http://c/")]).await.expect(200);
        let account = [("url", "http://c/"), ("event_types", "clicked")];
        let id = rig.form("POST", "/v1/webhooks", form, &account).await.expect(200)["webhook_id"].as_str().unwrap().to_owned();
        rig.form("PUT", &format!("/v1/webhooks/{id}"), form, &account).await.expect(204);
        let got = rig.form("GET", clicked, form, &[]).await;
        assert_eq!(got.expect(200), json!({"webhook": {"urls": ["http://c/"]}}));
        assert_eq!(got.headers[header::CONTENT_TYPE], "application/json; charset=utf-8");
        assert_eq!(rig.call("DELETE", clicked).await.expect(200)["message"], "Webhook has been deleted");
    }
    let request = Request::builder()
        .method("DELETE")
        .uri("/v1/webhooks?all=true")
        .header(header::AUTHORIZATION, {
            use base64::Engine as _;
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("api:{}", rig.stage.token)))
        })
        .header(header::CONTENT_LENGTH, "0")
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(rig.stage.send(request).await.status, 204);
    let broken = rig.form("POST", HOOKS, Form::Multipart, &[("id\"\r\n\r\n--b", "x")]).await;
    assert_eq!(broken.status, 400);
    let large = "x".repeat(300 << 10);
    assert_eq!(rig.post(HOOKS, &[("id", &large)]).await.status, 413);
}

// MAILGUN-11, MAILGUN-12
#[tokio::test]
async fn domains_are_apart_and_so_are_workspaces() {
    let rig = Rig::start().await;
    rig.domain(rig.stage.workspace, "other.test").await;
    rig.post(HOOKS, &[("id", "clicked"), ("url", "http://a/")]).await.expect(200);
    assert_eq!(rig.get("/v3/domains/other.test/webhooks").await.expect(200), json!({"webhooks": {}}));
    assert_eq!(rig.get("/v3/domains/other.test/webhooks/clicked").await.status, 404);
    // A domain does not go before its webhooks: another one of that name would find them.
    let (engine, workspace) = (&rig.stage.engine, rig.stage.workspace);
    let other = engine.find_domain(workspace, "other.test").unwrap();
    let hooks = "/v3/domains/other.test/webhooks";
    rig.post(hooks, &[("id", "clicked"), ("url", "http://a/")]).await.expect(200);
    assert!(matches!(engine.delete::<Domain>(workspace, &other.id).await, Err(ResourceError::InUse { .. })));
    let renamed = Domain { name: "third.test".to_owned(), ..other.doc.clone() };
    assert!(matches!(engine.update(workspace, &other.id, None, renamed).await, Err(ResourceError::Invalid { .. })));
    rig.call("DELETE", &format!("{hooks}/clicked")).await.expect(200);
    engine.delete::<Domain>(workspace, &other.id).await.unwrap();
    rig.domain(workspace, "other.test").await;
    for target in ["/v3/domains/nowhere.test/webhooks", "/v3/nowhere.test/events", "/v3/domains/nowhere.test/webhooks/clicked"] {
        assert_eq!(rig.get(target).await.expect(404), json!({"message": "Domain not found"}), "{target}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let answer = rig.form(method, "/v4/domains/nowhere.test/webhooks", Form::Url, &[("url", "http://a/")]).await;
        assert_eq!(answer.expect(404), json!({"message": "Domain not found"}));
    }
    let (number, other) = stranger(&rig).await;
    assert_eq!(other.get(HOOKS).await.status, 404);
    other.domain(number, "d.test").await;
    assert_eq!(other.get(HOOKS).await.expect(200), json!({"webhooks": {}}));
    assert_eq!(other.get("/v1/webhooks").await.expect(200), json!({"webhooks": []}));
}

// MAILGUN-13
#[tokio::test]
async fn request_301_within_a_minute_is_refused() {
    let rig = Rig::start().await;
    for _ in 0..300 {
        rig.get(HOOKS).await.expect(200);
    }
    let refused = rig.get(HOOKS).await;
    assert_eq!(refused.expect(429), json!({"retry-seconds": 60}));
    assert_eq!(refused.headers[header::RETRY_AFTER], "60");
    rig.get("/v3/d.test/events").await.expect(200);
    let (number, other) = stranger(&rig).await;
    other.domain(number, "d.test").await;
    other.get(HOOKS).await.expect(200);
    rig.stage.clock.advance(std::time::Duration::from_secs(60));
    rig.get(HOOKS).await.expect(200);
    let free = Rig::with(MailgunSettings { webhook_requests_per_minute: 0, ..MailgunSettings::default() }).await;
    for _ in 0..302 {
        free.get(HOOKS).await.expect(200);
    }
}

#[tokio::test]
async fn pretty_changes_white_space_only() {
    let rig = Rig::start().await;
    rig.post(HOOKS, &[("id", "clicked"), ("url", "http://a/")]).await.expect(200);
    let (plain, pretty) = (rig.get(HOOKS).await, rig.get(&format!("{HOOKS}?pretty=yes")).await);
    assert_eq!(plain.json(), pretty.json());
    assert!(pretty.text().contains("\n      \"urls\": [\n") && !plain.text().contains('\n'), "{}", pretty.text());
    assert_eq!(rig.get(&format!("{HOOKS}?pretty=no")).await.text(), plain.text());
}

#[tokio::test]
async fn a_switched_off_dialect_has_no_routes() {
    let rig = Rig::with(MailgunSettings { enabled: false, ..MailgunSettings::default() }).await;
    assert_eq!(rig.get(HOOKS).await.status, 404);
}
