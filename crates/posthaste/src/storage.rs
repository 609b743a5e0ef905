//! The store of a server: its data directory, or a database that it shares with other nodes.

use std::path::Path;
use std::sync::Arc;

use posthaste_domain::signature::hmac_sha256;
use posthaste_store::postgres::{PostgresOptions, PostgresStore};
use posthaste_store::secrets::MasterKeys;
use posthaste_store::sqlite::{SqliteOptions, SqliteStore};
use posthaste_store::{Bins, Catalog, Cluster, History, Journal, StoreError, Suppressions, master};

use crate::config::Config;
use crate::node::StartError;

/// Connections that are not for lists: the writer, lanes, transactions of several steps (configuration, bins, buckets and claims), bells.
const OWN_CONNECTIONS: usize = 6;

/// An open store, by its faces.
pub struct Storage {
    pub catalog: Arc<dyn Catalog>,
    pub journal: Arc<dyn Journal>,
    pub history: Arc<dyn History>,
    pub bins: Arc<dyn Bins>,
    pub suppressions: Arc<dyn Suppressions>,
    /// The other nodes, if there may be any.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// The key of message pages, derived from the oldest master key: it stays the same over restarts, restored backups, and rotations that
    /// only add a key.
    pub page_secret: [u8; 32],
}

/// Opens what the configuration names.
pub async fn open(config: &Config) -> Result<Storage, StartError> {
    if config.database.url.is_empty() { directory(config).await } else { database(config).await }
}

async fn directory(config: &Config) -> Result<Storage, StartError> {
    let path = config.data.display().to_string();
    let data = config.data.clone();
    let options = SqliteOptions {
        segment_bytes: config.retention.segment.0,
        compress_after: Some(config.retention.compress_after.0).filter(|after| !after.is_zero()),
        ..SqliteOptions::default()
    };
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&data, options)).await;
    let store = opened.unwrap_or_else(|panicked| Err(StoreError::Engine(Box::new(panicked)))).map_err(|error| match error {
        StoreError::Engine(source) => StartError::Directory { path, source },
        other => StartError::Store(other),
    })?;
    let keys = std::fs::read_to_string(key_file(&config.data)).map_err(StartError::KeyFile)?;
    Ok(Storage {
        catalog: Arc::new(store.clone()),
        journal: Arc::new(store.clone()),
        history: Arc::new(store.clone()),
        bins: Arc::new(store.clone()),
        suppressions: Arc::new(store),
        cluster: None,
        page_secret: page_secret(&keys),
    })
}

async fn database(config: &Config) -> Result<Storage, StartError> {
    let settings = &config.database;
    // Kept on this machine: the counts over time.
    let unusable = |error: std::io::Error| StartError::Directory { path: config.data.display().to_string(), source: error.into() };
    std::fs::create_dir_all(&config.data).map_err(unusable)?;
    let (keys, text) = if settings.master_key.is_empty() {
        let file = key_file(&config.data);
        let keys = match master::load(&file).map_err(StartError::Store)? {
            Some(keys) => keys,
            None => master::create(&file).map_err(StartError::Store)?,
        };
        (keys, std::fs::read_to_string(&file).map_err(StartError::KeyFile)?)
    } else {
        let text = settings.master_key.replace(',', "\n");
        (MasterKeys::parse(&text).map_err(StartError::MasterKey)?, text)
    };
    let name = if settings.node.is_empty() { machine_name() } else { settings.node.clone() };
    let list_connections = settings.connections.saturating_sub(OWN_CONNECTIONS).max(1);
    let options = PostgresOptions { list_connections, authorities: authorities(config)?, ..PostgresOptions::new(name, keys) };
    let store = PostgresStore::open(&settings.url, options).await.map_err(StartError::Store)?;
    Ok(Storage {
        catalog: Arc::new(store.clone()),
        journal: Arc::new(store.clone()),
        history: Arc::new(store.clone()),
        bins: Arc::new(store.clone()),
        suppressions: Arc::new(store.clone()),
        cluster: Some(Arc::new(store)),
        page_secret: page_secret(&text),
    })
}

/// Who may vouch for the database, if not those that the system trusts.
pub fn authorities(config: &Config) -> Result<Option<Vec<u8>>, StartError> {
    let path = &config.database.ca;
    let read = || std::fs::read(path).map_err(|source| StartError::Authorities { path: path.clone(), source });
    (!path.is_empty()).then(read).transpose()
}

fn key_file(data: &Path) -> std::path::PathBuf {
    data.join("master.key")
}

fn page_secret(keys: &str) -> [u8; 32] {
    let oldest = keys.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    hmac_sha256(oldest.as_bytes(), b"posthaste message pages")
}

fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
