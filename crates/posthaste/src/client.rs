//! A small HTTP client for the commands that speak to a running server (http and https).
//!
//! Bodies are read under a cap; every request but a stream has a total deadline.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;

/// Largest answer that is read.
const MAX_ANSWER: usize = 64 << 20;
/// Deadline of a request that is no stream. Longer than the longest poll that any command asks for.
const DEADLINE: Duration = Duration::from_secs(60);
/// Path of the native API.
pub const API: &str = "/posthaste/v1";

/// Where a server listens that was not told otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// Where the server is and with which key, for every client command.
#[derive(Clone, Debug, clap::Args)]
pub struct Remote {
    /// Address of the server.
    #[arg(
        id = "server",
        long = "server",
        value_name = "URL",
        env = "POSTHASTE_URL",
        default_value = DEFAULT_URL,
        global = true,
        help_heading = "Server"
    )]
    pub url: String,
    /// Private key of the workspace.
    #[arg(long, env = "POSTHASTE_KEY", hide_env_values = true, global = true, help_heading = "Server")]
    pub key: Option<String>,
}

/// What went wrong between this command and the server.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is no URL of a server.
    #[error("{0:?} is not an address of a server; write for example http://127.0.0.1:8080")]
    BadUrl(String),
    /// The key cannot be sent in a header.
    #[error("the key holds characters that no key has")]
    BadKey,
    /// This machine's certificates could not be read, and the address is https.
    #[error("the certificates of this machine cannot be read: {0}")]
    Certificates(std::io::Error),
    /// Nothing listens there.
    #[error("nothing answers at {url}: the connection was refused")]
    NotRunning {
        /// The address.
        url: String,
    },
    /// The connection failed in another way.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The address.
        url: String,
        /// The chain of causes.
        reason: String,
    },
    /// No answer in time.
    #[error("{url} did not answer within {} s", DEADLINE.as_secs())]
    Timeout {
        /// The address.
        url: String,
    },
    /// 401.
    #[error("{}", if *sent { "the server does not know this key" } else { "the server asks for a key, and there is none" })]
    UnknownKey {
        /// Whether one was sent.
        sent: bool,
    },
    /// Any other refusal, from its problem document.
    #[error("{message}")]
    Problem {
        /// HTTP status.
        status: StatusCode,
        /// Stable code of the problem, if the answer held one.
        code: Option<String>,
        /// Title, detail and fields, in one line or several.
        message: String,
    },
    /// A 2xx that is not what the API promises.
    #[error("the answer of {url} is not what this release expects: {reason}")]
    Unexpected {
        /// The address.
        url: String,
        /// What is odd.
        reason: String,
    },
}

impl ClientError {
    /// Exit code of a command that ends with it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BadUrl(_) | Self::BadKey => 2,
            Self::Certificates(_) | Self::NotRunning { .. } | Self::Unreachable { .. } | Self::Timeout { .. } => 3,
            Self::UnknownKey { .. } => 4,
            Self::Problem { status, .. } if *status == StatusCode::FORBIDDEN => 4,
            Self::Problem { .. } | Self::Unexpected { .. } => 1,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotRunning { .. } => {
                "start a server with `posthaste serve` (or `posthaste demo`), or name another with --server or POSTHASTE_URL".into()
            }
            Self::UnknownKey { sent: false } => {
                "set POSTHASTE_KEY to a private key (or pass --key); the first start of a server prints one".into()
            }
            Self::UnknownKey { sent: true } => {
                "check POSTHASTE_KEY (or --key): it must be a private key of this server; the first start printed one".into()
            }
            Self::Problem { status, .. } if *status == StatusCode::FORBIDDEN => {
                "POSTHASTE_KEY lacks the scope for this; use a key with more scopes, or make one: posthaste key create".into()
            }
            Self::Problem { code: Some(code), .. } => format!("more about this: {API}/errors/{code} on the server"),
            _ => return None,
        })
    }

    /// Whether the same request may succeed a moment later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NotRunning { .. } | Self::Unreachable { .. } | Self::Timeout { .. } => true,
            Self::Problem { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            _ => false,
        }
    }
}

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    bearer: Option<HeaderValue>,
}

impl Client {
    /// A client of the server at `remote.url`. Connects only when it is used.
    pub fn new(remote: &Remote) -> Result<Self, ClientError> {
        let bad_url = || ClientError::BadUrl(remote.url.clone());
        let base = remote.url.trim().trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|_| bad_url())?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad_url()),
        };
        let bearer = match remote.key.as_deref().map(str::trim).filter(|key| !key.is_empty()) {
            None => None,
            Some(key) => {
                let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| ClientError::BadKey)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { pool: pool(https)?, base, bearer })
    }

    /// Base address, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `GET` below the native API.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.api(Method::GET, path, None).await
    }

    /// `GET` below the native API, the text of the answer as it came.
    pub async fn get_text(&self, path: &str) -> Result<String, ClientError> {
        let (status, bytes) = self.exchange(self.request(Method::GET, &format!("{API}{path}"))?).await?;
        if !status.is_success() {
            return Err(self.refusal(status, &bytes));
        }
        String::from_utf8(bytes.into()).map_err(|_| self.unexpected("it is not UTF-8"))
    }

    /// `POST` of a JSON document below the native API.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.api(Method::POST, path, Some(Bytes::from(body.to_string()))).await
    }

    /// `POST` of exact bytes below the native API.
    pub async fn post_bytes(&self, path: &str, body: Bytes) -> Result<Value, ClientError> {
        self.api(Method::POST, path, Some(body)).await
    }

    /// `DELETE` below the native API.
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.api(Method::DELETE, path, None).await
    }

    /// `POST` of exact bytes below the native API, with headers of its own.
    pub async fn post_with(&self, headers: http::HeaderMap, path: &str, body: Bytes) -> Result<Value, ClientError> {
        let mut request = self.request(Method::POST, &format!("{API}{path}"))?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().extend(headers);
        *request.body_mut() = Full::new(body);
        self.answer(request).await
    }

    async fn api(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Value, ClientError> {
        let mut request = self.request(method, &format!("{API}{path}"))?;
        if let Some(body) = body {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Full::new(body);
        }
        self.answer(request).await
    }

    /// Sends a request and reads the JSON of its 2xx (null when empty); anything else is an error.
    pub async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Value, ClientError> {
        let (status, bytes) = self.exchange(request).await?;
        self.understand(status, &bytes)
    }

    /// A request to any path of the server, with the key and `Accept: application/json`.
    pub fn request(&self, method: Method, path: &str) -> Result<Request<Full<Bytes>>, ClientError> {
        let uri = format!("{}{path}", self.base).parse::<Uri>().map_err(|_| ClientError::BadUrl(format!("{}{path}", self.base)))?;
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(http::header::USER_AGENT, HeaderValue::from_static(concat!("posthaste/", env!("CARGO_PKG_VERSION"))));
        if let Some(bearer) = &self.bearer {
            request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        }
        Ok(request)
    }

    /// Sends a request and reads the whole answer, whatever its status.
    pub async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ClientError> {
        let url = origin(request.uri());
        let work = async {
            let response = self.pool.request(request).await.map_err(|e| unreachable(&url, &e))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|e| ClientError::Unreachable { url: url.clone(), reason: e.to_string() })?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(DEADLINE, work).await.map_err(|_| ClientError::Timeout { url: url.clone() })?
    }

    /// Opens a stream below the native API: only the head of the answer has a deadline.
    pub async fn stream(&self, path: &str, accept: &'static str) -> Result<Response<Incoming>, ClientError> {
        let mut request = self.request(Method::GET, &format!("{API}{path}"))?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        let timeout = || ClientError::Timeout { url: self.base.clone() };
        let response = tokio::time::timeout(DEADLINE, self.pool.request(request)).await.map_err(|_| timeout())?;
        let response = response.map_err(|e| unreachable(&self.base, &e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
        let body = tokio::time::timeout(DEADLINE, body).await.map_err(|_| timeout())?;
        let body = body.map(|b| b.to_bytes()).unwrap_or_default();
        Err(self.refusal(status, &body))
    }

    fn understand(&self, status: StatusCode, body: &[u8]) -> Result<Value, ClientError> {
        if !status.is_success() {
            return Err(self.refusal(status, body));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(body).map_err(|e| self.unexpected(format!("it is not JSON ({e})")))
    }

    /// An answer that breaks the contract.
    pub fn unexpected(&self, reason: impl Into<String>) -> ClientError {
        ClientError::Unexpected { url: self.base.clone(), reason: reason.into() }
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ClientError {
        if status == StatusCode::UNAUTHORIZED {
            return ClientError::UnknownKey { sent: self.bearer.is_some() };
        }
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let part = |name: &str| problem.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let head = part("detail").or(part("title")).or(part("message")).map(str::to_owned);
        let mut message = head.unwrap_or_else(|| format!("the server answered {status}"));
        for error in problem.get("errors").and_then(Value::as_array).into_iter().flatten() {
            let of = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
            message.push_str(&format!("\n  {}: {}", of("field"), of("detail")));
        }
        ClientError::Problem { status, code: part("code").map(str::to_owned), message }
    }
}

fn pool(https: bool) -> Result<Pool<HttpsConnector<HttpConnector>, Full<Bytes>>, ClientError> {
    let builder = HttpsConnectorBuilder::new();
    let builder = if https {
        builder.with_native_roots().map_err(ClientError::Certificates)?
    } else {
        // No certificate is ever looked at: plain addresses must work on machines that have none.
        let empty = rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        builder.with_tls_config(empty)
    };
    let connector = builder.https_or_http().enable_http1().build();
    Ok(Pool::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector))
}

fn origin(uri: &Uri) -> String {
    format!("{}://{}", uri.scheme_str().unwrap_or("http"), uri.authority().map_or("", |a| a.as_str()))
}

fn unreachable(url: &str, error: &hyper_util::client::legacy::Error) -> ClientError {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    let mut reason = error.to_string();
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return ClientError::NotRunning { url: url.to_owned() };
        }
        reason = current.to_string();
        cause = current.source();
    }
    ClientError::Unreachable { url: url.to_owned(), reason }
}

/// Writes text as one part of a path or query: everything but letters, digits and `-._~` as `%XX`.
pub fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str, key: Option<&str>) -> Result<Client, ClientError> {
        Client::new(&Remote { url: url.into(), key: key.map(str::to_owned) })
    }

    #[test]
    fn addresses_are_checked_before_use() {
        for wrong in ["127.0.0.1:8080", "ftp://a.example", "", "http://"] {
            assert!(matches!(client(wrong, None), Err(ClientError::BadUrl(_))), "{wrong:?} was taken");
        }
        assert_eq!(client("http://a.example/ ", None).expect("valid").base(), "http://a.example");
        assert!(matches!(client("http://a.example", Some("a\nb")), Err(ClientError::BadKey)));
    }

    #[tokio::test]
    async fn a_refused_connection_says_how_to_start_a_server() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = free.local_addr().expect("bound");
        drop(free);
        let error = client(&format!("http://{address}"), None).expect("valid").get("/events").await.expect_err("nothing is there");
        assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
        assert_eq!(error.exit_code(), 3);
        assert!(error.hint().is_some_and(|hint| hint.contains("posthaste serve")));
    }

    #[test]
    fn refusals_say_which_variable_and_which_field() {
        let client = client("http://a.example", Some("phk_x")).expect("valid");
        let unknown = client.refusal(StatusCode::UNAUTHORIZED, b"");
        assert!(unknown.hint().is_some_and(|hint| hint.contains("POSTHASTE_KEY")));
        assert_eq!(unknown.exit_code(), 4);
        let body = br#"{"title":"Invalid","code":"invalid_field","detail":"settings.url: is not a URL","errors":[{"field":"settings.url","detail":"is not a URL"}]}"#;
        let refused = client.refusal(StatusCode::UNPROCESSABLE_ENTITY, body);
        assert_eq!(refused.to_string(), "settings.url: is not a URL\n  settings.url: is not a URL");
        assert_eq!(refused.hint().as_deref(), Some("more about this: /posthaste/v1/errors/invalid_field on the server"));
    }

    #[test]
    fn parts_of_paths_are_encoded() {
        assert_eq!(encode("a b/ü?"), "a%20b%2F%C3%BC%3F");
    }
}
