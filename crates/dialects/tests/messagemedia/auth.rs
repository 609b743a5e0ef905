//! Who may call: section 2.1, and accounts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use posthaste_domain::resource::{KeyKind, Scope};
use posthaste_domain::signature::{hex, hmac_sha256};
use posthaste_engine::NewKey;
use serde_json::{Value, json};
use sha1::Sha1;

use crate::rig::{Credentials, Rig, WEBHOOKS};

const BODY: &str = r#"{"url":"http://webhook.com","method":"POST","encoding":"JSON","events":["RECEIVED_SMS"],"template":"{}"}"#;
/// Half a minute before the clock of the tests begins.
const DATE: &str = "Sat, 21 Nov 2026 11:59:30 GMT";
const UNAUTHORIZED: &str = r#"{"message":"No valid authentication details were provided"}"#;

/// What a client signs.
struct Request<'a> {
    algorithm: &'a str,
    date_name: &'a str,
    hash_name: &'a str,
    method: &'a str,
    target: &'a str,
    body: &'a str,
    date: &'a str,
}

const GET: Request<'static> = Request {
    algorithm: "hmac-sha256",
    date_name: "Date",
    hash_name: "Content-MD5",
    method: "GET",
    target: WEBHOOKS,
    body: "",
    date: DATE,
};
const POST: Request<'static> = Request { method: "POST", body: BODY, ..GET };

impl Request<'_> {
    fn headers(&self, user: &str, secret: &str) -> Vec<(String, String)> {
        let mut lines = vec![format!("{}: {}", self.date_name, self.date)];
        let mut names = vec![self.date_name];
        let mut headers = vec![("date".to_owned(), self.date.to_owned())];
        if !self.body.is_empty() {
            let hash = hex(&Md5::digest(self.body.as_bytes()));
            lines.push(format!("{}: {hash}", self.hash_name));
            names.push(self.hash_name);
            headers.push((self.hash_name.to_lowercase(), hash));
        }
        lines.push(format!("{} {} HTTP/1.1", self.method, self.target));
        names.push("request-line");
        let text = lines.join("\n");
        let signature = match self.algorithm {
            "hmac-sha1" => Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap().chain_update(text).finalize().into_bytes().to_vec(),
            _ => hmac_sha256(secret.as_bytes(), text.as_bytes()).to_vec(),
        };
        let authorization = format!(
            "hmac username=\"{user}\", algorithm=\"{}\", headers=\"{}\", signature=\"{}\"",
            self.algorithm,
            names.join(" "),
            STANDARD.encode(signature)
        );
        headers.push(("authorization".to_owned(), authorization));
        headers
    }

    async fn send(&self, rig: &Rig, headers: &[(String, String)], body: &str) -> u16 {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (status, _, answer) = rig.send(self.method, self.target, &headers, body.as_bytes()).await;
        assert!(status != 401 || answer == UNAUTHORIZED, "{answer}");
        status.as_u16()
    }

    /// The status that it gets as it was signed.
    async fn status(&self, rig: &Rig, user: &str, secret: &str) -> u16 {
        self.send(rig, &self.headers(user, secret), self.body).await
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

// MESSAGEMEDIA-29, MESSAGEMEDIA-30, MESSAGEMEDIA-31
#[tokio::test]
async fn basic_credentials() {
    let rig = Rig::start().await;
    let Credentials { id, token } = rig.key.clone();
    let (other, _) = rig.engine.create_key(rig.workspace, NewKey::new(KeyKind::Private)).await.unwrap();
    let public = NewKey { allowed_domains: vec!["a.example".to_owned()], ..NewKey::new(KeyKind::Public) };
    let (public_id, public_token) = rig.engine.create_key(rig.workspace, public).await.unwrap();
    for good in [basic(&id, &token), basic(&token, &token), basic(&id, &token).replace("Basic", "basic")] {
        assert_eq!(rig.send("GET", WEBHOOKS, &[("authorization", &good)], b"").await.0, 200);
    }
    for bad in [
        basic(&id, "wrong"),
        basic(&id, ""),
        basic("", &token),
        basic(&other.id, &token),
        basic("wrong", "wrong"),
        basic(&public_id.id, &public_token),
        format!("Bearer {token}"),
        "Basic !".to_owned(),
        "hmac".to_owned(),
    ] {
        let (status, headers, answer) = rig.send("GET", WEBHOOKS, &[("authorization", &bad)], b"").await;
        assert_eq!((status.as_u16(), answer.as_str()), (401, UNAUTHORIZED), "{bad}");
        assert!(headers.contains_key("www-authenticate"));
    }
    for (method, target) in [("GET", WEBHOOKS), ("POST", WEBHOOKS), ("PATCH", "/v1/webhooks/messages/x"), ("GET", "/v1/iam/signature_keys")]
    {
        let (status, _, answer) = rig.send(method, target, &[], b"{}").await;
        assert_eq!((status.as_u16(), answer.as_str()), (401, UNAUTHORIZED), "{method} {target}");
    }
}

// MESSAGEMEDIA-32, MESSAGEMEDIA-33, MESSAGEMEDIA-34
#[tokio::test]
async fn signed_requests() {
    let rig = Rig::start().await;
    let Credentials { id, token } = rig.key.clone();
    assert_eq!(GET.status(&rig, &id, &token).await, 200);
    assert_eq!(GET.status(&rig, &token, &token).await, 200);
    assert_eq!(Request { target: "/v1/webhooks/messages/?page=0&pageSize=0", ..GET }.status(&rig, &id, &token).await, 200);
    assert_eq!(POST.status(&rig, &id, &token).await, 201);
    let older = Request { algorithm: "hmac-sha1", date_name: "date", hash_name: "x-Content-MD5", ..POST };
    assert_eq!(older.status(&rig, &id, &token).await, 409);
    assert_eq!(Request { method: "GET", body: "", ..older }.status(&rig, &id, &token).await, 200);
}

// MESSAGEMEDIA-35, MESSAGEMEDIA-36, MESSAGEMEDIA-37
#[tokio::test]
async fn badly_signed_requests() {
    let rig = Rig::start().await;
    let Credentials { id, token } = rig.key.clone();
    assert_eq!(GET.status(&rig, &id, "wrong").await, 401);
    assert_eq!(GET.status(&rig, "nobody", &token).await, 401);
    assert_eq!(POST.send(&rig, &POST.headers(&id, &token), &BODY.replace("webhook.com", "evil.com")).await, 401);
    assert_eq!(GET.send(&rig, &GET.headers(&id, &token), "{}").await, 401, "a body that nothing vouches for");
    let elsewhere = Request { target: "/v1/webhooks/messages?page=1", ..GET };
    assert_eq!(elsewhere.send(&rig, &GET.headers(&id, &token), "").await, 401);
    for date in ["Sat, 21 Nov 2026 11:54:00 GMT", "Sat, 21 Nov 2026 12:10:00 GMT", "Sat, 30 Jul 2016 05:13:23 GMT", "now"] {
        assert_eq!(Request { date, ..GET }.status(&rig, &id, &token).await, 401, "{date}");
    }
    // A key that keeps no token cannot prove it.
    let (entry, token) = rig.engine.create_key(rig.workspace, NewKey::new(KeyKind::Private)).await.unwrap();
    assert_eq!(GET.status(&rig, &entry.id, &token).await, 401);
    assert_eq!(GET.status(&rig, &token, &token).await, 200, "unless it is the user as well");
    rig.engine.delete::<posthaste_domain::resource::Key>(rig.workspace, &id).await.unwrap();
    assert_eq!(GET.status(&rig, &id, &rig.key.token).await, 401);
}

#[tokio::test]
async fn scopes_are_asked() {
    let rig = Rig::start().await;
    let body: Value = serde_json::from_str(BODY).unwrap();
    for (scope, read, change) in [(Scope::Read, 200, 403), (Scope::Publish, 403, 403), (Scope::Manage, 200, 201), (Scope::Admin, 200, 409)]
    {
        let key = rig.new_key(rig.workspace, Some(vec![scope])).await;
        assert_eq!(rig.call_as(&key, "GET", WEBHOOKS, Value::Null).await.0, read, "{scope:?}");
        assert_eq!(rig.call_as(&key, "POST", WEBHOOKS, body.clone()).await.0, change, "{scope:?}");
    }
}

// MESSAGEMEDIA-48
#[tokio::test]
async fn accounts_do_not_see_each_other() {
    let rig = Rig::start().await;
    let (_, _, other) = rig.new_workspace(None).await;
    let body: Value = serde_json::from_str(BODY).unwrap();
    let webhook = rig.create(body.clone()).await;
    let target = format!("{WEBHOOKS}/{}", webhook["id"].as_str().unwrap());
    assert_eq!(rig.call_as(&other, "GET", WEBHOOKS, Value::Null).await.1["pageData"], json!([]));
    for (method, body) in [("GET", Value::Null), ("PATCH", json!({ "encoding": "XML" })), ("DELETE", Value::Null)] {
        assert_eq!(rig.call_as(&other, method, &target, body).await.0, 404, "{method}");
    }
    assert_eq!(rig.call_as(&other, "POST", WEBHOOKS, body).await.0, 201, "the same URL and method is free there");
    assert_eq!(rig.call("GET", &target, Value::Null).await.1, webhook);
}

// MESSAGEMEDIA-49
#[tokio::test]
async fn a_parent_acts_for_its_sub_account() {
    let rig = Rig::start().await;
    let (_, sub_id, sub) = rig.new_workspace(Some(rig.workspace)).await;
    let (_, stranger_id, _) = rig.new_workspace(None).await;
    let own_id = rig.engine.id_of(rig.workspace).unwrap();
    let parent = rig.key.basic();
    let as_account = async |key: &str, account: &str, method: &str, body: &str| {
        let (status, _, answer) = rig.send(method, WEBHOOKS, &[("authorization", key), ("account", account)], body.as_bytes()).await;
        (status.as_u16(), serde_json::from_str::<Value>(&answer).unwrap())
    };
    assert_eq!(as_account(&parent, &sub_id, "POST", BODY).await.0, 201);
    assert_eq!(rig.call("GET", WEBHOOKS, Value::Null).await.1["pageData"], json!([]));
    let seen = rig.call_as(&sub, "GET", WEBHOOKS, Value::Null).await.1;
    assert_eq!(seen["pageData"].as_array().unwrap().len(), 1);
    assert_eq!(as_account(&parent, &sub_id, "GET", "").await, (200, seen));
    assert_eq!(as_account(&parent, &own_id, "GET", "").await.1["pageData"], json!([]));
    for (key, account) in [(&parent, stranger_id.as_str()), (&parent, "nobody"), (&parent, ""), (&sub.basic(), own_id.as_str())] {
        assert_eq!(as_account(key, account, "GET", "").await.0, 404, "{account}");
    }
}
