//! Mailgun's clients against the binary: webhooks, events, signatures.

use std::collections::HashMap;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::receiver::{Received, Receiver};
use crate::server::{KEY, Server};
use crate::tools::run;

/// A server with the domain `d.test` and seven events, their message ids being 1 to 7.
async fn server() -> Server {
    let server = Server::start();
    server.post("/domains", json!({ "name": "d.test" })).await;
    let types = ["accepted", "accepted", "delivered", "failed", "deferred", "opened", "clicked"];
    for (number, name) in (1..).zip(types) {
        let data = json!({
            "channel": "email", "message_id": number.to_string(), "recipient": "bob@x.test", "sender": "ann@d.test", "domain": "d.test"
        });
        server.post("/events", json!({ "type": format!("message.{name}"), "data": data })).await;
    }
    server
}

fn by_case(lines: &[Value]) -> HashMap<&str, &Value> {
    lines.iter().map(|line| (line["case"].as_str().unwrap(), line)).collect()
}

// MAILGUN-165, and the table of section 13.1
#[tokio::test(flavor = "multi_thread")]
async fn mailgun_js_makes_its_calls() {
    let server = server().await;
    let mut receiver = Receiver::start().await;
    let variables = [("POSTHASTE_URL", server.url.as_str()), ("POSTHASTE_KEY", KEY), ("HOOK_URL", receiver.url.as_str())];
    let lines = run("mailgun/mailgun_js.mjs", &variables, "");
    let cases = by_case(&lines);
    let result = |case: &str| {
        assert!(cases[case].get("error").is_none(), "{}", cases[case]);
        &cases[case]["result"]
    };
    let url = |path: &str| format!("{}{path}", receiver.url);
    assert_eq!(result("empty list"), &json!({}));
    assert_eq!(result("create"), &json!({ "id": "clicked", "url": url("/1"), "urls": [url("/1"), url("/2")] }));
    assert_eq!(result("get"), result("create"));
    let opened = json!({ "urls": [url("")] });
    assert_eq!(result("list"), &json!({ "opened": opened, "clicked": { "urls": [url("/1"), url("/2")] } }));
    assert_eq!(result("update")["urls"], json!([url("/3")]));
    assert_eq!(result("test"), &json!({ "code": null, "message": "" }));
    assert_eq!(result("destroy")["urls"], json!([url("/3")]));
    assert_eq!(result("pages")["ids"], json!([["1", "2", "3"], ["4", "5", "6"], ["7"]]));
    assert_eq!(result("pages")["places"], json!(["first", "last", "previous"]));
    assert_eq!(result("filtered")["ids"], json!([["4", "5", "6"]]));
    for (case, status, details) in [
        ("create again", 400, "Webhook already exists"),
        ("create four", 400, "A webhook has at most 3 URLs"),
        ("create bad", 400, "ftp://a/ is not a valid url: invalid URL scheme"),
        ("get gone", 404, "Webhook not found"),
        ("wrong key", 401, "Invalid private key"),
        ("wrong key of events", 401, "Forbidden"),
        ("unknown domain", 404, "Domain not found"),
    ] {
        let error = &cases[case]["error"];
        assert_eq!((&error["status"], &error["details"]), (&json!(status), &json!(details)), "{case}");
    }
    let test = receiver.next().await;
    assert_eq!((test.uri.path(), &test.json()["event-data"]["severity"]), ("/test", &json!("permanent")));
}

/// Two deliveries of a webhook, the key that they are signed with, and lines for a script that verifies them.
async fn captured(server: &Server) -> (Vec<Received>, String) {
    let mut receiver = Receiver::start().await;
    let account = server.mailgun(Method::GET, "/v5/accounts/http_signing_key", "").await;
    let form = format!("url={}&event_types=opened", receiver.url);
    server.mailgun(Method::POST, "/v1/webhooks", &form).await;
    for _ in 0..2 {
        let data = json!({ "channel": "email", "message_id": "8", "recipient": "bob@x.test", "domain": "elsewhere.test" });
        server.post("/events", json!({ "type": "message.opened", "data": data })).await;
    }
    (receiver.take(2).await, account["http_signing_key"].as_str().unwrap().to_owned())
}

fn lines_for(deliveries: &[Received], key: &str) -> String {
    let mut forged = deliveries[1].json();
    forged["signature"]["token"] = json!("a".repeat(50));
    let cases = [
        ("good", key, deliveries[0].json()),
        ("replayed", key, deliveries[0].json()),
        ("another key", "key-other", deliveries[1].json()),
        ("forged", key, forged),
    ];
    cases.into_iter().map(|(case, key, body)| format!("{}\n", json!({ "case": case, "key": key, "body": body }))).collect()
}

// MAILGUN-87, and the table of section 13.2
#[tokio::test(flavor = "multi_thread")]
async fn mailgun_js_legacy_makes_its_calls_and_verifies() {
    let server = server().await;
    let (deliveries, key) = captured(&server).await;
    let variables = [("POSTHASTE_URL", server.url.as_str()), ("POSTHASTE_KEY", KEY)];
    let lines = run("mailgun/mailgun_js_legacy.mjs", &variables, &lines_for(&deliveries, &key));
    let cases = by_case(&lines);
    let result = |case: &str| {
        assert!(cases[case].get("error").is_none(), "{}", cases[case]);
        &cases[case]["result"]
    };
    assert_eq!(result("create"), &json!({ "message": "Webhook has been created", "webhook": { "urls": ["http://a/", "http://b/"] } }));
    let refused = &cases["create again"]["error"];
    assert_eq!((&refused["status"], &refused["message"]), (&json!(400), &json!("Webhook already exists")));
    assert_eq!(result("get"), &json!({ "webhook": { "urls": ["http://a/", "http://b/"] } }));
    assert_eq!(result("update")["webhook"]["urls"], json!(["http://c/"]));
    assert_eq!(result("delete")["message"], "Webhook has been deleted");
    assert_eq!(result("list"), &json!({ "webhooks": {} }));
    assert_eq!(result("events")["items"].as_array().map(Vec::len), Some(2));
    let valid: Vec<&Value> = ["good", "replayed", "another key", "forged"].map(|case| &cases[case]["valid"]).into();
    assert_eq!(valid, [true, false, false, false]);
}

// MAILGUN-86, MAILGUN-164, and the table of section 13.3
#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_makes_its_calls_and_verifies() {
    let server = server().await;
    let (deliveries, key) = captured(&server).await;
    // The client's own account webhooks come and go; the one of the deliveries must not be among them.
    server.mailgun(Method::DELETE, "/v1/webhooks?all=true", "").await;
    let variables = [("POSTHASTE_URL", server.url.as_str()), ("POSTHASTE_KEY", KEY)];
    let lines = run("mailgun/client.py", &variables, &lines_for(&deliveries, &key));
    let cases = by_case(&lines);
    let body = |case: &str, status: u16| {
        assert_eq!(cases[case]["status"], status, "{}", cases[case]);
        &cases[case]["body"]
    };
    let ab = json!({ "urls": ["http://a/", "http://b/"] });
    assert_eq!(body("create", 200)["webhook"], ab);
    assert_eq!(body("list", 200), &json!({ "webhooks": { "clicked": ab } }));
    assert_eq!((body("get", 200), body("get by attribute", 200)), (&json!({ "webhook": ab }), &json!({ "webhook": ab })));
    assert_eq!(body("put", 200)["webhook"]["urls"], json!(["http://c/"]));
    assert_eq!(body("delete", 200)["message"], "Webhook has been deleted");
    let u = json!({ "urls": ["http://u/"] });
    let set = |case: &str| {
        let webhooks = body(case, 200)["webhooks"].as_object().unwrap();
        assert_eq!(webhooks.len(), 8);
        webhooks.iter().filter(|(_, urls)| !urls.is_null()).map(|(name, urls)| (name.clone(), urls.clone())).collect::<HashMap<_, _>>()
    };
    assert_eq!(set("add"), HashMap::from([("clicked".to_owned(), u.clone()), ("opened".to_owned(), u.clone())]));
    assert_eq!(set("replace"), HashMap::from([("delivered".to_owned(), u)]));
    assert!(set("remove").is_empty());
    let id = body("account create", 200)["webhook_id"].as_str().unwrap();
    assert_eq!(body("account get", 200)["webhook_id"], id);
    assert_eq!(body("account get", 200)["event_types"], json!(["clicked", "opened"]));
    assert_eq!(body("account list", 200)["webhooks"].as_array().map(Vec::len), Some(1));
    body("account put", 204);
    body("account delete", 204);
    assert_eq!(body("account delete all", 404)["Description"], "no webhooks found for account");
    assert_eq!(body("events", 200)["items"].as_array().map(Vec::len), Some(2));
    body("bad events", 400);
    assert_eq!(cases["stream"]["ids"], json!(["1", "2", "3", "4", "5", "6", "7"]));
    let valid: Vec<&Value> = ["good", "replayed", "another key", "forged"].map(|case| &cases[case]["valid"]).into();
    assert_eq!(valid, [true, true, false, false], "this client remembers no tokens");
}

impl Server {
    /// A call of the Mailgun API with url-encoded fields.
    async fn mailgun(&self, method: Method, path: &str, form: &str) -> Value {
        use base64::Engine as _;
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("api:{KEY}"));
        let headers = [("authorization", format!("Basic {credentials}")), ("content-type", "application/x-www-form-urlencoded".to_owned())];
        let (status, answer) = self.send(method, path, &headers, Bytes::copy_from_slice(form.as_bytes())).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }
}
