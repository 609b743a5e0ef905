//! `posthaste migrate`: moves an installation from a data directory to a database, or back.

use std::path::{Path, PathBuf};

use posthaste_store::migrate::{Counts, MigrateError, MigrateOptions, Place, Progress, Report, count_database, count_directory, down, up};
use posthaste_store::{Record, StoreError};
use serde_json::json;
use tokio::time::Instant;

use super::{environment, say_json};
use crate::config::Config;
use crate::config::load::Layers;
use crate::failure::{Failure, chain};
use crate::node::{owned_targets, store_hint};
use crate::storage::authorities;
use crate::term::{Style, paint, progress, say, say_aside};

/// Moves everything from a data directory to a Postgres database, or back down: configuration, history, and what is pending.
///
/// A server may run on the directory: what it has written is moved beside it, until you stop it, which is asked for when little is left. Nodes of a
/// database have to be stopped first. All numbers and ids stay the same. A move that was interrupted in any way, kill -9 included, goes on when the same
/// command is run again; from the stop on, until it is done, no server starts on either end, and afterwards none on the end that was left.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Migrate {
    /// What to move: a data directory, or postgres://user@host/database [default: database.url of the configuration].
    #[arg(long, value_name = "DIR|URL", required_unless_present = "to")]
    from: Option<Place>,
    /// Where to: an empty database, or a directory that is new or empty [default: database.url of the configuration].
    #[arg(long, value_name = "DIR|URL")]
    to: Option<Place>,
    /// Master key of the nodes, for a move to a directory [default: database.master_key of the configuration, or master.key in that directory].
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
    /// Certificates, in PEM, of authorities that may vouch for the database [default: database.ca of the configuration, or those of
    /// the system].
    #[arg(long, value_name = "FILE")]
    database_ca: Option<PathBuf>,
    /// Configuration file of the nodes; POSTHASTE_CONFIG otherwise.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only count what would be moved.
    #[arg(long)]
    dry_run: bool,
    /// Rows, and events, of one transaction; for tests.
    #[arg(long, hide = true, value_name = "N")]
    rows: Option<usize>,
}

/// What `--help` ends with.
const EXAMPLES: &str = "Examples:
  posthaste migrate --from ./posthaste-data --to postgres://posthaste@db/posthaste --dry-run
  posthaste migrate --from ./posthaste-data --to postgres://posthaste@db/posthaste
  posthaste migrate --from postgres://posthaste@db/posthaste --to ./new --master-key master.key

With POSTHASTE_DATABASE_URL set, the end that is not named is that database, and no password is among the arguments.";

impl Migrate {
    /// Runs it.
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let config = Layers::gather(self.config.as_deref(), environment(), Vec::new())?.load()?.config;
        let mut options = MigrateOptions::default();
        options.rows = self.rows.unwrap_or(options.rows);
        options.authorities = match &self.database_ca {
            Some(file) => Some(std::fs::read(file).map_err(Failure::io(format!("cannot read {}", file.display())))?),
            None => authorities(&config).map_err(|error| Failure::Start { message: error.to_string(), hint: None })?,
        };
        let (from, to) = (end(self.from.as_ref(), "--from", &config)?, end(self.to.as_ref(), "--to", &config)?);
        if matches!((from, to), (End::Directory(_), End::Directory(_)) | (End::Database(_), End::Database(_))) {
            return Err(Failure::Start {
                message: "one end has to be a data directory and the other a database".into(),
                hint: Some("posthaste migrate --from ./posthaste-data --to postgres://user@host/database".into()),
            });
        }
        if self.dry_run {
            let counted = match from {
                End::Directory(dir) => count_directory(dir, &options).await,
                End::Database(url) => count_database(url, &options).await,
            };
            tell_counts(&counted.map_err(failure)?, json);
            return Ok(());
        }
        let started = Instant::now();
        let bar = progress("migrate", 0);
        let mut asked = None;
        let mut told = |step: Progress| {
            if let Some(server) = step.waits_for
                && asked.replace(server) != Some(server)
            {
                let who = server.pid.map_or_else(|| "the server".to_owned(), |pid| format!("the server (process {pid})"));
                bar.suspend(|| {
                    say_aside(format!("what there is is moved ({} rows). Stop {who} now: the rest follows when it has ended", step.rows))
                });
            }
            bar.set_length(step.total);
            bar.set_position(step.done);
            let rate = step.rows as f64 / started.elapsed().as_secs_f64().max(0.001);
            let phase = if step.waits_for.is_some() { "waits for the server to end" } else { step.phase };
            bar.set_message(format!("{phase}, {} rows, {rate:.0} rows/s", step.rows));
        };
        let outcome = match (from, to) {
            (End::Database(url), End::Directory(dir)) => match self.master_keys(&config, dir) {
                Ok(keys) => down(url, dir, &keys, &options, &mut told).await,
                Err(error) => Err(error),
            },
            (End::Directory(dir), End::Database(url)) => {
                // What is pending for targets with an order has to be where the nodes will look for it.
                let owned = |records: Vec<Record>| {
                    owned_targets(&config, records).map_err(|error| StoreError::Engine(format!("the configuration: {error}").into()))
                };
                up(dir, url, &options, &owned, &mut told).await
            }
            _ => unreachable!("one end is a directory and the other a database"),
        };
        bar.finish_and_clear();
        let report = outcome.map_err(failure)?;
        tell(&report, started.elapsed().as_secs_f64(), matches!(from, End::Directory(_)), json);
        Ok(())
    }

    /// The master keys for a new directory, as a key file has them.
    fn master_keys(&self, config: &Config, dir: &Path) -> Result<String, MigrateError> {
        let setting = &config.database.master_key;
        if self.master_key.is_none() && !setting.is_empty() {
            return Ok(setting.replace(',', "\n"));
        }
        let file = self.master_key.clone().unwrap_or_else(|| dir.join("master.key"));
        std::fs::read_to_string(&file).map_err(|error| MigrateError::Key(format!("{}: {error}", file.display())))
    }
}

/// One end of the move: what was named, or the database of the configuration.
fn end<'a>(named: Option<&'a Place>, flag: &str, config: &'a Config) -> Result<End<'a>, Failure> {
    match named {
        Some(Place::Directory(dir)) => Ok(End::Directory(dir)),
        Some(Place::Database(url)) => Ok(End::Database(url)),
        None if !config.database.url.is_empty() => Ok(End::Database(&config.database.url)),
        None => Err(Failure::Start {
            message: format!("{flag} is missing, and the configuration names no database"),
            hint: Some("posthaste migrate --from ./posthaste-data --to postgres://user@host/database".into()),
        }),
    }
}

/// An end, borrowed.
#[derive(Clone, Copy)]
enum End<'a> {
    Directory(&'a Path),
    Database(&'a str),
}

fn lines(counts: &Counts) -> String {
    format!(
        "{} resources, {} audit entries, {} sessions, {} suppressions, {} caught requests, {} events, {} deliveries ({} pending), {} attempts, \
         {} idempotency keys",
        counts.resources,
        counts.audit,
        counts.sessions,
        counts.suppressions,
        counts.requests,
        counts.events,
        counts.deliveries,
        counts.pending,
        counts.attempts,
        counts.idempotency
    )
}

fn tell_counts(counts: &Counts, json: bool) {
    if json {
        say_json(&json!({"would_move": counts, "rows": counts.rows()}));
    } else {
        say(format!("{} rows to move: {}", paint(Style::Bold, counts.rows().to_string()), lines(counts)));
    }
}

fn tell(report: &Report, seconds: f64, is_up: bool, json: bool) {
    let rows = report.moved.rows();
    if json {
        let seconds = (seconds * 1000.0).round() / 1000.0;
        let stop = report.stop.map(|stop| (stop.as_secs_f64() * 1000.0).round() / 1000.0);
        say_json(&json!({
            "moved": report.moved,
            "rows": rows,
            "resumed": report.resumed,
            "seconds": seconds,
            "rows_beside_server": report.ahead,
            "seconds_stopped": stop,
        }));
        return;
    }
    let resumed = if report.resumed { ", after what was moved before" } else { "" };
    say(format!("{} {rows} rows in {seconds:.1} s{resumed}: {}", paint(Style::Good, "moved"), lines(&report.moved)));
    if let Some(stop) = report.stop {
        say(format!("{} of these rows while the server ran; it took {:.1} s from its end on.", report.ahead, stop.as_secs_f64()));
    }
    if is_up {
        say("Copy master.key of the data directory to the data directory of every node before it starts: it opens the secrets.");
    }
}

/// What happened, and what to do about it.
fn failure(error: MigrateError) -> Failure {
    let hint = match &error {
        MigrateError::NoDirectory(_) => "name the data directory of the server: --from DIR".into(),
        MigrateError::NoDatabase(_) => "look at the host and the name of the database in the URL".into(),
        MigrateError::Url(_) => "postgres://user:password@host:5432/database?sslmode=require".into(),
        MigrateError::Unreachable { .. } => "is the database running, and the address with its user, password and database right?".into(),
        MigrateError::Living { .. } => "stop all nodes; one that was killed is forgotten after five seconds".into(),
        MigrateError::NotEmpty(place) if place.starts_with("postgres://") => {
            "name another database, or, if nothing in it is needed, empty it: psql -c 'DROP SCHEMA posthaste CASCADE'".into()
        }
        MigrateError::NotEmpty(_) => "name a directory that does not exist yet".into(),
        MigrateError::Foreign { .. } | MigrateError::Restarted { .. } => {
            "empty the destination, remove the mark of the source if it has one (moved.json, or the table posthaste.move), and begin anew"
                .into()
        }
        MigrateError::Done { .. } => "start servers on the other end; docs/migrate.md says how to go back".into(),
        MigrateError::Key(_) => "name the master.key of a node: --master-key FILE".into(),
        MigrateError::Store(StoreError::MasterKey) => "name the master.key that the nodes use: --master-key FILE".into(),
        MigrateError::Store(StoreError::Unavailable(_)) => {
            "see that the database answers, then run the same command again: it goes on".into()
        }
        MigrateError::Store(StoreError::Locked { pid: Some(pid), .. }) => format!("stop that server first (kill {pid})"),
        MigrateError::Store(StoreError::TooNew { .. }) => "use the release that wrote it, or a newer one".into(),
        MigrateError::Store(error) => match store_hint(error) {
            Some(hint) => hint,
            None => return Failure::Start { message: message(error), hint: None },
        },
    };
    let message = match &error {
        MigrateError::Store(error) => message(error),
        other => chain(other),
    };
    Failure::Start { message, hint: Some(hint) }
}

fn message(error: &StoreError) -> String {
    match error {
        StoreError::Engine(source) => chain(&**source),
        other => chain(other),
    }
}
