//! From a database to a data directory.

use std::path::Path;

use tokio::sync::mpsc;

use super::marker::{self, Mark, MoveState};
use super::rows::{Position, Start, Step};
use super::{AHEAD, Counts, Meter, MigrateError, MigrateOptions, Progress, Report, blocking, path_name};
use crate::StoreError;
use crate::postgres::export::Export;
use crate::postgres::moving::Database;
use crate::secrets::MasterKeys;
use crate::sqlite::import::{Import, Rolls, put_keys, take};

/// Names of files that do not make a directory used.
const OWN_FILES: [&str; 5] = ["lock", marker::FILE, "moved.new", "master.key", "master.new"];

/// Counts what a move of this database would move. Nothing is marked.
///
/// # Errors
/// Those of [`down`] that have to do with the database.
pub async fn count_database(url: &str, options: &MigrateOptions) -> Result<Counts, MigrateError> {
    let database = Database::open(url, options).await?;
    match database.source_mark().await? {
        Some(mark) => Err(database.refusal(mark).into()),
        None => Ok(Export::open(&database, options.limits()).await?.counts(true).await?),
    }
}

/// Moves a database to a new data directory, or goes on with that. `master_key` is the text of the nodes' key file.
///
/// # Errors
/// [`MigrateError::Living`] when nodes serve the database, [`MigrateError::NotEmpty`] when the directory holds something,
/// [`StoreError::MasterKey`] when the key does not open the secrets; the others of [`MigrateError`]; whatever a store fails with. When something
/// failed on the way, the same call goes on.
pub async fn down(
    url: &str,
    dir: &Path,
    master_key: &str,
    options: &MigrateOptions,
    told: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, MigrateError> {
    let keys = MasterKeys::parse(master_key).map_err(|error| MigrateError::Key(error.to_string()))?;
    let database = Database::open(url, options).await?;
    // Before a directory is made for nothing.
    database.source_mark().await?;
    let path = dir.to_owned();
    let lock = blocking(move || Ok(take(&path)?)).await?;
    let resumed = agree(&database, dir, &keys, options).await?;
    put_keys(dir, master_key)?;
    database.join_all().await?;
    let mut export = Export::open(&database, options.limits()).await?;
    let (ends, start) = (export.ends().await?, export.start());
    let rolls = Rolls { bytes: options.segment_bytes, age_ms: options.age_ms() };
    let (import, at) = open(dir, lock, start, rolls).await?;
    let mut meter = Meter::new(&export.counts(false).await?, (start.first, ends.sequence), &at, options, told);
    meter.report.resumed = resumed;
    let (steps, queue) = mpsc::channel(AHEAD);
    let (written, mut done) = mpsc::channel(AHEAD);
    let writing = tokio::task::spawn_blocking(move || write(import, queue, &written));
    let reading = async {
        let mut at = at;
        while let Some(step) = export.read(&at).await? {
            at = step.next.clone();
            if steps.send(step).await.is_err() {
                break;
            }
        }
        drop(steps);
        Ok::<_, StoreError>(())
    };
    let counting = async {
        while let Some(step) = done.recv().await {
            meter.stored(&step)?;
        }
        drop(done);
        Ok::<_, MigrateError>(())
    };
    let (read, counted) = tokio::join!(reading, counting);
    let (import, wrote) = writing.await.map_err(|panicked| StoreError::Engine(panicked.into()))?;
    wrote?;
    read?;
    counted?;
    let lock = blocking(move || Ok(import.finish(&ends)?)).await?;
    database.left().await?;
    marker::remove(dir)?;
    drop(lock);
    Ok(meter.report)
}

async fn open(dir: &Path, lock: crate::sqlite::import::Lock, start: Start, rolls: Rolls) -> Result<(Import, Position), MigrateError> {
    let dir = dir.to_owned();
    blocking(move || {
        let import = Import::open(&dir, lock, start, rolls)?;
        let at = import.position()?;
        Ok((import, at))
    })
    .await
}

/// Writes what comes, and hands it on.
fn write(mut import: Import, mut queue: mpsc::Receiver<Step>, written: &mpsc::Sender<Step>) -> (Import, Result<(), StoreError>) {
    while let Some(step) = queue.blocking_recv() {
        if let Err(error) = import.write(&step.body, &step.next) {
            return (import, Err(error));
        }
        if written.blocking_send(step).is_err() {
            break;
        }
    }
    (import, Ok(()))
}

/// Sees to it that both ends have the marks of one move; answers whether it goes on with one that began earlier.
async fn agree(database: &Database, dir: &Path, keys: &MasterKeys, options: &MigrateOptions) -> Result<bool, MigrateError> {
    let (from, to) = (database.name.clone(), path_name(dir));
    let theirs = database.source_mark().await?;
    let own = marker::read(dir)?;
    let mark = match (own, theirs) {
        (Some(own), _) if own.state != MoveState::Filling => return Err(own.of_directory(dir).into()),
        (Some(own), Some(theirs)) if own.id == theirs.id => return Ok(true),
        (Some(own), None) if own.other == from => return Err(MigrateError::Restarted { from, to }),
        (Some(own), _) => return Err(MigrateError::Foreign { mark: own.of_directory(dir).to_string(), place: to }),
        (None, _) if is_used(dir)? => return Err(MigrateError::NotEmpty(to)),
        (None, Some(theirs)) if theirs.state == MoveState::Left => return Err(MigrateError::Done { from, to: theirs.other }),
        (None, Some(theirs)) if theirs.state == MoveState::Filling => return Err(database.refusal(theirs).into()),
        (None, Some(theirs)) if theirs.other != to => {
            return Err(MigrateError::Foreign { mark: database.refusal(theirs).to_string(), place: from });
        }
        // The move ended between its two marks, or what it had begun to fill was emptied.
        (None, Some(theirs)) => theirs,
        (None, None) => {
            Export::open(database, options.limits()).await?.check_keys(keys).await?;
            let mark = Mark::new(MoveState::Leaving, &to)?;
            database.begin_leaving(&mark).await?;
            mark
        }
    };
    marker::write(dir, &Mark { id: mark.id, state: MoveState::Filling, other: from })?;
    Ok(false)
}

/// Whether a directory holds anything but what a move puts there first.
fn is_used(dir: &Path) -> Result<bool, MigrateError> {
    let failed = |error: std::io::Error| StoreError::File { file: dir.display().to_string(), source: error.into() };
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name.to_str().is_none_or(|name| !OWN_FILES.contains(&name)) {
            return Ok(true);
        }
    }
    Ok(false)
}
