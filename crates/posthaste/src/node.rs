//! A whole server in this process: store, engine, channels, dialects and the HTTP surface, put together.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use posthaste_channels::sms::SmsDefaults;
use posthaste_channels::{AddressGuard, ChannelOptions, Channels, EmailDefaults, SettingsError};
use posthaste_dialects::DialectSettings;
use posthaste_dialects::momentum::MomentumSettings;
use posthaste_dialects::msggo::MsggoSettings;
use posthaste_domain::people::Lifetimes;
use posthaste_domain::resource::{Account, Key, KeyKind, Scope, Workspace};
use posthaste_engine::{CarrierSettings, Desk, Edit, Engine, EngineError, EngineSettings, Entry, NewKey, Parts, ResourceError};
use posthaste_server::people::SETUP_PATH;
use posthaste_server::{AppState, EffectiveSetting, OpenBins, OwnBins, ServeSettings, ServerSettings};
use posthaste_store::migrate::{MoveState, Moving};
use posthaste_store::secrets::KeyError;
use posthaste_store::{Record, RetentionRule, StoreError};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::clock::SystemClock;
use crate::config::{Config, SETTINGS, Setting};
use crate::{series, storage};

/// Name of the dialect whose signing key begins as the API key.
const MAILGUN: &str = "mailgun";

/// Time for another node, which starts at the same moment, to make the first key.
const OTHERS_FIRST_KEY: Duration = Duration::from_secs(5);

/// Least time for attempts under way after requests took their share of the shutdown.
const LEAST_DRAIN: Duration = Duration::from_secs(1);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened; locked, for example.
    #[error(transparent)]
    Store(StoreError),
    /// The data directory cannot be made, read or written.
    #[error("the data directory {path} cannot be used")]
    Directory {
        /// The directory.
        path: String,
        /// What the store said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another program listens there.
    #[error("{address} is in use by another program")]
    Busy {
        /// The address.
        address: String,
    },
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A setting of a channel cannot be used.
    #[error("{0}")]
    Channels(#[from] SettingsError),
    /// The engine does not start on what is stored.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// The first workspace or its key cannot be made.
    #[error("the first workspace cannot be made: {0}")]
    First(#[from] ResourceError),
    /// The key file of the store cannot be read.
    #[error("cannot read the key file in the data directory: {0}")]
    KeyFile(std::io::Error),
    /// The file of authorities cannot be read.
    #[error("cannot read database.ca: {path}: {source}")]
    Authorities {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The keys of the configuration are none.
    #[error("database.master_key cannot be used: {0}")]
    MasterKey(KeyError),
}

impl StartError {
    /// What the store said, if it was that.
    fn of_store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) | Self::Engine(EngineError::Store(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether the same start may go well a moment later: the database is away.
    pub fn may_pass(&self) -> bool {
        matches!(self.of_store(), Some(StoreError::Unavailable(_)))
    }

    /// Whether other nodes took this one for gone while it started.
    pub fn was_lost(&self) -> bool {
        matches!(self.of_store(), Some(StoreError::Fenced))
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Store(error) => return store_hint(error),
            Self::Directory { .. } => "name a directory that this user may write to with --data".into(),
            Self::Busy { .. } => "is Posthaste running already? Otherwise choose another port: --listen 127.0.0.1:8081".into(),
            Self::Channels(_) => "`posthaste check` shows the settings in effect".into(),
            _ => return None,
        })
    }
}

/// What to do about a store that does not open.
pub fn store_hint(error: &StoreError) -> Option<String> {
    Some(match error {
        StoreError::Locked { pid, .. } => {
            let first = pid.map(|pid| format!("stop that process first (kill {pid})"));
            format!("{}, or name another directory with --data", first.as_deref().unwrap_or("stop that process first"))
        }
        StoreError::MasterKey => {
            "put the master.key that belongs to this data directory back; with a database, all nodes need the same (database.master_key)"
                .into()
        }
        StoreError::Unavailable(_) => "is the database running, and database.url (--database) right?".into(),
        StoreError::File { file, .. } if file.ends_with("master.key") => {
            "it holds one base64 key of 32 bytes per line, for its owner alone (chmod 600)".into()
        }
        StoreError::File { .. } => {
            "put it back from a backup; docs/operations.md says how to go on without it, and what is lost then".into()
        }
        StoreError::TooNew { .. } => "use the release that wrote it, or a newer one".into(),
        StoreError::Full(_) => "make room, or see that the directory belongs to this user".into(),
        StoreError::Moving(Moving { state: MoveState::Filling, .. }) => {
            "run the same `posthaste migrate` again: it goes on; or empty this end and begin anew".into()
        }
        StoreError::Moving(Moving { state: MoveState::Leaving, mark, .. }) => {
            format!("run the same `posthaste migrate` again: it goes on; or, to stay here, remove {mark} and empty the other end")
        }
        StoreError::Moving(Moving { state: MoveState::Left, mark, .. }) => {
            format!("start on the other end; whoever removes {mark} to start here sends again what was pending when it was moved")
        }
        _ => return None,
    })
}

/// Numbers of the targets of a catalog that one node alone would send to, where several with this configuration share a database.
pub fn owned_targets(config: &Config, records: Vec<Record>) -> Result<BTreeSet<i64>, StartError> {
    let settings = engine_settings(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), [0; 32]);
    let channels = channels(config, OwnBins::new(&settings.public_base_url))?;
    let formats = posthaste_dialects::formats(&server_settings(config).dialects);
    Ok(posthaste_engine::owned_targets(records, channels, formats, settings.carriers)?)
}

/// A started server that does not answer requests yet; [`Node::run`] does that.
pub struct Node {
    engine: Engine,
    listener: TcpListener,
    address: SocketAddr,
    state: AppState,
    /// What is sent to this server's own request bins arrives as long as this is held.
    bins: OpenBins,
    shutdown: Duration,
    data: PathBuf,
    has_console: bool,
}

/// What [`Node::first_key`] made.
#[derive(Debug)]
pub struct FirstKey {
    /// The new key.
    pub entry: Arc<Entry<Key>>,
    /// Its token.
    pub token: String,
    /// Whether the token was given and not made up.
    pub was_given: bool,
}

impl Node {
    /// Opens the data directory, takes the address and starts to deliver what is pending.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let store = storage::open(config).await?;
        // The address before the engine: when it is taken, nothing must have been sent.
        let (listener, address) = listen(&config.listen.0).await?;
        let settings = engine_settings(config, address, store.page_secret);
        let own_bins = OwnBins::new(&settings.public_base_url);
        let channels = channels(config, Arc::clone(&own_bins))?;
        let surface = server_settings(config);
        let parts = Parts {
            catalog: store.catalog,
            journal: store.journal,
            history: store.history,
            bins: store.bins,
            suppressions: store.suppressions,
            cluster: store.cluster,
            channels,
            formats: posthaste_dialects::formats(&surface.dialects),
            clock: Arc::new(SystemClock::start()),
            settings,
        };
        let engine = Engine::start(parts).await?;
        series::restore(&engine, &config.data);
        engine.tasks().spawn("series", series::keep(engine.clone(), config.data.clone()));
        let state = AppState::new(engine.clone(), surface);
        let bins = own_bins.open(&state);
        let (shutdown, data, has_console) = (config.limits.shutdown.0, config.data.clone(), config.console.enabled);
        Ok(Self { engine, listener, address, state, bins, shutdown, data, has_console })
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Address for clients on this machine.
    pub fn url(&self) -> String {
        format!("http://{}", reachable(self.address))
    }

    /// On the first start, makes the workspace `default`. Makes a private admin key when there is none in any workspace, or when `anew` is set;
    /// its token is `token` if that is given.
    pub async fn first_key(&self, token: Option<String>, anew: bool) -> Result<Option<FirstKey>, StartError> {
        let is_admin = |key: &Arc<Entry<Key>>| key.doc.kind == KeyKind::Private && key.doc.scopes.contains(&Scope::Admin);
        let has_admin = || self.engine.workspaces().into_iter().any(|workspace| self.engine.list::<Key>(workspace).iter().any(is_admin));
        if self.engine.workspaces().is_empty()
            && self.engine.create_first_workspace(Workspace { name: "default".into(), parent: None }).await?.is_none()
        {
            // Another node makes it in this moment, and its key next.
            let patience = Instant::now() + OTHERS_FIRST_KEY;
            while !has_admin() && Instant::now() < patience {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let workspace = self.engine.workspaces().into_iter().min().unwrap_or_default();
        let has_admin = has_admin();
        if has_admin && !anew {
            return Ok(None);
        }
        let token = token.filter(|token| self.engine.find_key(token).is_none());
        let was_given = token.is_some();
        let description = if has_admin { "administrator, made at a start" } else { "administrator, made by the first start" };
        let scopes = Some(vec![Scope::Admin]);
        // It works in every dialect, those that sign included.
        let key = NewKey { description: description.into(), scopes, token, may_sign: true, ..NewKey::new(KeyKind::Private) };
        let made = self.engine.create_key(workspace, key).await?;
        self.sign_for_mailgun(workspace, made.1.clone()).await?;
        Ok(Some(FirstKey { entry: made.0, token: made.1, was_given }))
    }

    /// Address of the console, if it is served.
    pub fn console_url(&self) -> Option<String> {
        self.has_console.then(|| format!("{}/console/", self.engine.settings().public_base_url))
    }

    /// Address of the page of the console where the first member makes itself, while there is none. It works once, and until the server stops.
    pub fn setup_url(&self) -> Option<String> {
        let token = self.has_console.then(|| self.state.people().new_setup_token())??;
        Some(format!("{}{SETUP_PATH}{token}", self.engine.settings().public_base_url))
    }

    /// Mailgun's webhooks are signed with the API key until another key is chosen, as its older clients assume (O-16 of the specification).
    async fn sign_for_mailgun(&self, workspace: i64, token: String) -> Result<(), StartError> {
        let plan = move |desk: &Desk<'_>| {
            if desk.named::<Account>(MAILGUN).is_some() {
                return Ok(Vec::new());
            }
            let account = Account {
                dialect: MAILGUN.to_owned(),
                settings: serde_json::json!({ "signing_key": token }),
                secret_settings: vec!["/signing_key".to_owned()],
            };
            Ok(vec![Edit::account(desk.new_id::<Account>(), account)])
        };
        Ok(self.engine.edit(workspace, plan).await?)
    }

    /// Answers requests until `stop` resolves or the node is lost, then finishes what is under way within the configured time and closes the
    /// store.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Ended {
        let (deadline, ended) = (std::cell::Cell::new(None), std::cell::Cell::new(Ended::Stopped));
        let engine = self.engine.clone();
        let grace = self.shutdown;
        let stop = async {
            let given = tokio::select! {
                () = stop => grace,
                () = engine.lost() => {
                    ended.set(Ended::Lost);
                    LEAST_DRAIN
                }
            };
            deadline.set(Some(Instant::now() + given));
        };
        let settings = ServeSettings { grace, ..ServeSettings::default() };
        let console = if self.has_console { posthaste_console::router(self.state.clone()) } else { axum::Router::new() };
        let app = posthaste_server::App::with(self.state, console);
        posthaste_server::serve_with(self.listener, app, stop, settings).await;
        let left = deadline.get().map_or(self.shutdown, |until| until.saturating_duration_since(Instant::now()));
        self.engine.shutdown(left.max(LEAST_DRAIN.min(self.shutdown))).await;
        drop(self.bins);
        series::save(&self.engine, &self.data);
        ended.get()
    }
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// Other nodes took it for gone: it has to begin anew.
    Lost,
}

fn channels(config: &Config, own_bins: Arc<OwnBins>) -> Result<Channels, SettingsError> {
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let email = EmailDefaults { relay: given(&config.email.relay), from: given(&config.email.from) };
    let sms = SmsDefaults { carrier: config.sms.carrier.0.clone(), from: given(&config.sms.from), simulator: config.sms.simulator.clone() };
    let guard = AddressGuard::new(config.allow_network.clone());
    Channels::standard(&ChannelOptions { guard, email, sms, own: Some(own_bins), ..ChannelOptions::default() })
}

async fn listen(address: &str) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AddrInUse => StartError::Busy { address: address.to_owned() },
        _ => StartError::Listen { address: address.to_owned(), error },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// The address itself, or loopback when it stands for all addresses of the machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn engine_settings(config: &Config, address: SocketAddr, page_secret: [u8; 32]) -> EngineSettings {
    let public_base_url = match config.public_url.0.as_str() {
        "" => format!("http://{}", reachable(address)),
        url => url.to_owned(),
    };
    EngineSettings {
        max_payload_bytes: config.limits.max_payload.as_usize(),
        global_in_flight: config.limits.in_flight,
        lane_bytes: config.limits.lane_bytes.as_usize(),
        lanes_bytes: config.limits.lanes_bytes.as_usize(),
        accept_queue_bytes: config.limits.accept_queue.as_usize(),
        retention_every: config.retention.every.0,
        retention: RetentionRule { max_age_ms: config.retention.age.as_millis_i64(), max_bytes: config.retention.bytes.0 },
        rotation_overlap: config.delivery.rotation_overlap.0,
        disable_after: config.delivery.disable_after.0,
        audit_age: config.retention.audit.0,
        sessions: Lifetimes { idle: config.sessions.idle.0, absolute: config.sessions.absolute.0 },
        notify_email: Some(config.delivery.notify_email.clone()).filter(|to| !to.is_empty()),
        public_base_url,
        page_secret,
        carriers: CarrierSettings {
            email_retry: config.email.retry.clone(),
            sms_retry: config.sms.retry.clone(),
            ..CarrierSettings::default()
        },
        ..EngineSettings::default()
    }
}

fn server_settings(config: &Config) -> ServerSettings {
    let msggo = MsggoSettings {
        enabled: config.dialects.msggo.enabled,
        public_limit: config.inbox.public_limit,
        public_per: config.inbox.public_per.0,
        block: config.inbox.block.0,
        max_characters: config.inbox.max_characters,
        trusted_proxies: config.inbox.trusted_proxies.clone(),
        ..MsggoSettings::default()
    };
    let momentum = MomentumSettings { trusted_proxies: config.inbox.trusted_proxies.clone(), ..config.dialects.momentum.clone() };
    ServerSettings {
        max_body_bytes: config.limits.max_payload.as_usize(),
        dialects: DialectSettings { msggo, momentum, ..config.dialects.clone() },
        home: config.console.enabled.then_some("/console/"),
        effective: effective(config),
        allocations: crate::allocator::count(),
        ..ServerSettings::default()
    }
}

/// The configuration as the API shows it.
fn effective(config: &Config) -> Vec<EffectiveSetting> {
    let usual = Config::default();
    let shown = |setting: &Setting| EffectiveSetting {
        name: setting.key.to_owned(),
        value: setting.show_masked(config),
        is_default: setting.show(config) == setting.show(&usual),
        about: setting.help.to_owned(),
        variable: setting.variable(),
    };
    SETTINGS.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::value::Listen;

    fn config(data: &Path) -> Config {
        Config { data: data.to_owned(), listen: Listen("127.0.0.1:0".into()), ..Config::default() }
    }

    #[tokio::test]
    async fn the_first_start_makes_one_workspace_and_one_key_and_later_ones_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let given = "a-key-from-the-environment".to_owned();
        let node = Node::start(&config(dir.path())).await.expect("starts");
        let first = node.first_key(Some(given.clone()), false).await.expect("made").expect("there was none");
        assert!(first.was_given && first.token == given && first.entry.doc.scopes == [Scope::Admin]);
        assert!(node.first_key(Some("another-key".into()), false).await.expect("no error").is_none(), "a second start made a key");
        let node = {
            node.run(std::future::ready(())).await;
            Node::start(&config(dir.path())).await.expect("starts again")
        };
        assert!(node.engine().find_key(&given).is_some(), "the key is gone after a restart");
        assert!(node.first_key(None, false).await.expect("no error").is_none());
        let anew = node.first_key(None, true).await.expect("no error").expect("asked for");
        assert!(anew.token.starts_with("phk_") && !anew.was_given);
        node.run(std::future::ready(())).await;
    }

    #[tokio::test]
    async fn a_second_process_on_the_directory_is_told_what_to_do() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::start(&config(dir.path())).await.expect("starts");
        let error = Node::start(&config(dir.path())).await.err().expect("refused");
        assert!(error.to_string().contains("in use by another Posthaste process"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--data")));
        node.run(std::future::ready(())).await;
    }

    #[tokio::test]
    async fn a_busy_port_is_told_before_anything_is_delivered() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let listen = Listen(taken.local_addr().expect("bound").to_string());
        let error = Node::start(&Config { listen, ..config(dir.path()) }).await.err().expect("refused");
        assert!(matches!(error, StartError::Busy { .. }), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--listen")));
    }

    #[test]
    fn an_unspecified_address_is_reached_by_loopback() {
        let url = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(
            (url("0.0.0.0:80"), url("[::]:80"), url("10.1.2.3:80")),
            ("127.0.0.1:80".into(), "[::1]:80".into(), "10.1.2.3:80".into())
        );
    }
}
