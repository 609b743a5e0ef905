//! Nothing of one workspace is visible or changeable in another, through any endpoint of any dialect.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use crate::http::{Answer, Api, id};
use crate::receiver::{Receiver, Reply};
use crate::server::{KEY, Server};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// A workspace as the clients of one vendor see it.
struct Client<'a> {
    api: &'a Api,
    key: &'a str,
}

impl Client<'_> {
    async fn call(&self, authorization: &str, method: &str, path: &str, content_type: &str, body: &str) -> Answer {
        let method: Method = method.parse().expect("a method");
        let headers = [("authorization", authorization), ("content-type", content_type)];
        self.api.call(method, path, &headers, body.to_owned()).await
    }

    fn basic(&self, user: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{user}:{}", self.key)))
    }

    async fn mailgun(&self, method: &str, path: &str, form: &str) -> Answer {
        self.call(&self.basic("api"), method, path, FORM, form).await
    }

    async fn bare(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call(self.key, method, path, JSON, body).await
    }

    async fn messagemedia(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call(&self.basic(self.key), method, path, JSON, body).await
    }
}

/// What the first workspace has.
struct Owned {
    momentum: String,
    account_hook: String,
    message: String,
    sms: String,
    messagemedia: String,
    signature_key: String,
    stored: String,
}

async fn own(client: &Client<'_>, url: &str) -> Owned {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned();
    let webhook = json!({"name": "mine", "target": url, "events": ["delivery"]}).to_string();
    let momentum = text(&client.bare("POST", "/api/v1/webhooks", &webhook).await.expect(200)["results"]["id"]);
    client.mailgun("POST", "/v3/domains/d.example/webhooks", &format!("id=clicked&url={url}")).await.expect(200);
    let account_hook = format!("url={url}&event_types=opened");
    let account_hook = text(&client.mailgun("POST", "/v1/webhooks", &account_hook).await.expect(200)["webhook_id"]);
    let mail = "from=ann@d.example&to=bob@x.example&subject=Hi&text=Hello";
    let message = text(&client.mailgun("POST", "/v3/d.example/messages", mail).await.expect(200)["id"]);
    let events = client.mailgun("GET", "/v3/d.example/events", "").await.expect(200);
    let storage = text(&events["items"][0]["storage"]["key"]);
    let sms = json!({"to": "+256701521269", "message": "Hello"}).to_string();
    let sms = text(&client.bare("POST", "/api/v1/messages/sms", &sms).await.expect(201)["id"]);
    let webhook = json!({"url": url, "method": "POST", "encoding": "JSON", "events": ["DELIVERED_DR"]}).to_string();
    let messagemedia = text(&client.messagemedia("POST", "/v1/webhooks/messages", &webhook).await.expect(201)["id"]);
    let key = json!({"digest": "SHA256", "cipher": "RSA"}).to_string();
    let signature_key = text(&client.messagemedia("POST", "/v1/iam/signature_keys", &key).await.expect(201)["key_id"]);
    Owned { momentum, account_hook, message, sms, messagemedia, signature_key, stored: storage }
}

/// Every call that names something of the other workspace is told that there is no such thing.
async fn finds_nothing(client: &Client<'_>, owned: &Owned) {
    let Owned { momentum, account_hook, sms, messagemedia, signature_key, stored, .. } = owned;
    for (method, path) in [
        ("GET", String::new()),
        ("PUT", String::new()),
        ("DELETE", String::new()),
        ("POST", "/validate".to_owned()),
        ("GET", "/batch-status".to_owned()),
    ] {
        let answer = client.bare(method, &format!("/api/v1/webhooks/{momentum}{path}"), r#"{"name":"theirs"}"#).await;
        assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
    }
    for path in [format!("/api/v1/messages/{sms}"), format!("/api/v1/developers/{sms}")] {
        assert_eq!(client.bare("GET", &path, "").await.status, 404, "{path}");
    }
    for method in ["GET", "PATCH", "DELETE"] {
        let answer = client.messagemedia(method, &format!("/v1/webhooks/messages/{messagemedia}"), r#"{"method":"GET"}"#).await;
        assert_eq!(answer.status, 404, "{method}: {answer:?}");
    }
    for (method, path, body) in [
        ("GET", format!("/v1/iam/signature_keys/{signature_key}"), String::new()),
        ("DELETE", format!("/v1/iam/signature_keys/{signature_key}"), String::new()),
        ("PATCH", "/v1/iam/signature_keys/enabled".to_owned(), json!({"key_id": signature_key}).to_string()),
    ] {
        assert_eq!(client.messagemedia(method, &path, &body).await.status, 404, "{method} {path}");
    }
    let hook = "url=http://a.example/&event_types=opened";
    for (method, form) in [("GET", ""), ("PUT", hook), ("DELETE", "")] {
        let answer = client.mailgun(method, &format!("/v1/webhooks/{account_hook}"), form).await;
        assert_eq!(answer.status, 404, "{method}: {answer:?}");
    }
    for (method, path, form) in [
        ("GET", "/v3/domains/d.example".to_owned(), ""),
        ("GET", "/v3/domains/d.example/webhooks".to_owned(), ""),
        ("POST", "/v3/domains/d.example/webhooks".to_owned(), "id=opened&url=http://a.example/"),
        ("GET", "/v3/domains/d.example/webhooks/clicked".to_owned(), ""),
        ("PUT", "/v3/domains/d.example/webhooks/clicked".to_owned(), "url=http://a.example/"),
        ("DELETE", "/v3/domains/d.example/webhooks/clicked".to_owned(), ""),
        ("PUT", "/v3/domains/d.example/webhooks/clicked/test".to_owned(), "url=http://a.example/"),
        ("POST", "/v4/domains/d.example/webhooks".to_owned(), "url=http://a.example/&event_types=opened"),
        ("PUT", "/v4/domains/d.example/webhooks".to_owned(), "url=http://a.example/&event_types=opened"),
        ("DELETE", "/v4/domains/d.example/webhooks?url=http://a.example/".to_owned(), ""),
        ("GET", "/v3/d.example/events".to_owned(), ""),
        ("POST", "/v3/d.example/messages".to_owned(), "from=a@d.example&to=b@x.example&text=x"),
        ("POST", "/v3/d.example/messages.mime".to_owned(), "to=b@x.example&message=Subject:%20x"),
        ("GET", format!("/v3/domains/d.example/messages/{stored}"), ""),
        ("POST", format!("/v3/domains/d.example/messages/{stored}"), "to=b@x.example"),
        ("GET", "/v3/domains/d.example/tracking".to_owned(), ""),
        ("PUT", "/v3/domains/d.example/tracking/open".to_owned(), "active=yes"),
    ] {
        let answer = client.mailgun(method, &path, form).await;
        assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
    }
}

/// Every list is empty.
async fn lists_nothing(client: &Client<'_>) {
    assert_eq!(client.bare("GET", "/api/v1/webhooks", "").await.expect(200), json!({"results": []}));
    let history = client.bare("GET", "/api/v1/developers/sms/history", "").await.expect(200);
    assert_eq!((&history["total"], &history["items"]), (&json!(0), &json!([])));
    let overview = client.bare("GET", "/api/v1/developers/analytics/overview", "").await.expect(200);
    assert_eq!(overview["totals"]["sent"], 0, "{overview}");
    assert_eq!(client.messagemedia("GET", "/v1/webhooks/messages", "").await.expect(200)["pageData"], json!([]));
    assert_eq!(client.mailgun("GET", "/v1/webhooks", "").await.expect(200)["webhooks"], json!([]));
    assert_eq!(client.mailgun("GET", "/v3/domains", "").await.expect(200)["items"], json!([]));
}

// MAILGUN-12, MAILGUN-163, MESSAGEMEDIA-48, MSGINE-26: with the same domain name in both workspaces, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_sees_nothing_of_another_in_any_dialect() {
    let dir = tempfile::tempdir().expect("a directory");
    let variables = [
        ("POSTHASTE_KEY", KEY),
        ("POSTHASTE_DIALECT_MOMENTUM_ACTIVATION", "0s"),
        ("POSTHASTE_DIALECT_MOMENTUM_BATCH_WAIT", "50ms"),
        ("POSTHASTE_DIALECT_MESSAGEMEDIA_SIGNATURE_KEYS", "true"),
    ];
    let server = Server::start_with(dir.path(), &["--allow-network", "127.0.0.1"], &variables).await;
    let mut receiver = Receiver::scripted(|_| Reply::Now(200)).await;
    let mine = Client { api: &server.api, key: KEY };
    server.api.make("/domains", json!({"name": "d.example"})).await;
    let owned = own(&mine, &receiver.url("/mine")).await;

    let other = server.api.make("/workspaces", json!({"name": "other"})).await;
    let token = other["token"].as_str().expect("a token").to_owned();
    let api = server.api.with_key(&token);
    // Its first key cannot sign; MessageMedia's Basic credentials are the key's id and the key.
    let theirs = Client { api: &api, key: &token };
    finds_nothing(&theirs, &owned).await;
    lists_nothing(&theirs).await;
    let signing_key = async |client: &Client<'_>| client.mailgun("GET", "/v5/accounts/http_signing_key", "").await.expect(200);
    assert_ne!(signing_key(&mine).await, signing_key(&theirs).await);

    // The same name is another domain there.
    let domain = api.make("/domains", json!({"name": "d.example"})).await;
    assert!(!id(&domain).is_empty());
    assert_eq!(theirs.mailgun("GET", "/v3/domains/d.example/webhooks", "").await.expect(200), json!({"webhooks": {}}));
    let path = format!("/v3/d.example/events?message-id={}", owned.message.trim_matches(['<', '>']));
    assert_eq!(theirs.mailgun("GET", &path, "").await.expect(200)["items"], json!([]));
    let stored = theirs.mailgun("GET", &format!("/v3/domains/d.example/messages/{}", owned.stored), "").await;
    assert_eq!(stored.status, 404, "{stored:?}");

    // And webhooks of one hear nothing of the other.
    let webhook = json!({"name": "theirs", "target": receiver.url("/theirs"), "events": ["delivery"]}).to_string();
    theirs.bare("POST", "/api/v1/webhooks", &webhook).await.expect(200);
    let event = |n: usize| json!({"type": "message.delivered", "data": {"channel": "email", "message_id": format!("m-{n}"), "recipient": "a@x.example"}});
    server.api.post("/events", event(1)).await.expect(202);
    api.post("/events", event(2)).await.expect(202);
    loop {
        let hit = receiver.next().await;
        if hit.path == "/theirs" && hit.json() != json!([{"msys": {}}]) {
            let body = hit.json();
            assert_eq!(body.as_array().expect("records").len(), 1, "{body}");
            assert_eq!(body[0]["msys"]["message_event"]["message_id"], "m-2");
            break;
        }
    }
    server.stop().await;
}
