//! What the demo sets up and sends.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use posthaste_domain::resource::{KeyKind, Workspace};
use posthaste_engine::{Engine, NewKey, ResourceError};
use serde_json::{Value, json};

use crate::client::{API, Client, ClientError};
use crate::command::text;
use crate::failure::Failure;

/// Event types of the samples and of the commands that the demo prints.
pub const EVENT_TYPES: [&str; 12] = [
    "deploy_done",
    "user_registered",
    "payment_processed",
    "form_submission",
    "backup_completed",
    "contact-form",
    "new_order",
    "system_alert",
    "your-event-name",
    "user-action",
    "my-event",
    "order-received",
];

/// The order among the samples; the template's preview shows it, too.
const ORDER: &str = r#"{"event":"order-received","customer":"Ann Miller","items":[{"name":"Product A","quantity":2,"price":"$20"},{"name":"Product B","quantity":1,"price":"$15"}]}"#;

/// Where things are after [`set_up`].
#[derive(Debug)]
pub struct Stage {
    /// The bin's id.
    pub bin_id: String,
    /// Where it takes requests.
    pub bin_url: String,
    /// Where a person sees them.
    pub look_url: String,
}

/// A sample event.
#[derive(Debug)]
pub struct Sample {
    /// How it is sent, in words.
    pub way: &'static str,
    /// Whether a template renders it, too.
    pub has_template: bool,
    path: String,
    content_type: Option<&'static str>,
    header_key: Option<String>,
    /// Nothing makes it a `GET`.
    body: Option<String>,
}

impl Sample {
    /// Its request.
    pub fn request(&self, client: &Client) -> Result<Request<Full<Bytes>>, ClientError> {
        let method = if self.body.is_some() { Method::POST } else { Method::GET };
        let mut request = client.request(method, &self.path)?;
        if !self.path.starts_with(API) {
            request.headers_mut().remove(AUTHORIZATION);
        }
        if let Some(content_type) = self.content_type {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(key) = &self.header_key {
            request.headers_mut().insert("x-msggo-key", HeaderValue::from_str(key).map_err(|_| ClientError::BadKey)?);
        }
        *request.body_mut() = Bytes::from(self.body.clone().unwrap_or_default()).into();
        Ok(request)
    }
}

/// The samples, for a workspace with this key.
pub fn samples(key: &str) -> Vec<Sample> {
    let json = "application/json";
    let sample = |way, path: &str, content_type, body: Option<String>| Sample {
        way,
        has_template: false,
        path: path.to_owned(),
        content_type,
        header_key: None,
        body,
    };
    let payment = format!(r#"{{"msggo-key":"{key}","event":"payment_processed","amount":100}}"#);
    let form = format!("msggo-key={key}&event=form_submission&customer_id=123");
    let invoice = r#"{"type":"invoice.paid","data":{"number":"2026-001","total":35.00}}"#;
    vec![
        sample("key in the path", &format!("/inbox/{key}?event=deploy_done&status=success"), None, None),
        sample("key in a JSON body", "/inbox", Some(json), Some(payment)),
        sample("form", "/inbox", Some("application/x-www-form-urlencoded"), Some(form)),
        Sample {
            has_template: true,
            header_key: Some(key.to_owned()),
            ..sample("key in a header", "/inbox", Some(json), Some(ORDER.to_owned()))
        },
        sample("native API", &format!("{API}/events"), Some(json), Some(invoice.to_owned())),
    ]
}

/// Makes a workspace of its own for this run, and answers the token of its key.
pub async fn workspace(engine: &Engine) -> Result<String, Failure> {
    let failed = |error: ResourceError| Failure::refused(format!("the sample workspace cannot be made: {error}"));
    let workspace = engine.create_workspace(Workspace { name: "demo".into(), parent: None }).await.map_err(failed)?;
    let made = engine
        .create_key(workspace.number, NewKey { description: "demo".into(), ..NewKey::new(KeyKind::Private) })
        .await
        .map_err(failed)?;
    Ok(made.1)
}

/// Makes event types, a template, a bin, two targets and their subscriptions, through the API as anybody would.
pub async fn set_up(client: &Client, receiver_url: &str, secret: &str) -> Result<Stage, Failure> {
    for name in EVENT_TYPES {
        client.post("/event-types", &json!({"name": name, "group": "Demo"})).await?;
    }
    let bin = client.post("/bins", &json!({"name": "Posthaste demo"})).await?;
    let (bin_url, look_url) = (text(&bin, "/url"), text(&bin, "/look_url"));
    let template = client.post("/templates", &json!({"name": "Order", "blocks": blocks()})).await?;
    let to_bin = client.post("/targets", &json!({"name": "Request bin", "channel": "webhook", "settings": {"url": bin_url}})).await?;
    let receiver = json!({"name": "Webhook receiver", "channel": "webhook", "settings": {"url": receiver_url}, "secret": secret});
    let to_receiver = client.post("/targets", &receiver).await?;
    let (to_bin, to_receiver) = (text(&to_bin, "/id"), text(&to_receiver, "/id"));
    for subscription in [
        json!({"event_types": ["*"], "target_id": to_receiver}),
        json!({"event_types": ["*"], "target_id": to_bin}),
        json!({"event_types": ["order-received"], "target_id": to_bin, "template_id": text(&template, "/id")}),
    ] {
        client.post("/subscriptions", &subscription).await?;
    }
    Ok(Stage { bin_id: text(&bin, "/id").into(), bin_url: bin_url.into(), look_url: look_url.into() })
}

/// The template's blocks.
fn blocks() -> Value {
    json!([
        {"kind": "text", "text": "**New order** from {{ data.customer }}, {{ data.items|length }} items:"},
        {"kind": "table", "path": "data.items", "columns": [
            {"heading": "Item", "field": "name"}, {"heading": "Quantity", "field": "quantity"}, {"heading": "Price", "field": "price"},
        ]},
    ])
}

/// The template on the sample order, in every form.
pub async fn preview(client: &Client) -> Result<Value, Failure> {
    let order: Value = serde_json::from_str(ORDER).expect("the sample is valid JSON");
    let body = json!({"blocks": blocks(), "event": {"type": "order-received", "data": order}});
    Ok(client.post("/templates/preview", &body).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_order_has_an_event_type() {
        let order: Value = serde_json::from_str(ORDER).expect("valid");
        assert_eq!(order["items"].as_array().map(Vec::len), Some(2));
        assert!(EVENT_TYPES.contains(&text(&order, "/event")));
    }
}
