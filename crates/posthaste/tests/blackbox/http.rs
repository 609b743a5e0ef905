//! A plain HTTP client.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::process::PATIENCE;

/// A client of one server, with one key.
#[derive(Clone)]
pub struct Api {
    pool: Client<HttpConnector, Full<Bytes>>,
    pub url: String,
    key: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test unless the status is this; answers the body as JSON, null when there is none.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        if self.body.is_empty() { Value::Null } else { self.json() }
    }
}

impl Api {
    /// A client of the server at `url`.
    pub fn new(url: &str, key: &str) -> Self {
        Self { pool: Client::builder(TokioExecutor::new()).build_http(), url: url.to_owned(), key: key.to_owned() }
    }

    /// The same server with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// Sends a request to any path; no key but what `headers` say.
    pub async fn try_call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a valid request");
        let exchange = async {
            let response = self.pool.request(request).await.map_err(|error| error.to_string())?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err("no answer in time".into()))
    }

    /// Like [`Api::try_call`], of a server that must be there.
    pub async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.try_call(method, path, headers, body).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// A request to the native API with raw bytes.
    pub async fn native(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let bearer = format!("Bearer {}", self.key);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.call(method, &format!("/posthaste/v1{path}"), &headers, body).await
    }

    /// `GET` of the native API.
    pub async fn get(&self, path: &str) -> Answer {
        self.native(Method::GET, path, Bytes::new()).await
    }

    /// `POST` of the native API.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.native(Method::POST, path, body).await
    }

    /// Makes something, which must work.
    pub async fn make(&self, path: &str, body: Value) -> Value {
        self.post(path, body).await.expect(201)
    }

    /// All items of a list, page by page, oldest first.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}{separator}order=asc{cursor}")).await.expect(200);
            items.extend(page["items"].as_array().expect("a list").iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// Asks until the answer fits: for what no signal tells of.
    pub async fn until<T>(&self, path: &str, fits: impl Fn(&Value) -> Option<T>) -> T {
        let mut last = Value::Null;
        let asking = async {
            loop {
                last = self.get(path).await.expect(200);
                if let Some(found) = fits(&last) {
                    return found;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(found) => found,
            Err(_) => panic!("{path} never came to that: {last:#}"),
        }
    }
}

/// The `id` of an object.
#[track_caller]
pub fn id(object: &Value) -> String {
    object["id"].as_str().unwrap_or_else(|| panic!("no id in {object}")).to_owned()
}
