//! TLS towards targets: rustls, the machine's trusted roots, and those the operator adds.
//!
//! Invariants: roots are read once, at the first connection that needs them, off the async threads; a machine without roots is a
//! warning and not an error, since plain HTTP targets need none.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

/// Servers whose sessions are kept for resumption, per configuration; the one first seen goes first.
const SERVERS_REMEMBERED: usize = 2048;
/// What rustls counts for one server.
const TICKETS_PER_SERVER: usize = 8;

/// Client side of TLS, read lazily.
#[derive(Default)]
pub struct Tls {
    extra_roots: Vec<CertificateDer<'static>>,
    configs: OnceCell<Configs>,
}

struct Configs {
    web: Arc<ClientConfig>,
    web_http1: Arc<ClientConfig>,
    mail: Arc<ClientConfig>,
}

impl Tls {
    /// The machine's roots and, besides, `extra_roots`.
    pub fn new(extra_roots: Vec<CertificateDer<'static>>) -> Self {
        Self { extra_roots, configs: OnceCell::new() }
    }

    /// For HTTPS: offers HTTP/2 and HTTP/1.1.
    pub async fn web(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.configs().await.web)
    }

    /// For HTTPS: offers HTTP/1.1 only.
    pub async fn web_http1(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.configs().await.web_http1)
    }

    /// For SMTP: offers no application protocol.
    pub async fn mail(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.configs().await.mail)
    }

    /// What the operator added to the machine's roots.
    pub fn extra_roots(&self) -> &[CertificateDer<'static>] {
        &self.extra_roots
    }

    async fn configs(&self) -> &Configs {
        self.configs
            .get_or_init(|| async {
                let extra = self.extra_roots.clone();
                let loading = tokio::task::spawn_blocking(move || load_roots(extra));
                let roots = loading.await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "reading the trusted roots broke off; no certificate will verify");
                    RootCertStore::empty()
                });
                let roots = Arc::new(roots);
                let with = |protocols: &[&str]| {
                    let mut config = config(Arc::clone(&roots));
                    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
                    Arc::new(config)
                };
                Configs { web: with(&["h2", "http/1.1"]), web_http1: with(&["http/1.1"]), mail: with(&[]) }
            })
            .await
    }
}

fn load_roots(extra: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a trusted root of this machine could not be read");
    }
    roots.add_parsable_certificates(native.certs);
    let (_, unusable) = roots.add_parsable_certificates(extra);
    if unusable > 0 {
        tracing::warn!(unusable, "some of the additional trusted roots are not usable certificates");
    }
    if roots.is_empty() {
        tracing::warn!("no trusted roots were found: no TLS target can be reached until some are installed");
    }
    roots
}

/// A configuration with a memory of sessions of its own: what was agreed upon under other protocols is not mixed in.
fn config(roots: Arc<RootCertStore>) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the ring provider has cipher suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(SERVERS_REMEMBERED * TICKETS_PER_SERVER);
    config
}
