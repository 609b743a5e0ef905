//! Calls of the Mailgun API.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, header};
use posthaste_dialects::DialectSettings;
use posthaste_dialects::mailgun::MailgunSettings;
use posthaste_domain::message::Track;
use posthaste_domain::resource::Domain;
use serde_json::{Map, Value, json};

use crate::support::receiver::{Received, Receiver};
use crate::support::{Answer, Stage};

pub const DOMAIN: &str = "d.test";
pub const HOOKS: &str = "/v3/domains/d.test/webhooks";

/// A stage with the domain `d.test`.
pub struct Rig {
    pub stage: Stage,
}

/// How a body is written.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    Url,
    Multipart,
}

impl Rig {
    pub async fn start() -> Self {
        Self::with(MailgunSettings::default()).await
    }

    pub async fn with(mailgun: MailgunSettings) -> Self {
        let rig = Self { stage: Stage::with(DialectSettings { mailgun, ..DialectSettings::default() }).await };
        rig.domain(rig.stage.workspace, DOMAIN).await;
        rig
    }

    pub async fn restart(self) -> Self {
        Self { stage: self.stage.restart().await }
    }

    pub async fn domain(&self, workspace: i64, name: &str) {
        let doc = Domain { name: name.to_owned(), track: Track::default(), dkim: None, extra: Map::new() };
        self.stage.engine.create(workspace, doc).await.unwrap();
    }

    fn request(&self, method: &str, target: &str) -> http::request::Builder {
        let credentials = STANDARD.encode(format!("api:{}", self.stage.token));
        Request::builder().method(method).uri(target).header(header::AUTHORIZATION, format!("Basic {credentials}"))
    }

    /// A request without a body.
    pub async fn call(&self, method: &str, target: &str) -> Answer {
        self.stage.send(self.request(method, target).header(header::HOST, "api.test").body(Body::empty()).unwrap()).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.call("GET", target).await
    }

    /// A request with fields.
    pub async fn form(&self, method: &str, target: &str, form: Form, fields: &[(&str, &str)]) -> Answer {
        let (content_type, body) = match form {
            Form::Url => {
                let pairs = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
                ("application/x-www-form-urlencoded", pairs)
            }
            Form::Multipart => {
                let part =
                    |(name, value): &(&str, &str)| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
                ("multipart/form-data; boundary=b", format!("{}--b--\r\n", fields.iter().map(part).collect::<String>()))
            }
        };
        self.stage.send(self.request(method, target).header(header::CONTENT_TYPE, content_type).body(Body::from(body)).unwrap()).await
    }

    pub async fn post(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.form("POST", target, Form::Url, fields).await
    }

    pub async fn put(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.form("PUT", target, Form::Url, fields).await
    }

    /// Sets a webhook of the domain.
    pub async fn hook(&self, name: &str, receivers: &[&Receiver]) {
        let urls = receivers.iter().map(|receiver| ("url", receiver.url.as_str()));
        let fields: Vec<(&str, &str)> = std::iter::once(("id", name)).chain(urls).collect();
        self.post(HOOKS, &fields).await.expect(200);
    }

    /// Stores an event of the domain.
    pub async fn event(&self, type_name: &str, more: Value) {
        self.stage.publish(type_name, &[data(more)]).await;
    }

    pub async fn signing_key(&self) -> String {
        self.get("/v5/accounts/http_signing_key").await.expect(200)["http_signing_key"].as_str().unwrap().to_owned()
    }

    /// Events of the domain as the API shows them, newest first.
    pub async fn items(&self, query: &str) -> Vec<Value> {
        items(&self.get(&format!("/v3/{DOMAIN}/events{query}")).await.expect(200))
    }
}

/// Message data of the domain.
pub fn data(more: Value) -> Value {
    let mut data = json!({"channel": "email", "message_id": "1.2@d.test", "recipient": "bob@x.test", "domain": DOMAIN});
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    data
}

pub fn items(page: &Value) -> Vec<Value> {
    page["items"].as_array().unwrap().clone()
}

/// Whether the signature of a delivery is good under a key.
pub fn is_signed(received: &Received, key: &str) -> bool {
    let body = received.json();
    let text = |name: &str| body["signature"][name].as_str().unwrap().to_owned();
    let expected = posthaste_domain::signature::hmac_sha256(key.as_bytes(), format!("{}{}", text("timestamp"), text("token")).as_bytes());
    text("signature") == posthaste_domain::signature::hex(&expected)
}

/// A workspace beside the first, and a key of it.
pub async fn stranger(rig: &Rig) -> (i64, Rig) {
    let workspace = posthaste_domain::resource::Workspace { name: "Other".to_owned(), parent: None };
    let number = rig.stage.engine.create_workspace(workspace).await.unwrap().number;
    let token = rig.stage.key(number, None).await;
    (number, Rig { stage: rig.stage.seen_by(number, token) })
}
