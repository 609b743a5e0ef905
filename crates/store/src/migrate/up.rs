//! From a data directory to a database.

use std::collections::BTreeSet;
use std::path::Path;

use tokio::sync::mpsc;

use super::marker::{self, Mark, MoveState};
use super::rows::{Position, Step};
use super::{AHEAD, Counts, Meter, MigrateError, MigrateOptions, Progress, Report, blocking, path_name};
use crate::postgres::import::Import;
use crate::postgres::moving::{Database, Destination};
use crate::sqlite::export::{Buckets, Export};
use crate::{Record, StoreError};

/// Tells by the catalog which targets one node alone will send to, where several share the database: those with an order, for example.
pub type Owned<'a> = dyn Fn(Vec<Record>) -> Result<BTreeSet<i64>, StoreError> + Send + Sync + 'a;

/// Opens a directory that has a store.
fn open(dir: &Path, options: &MigrateOptions) -> Result<Export, MigrateError> {
    if !dir.join("catalog.db").is_file() {
        return Err(MigrateError::NoDirectory(dir.display().to_string()));
    }
    let buckets = Buckets { bytes: options.bucket_bytes, age_ms: options.age_ms() };
    Ok(Export::open(dir, options.limits(), buckets)?)
}

/// Counts what a move of this directory would move. Nothing is marked.
///
/// # Errors
/// Those of [`up`] that have to do with the directory.
pub async fn count_directory(dir: &Path, options: &MigrateOptions) -> Result<Counts, MigrateError> {
    let (dir, options) = (dir.to_owned(), options.clone());
    blocking(move || {
        let export = open(&dir, &options)?;
        marker::check(&dir)?;
        Ok(export.counts(true)?)
    })
    .await
}

/// Moves a data directory to an empty database, or goes on with that. What is pending for `owned` targets waits for their owners.
///
/// # Errors
/// [`StoreError::Locked`] when a server runs on the directory, [`MigrateError::Living`] when nodes serve the database,
/// [`MigrateError::NotEmpty`] when that holds something; the others of [`MigrateError`]; whatever a store fails with. When something failed on the way,
/// the same call goes on.
pub async fn up(
    dir: &Path,
    url: &str,
    options: &MigrateOptions,
    owned: &Owned<'_>,
    told: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, MigrateError> {
    let (path, opening) = (dir.to_owned(), options.clone());
    // The directory first: nothing is looked at while a server runs on it.
    let export = blocking(move || open(&path, &opening)).await?;
    let owned = owned(export.records()?)?;
    let database = Database::open(url, options).await?;
    let resumed = agree(dir, &database).await?;
    let (ends, start) = (export.ends()?, export.start());
    let mut import = Import::open(&database, owned).await?;
    let at = import.position().clone();
    let mut meter = Meter::new(&export.counts(false)?, (start.first, ends.sequence), &at, options, told);
    meter.report.resumed = resumed;
    let (steps, mut queue) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || read(export, at, &steps));
    let mut outcome = Ok(());
    while outcome.is_ok()
        && let Some(step) = queue.recv().await
    {
        let stored = async {
            let step: Step = step?;
            import.write(&step.body, &step.next).await?;
            meter.stored(&step)
        };
        outcome = stored.await;
    }
    drop(queue);
    // The directory is held until its mark says that it was left.
    let export = reading.await.map_err(|panicked| StoreError::Engine(panicked.into()))?;
    outcome?;
    import.complete(&ends, start).await?;
    if let Some(mark) = marker::read(dir)? {
        marker::write(dir, &Mark { state: MoveState::Left, ..mark })?;
    }
    database.unmark().await?;
    drop(export);
    Ok(meter.report)
}

/// Reads until the end, or until nobody wants more.
fn read(mut export: Export, mut at: Position, steps: &mpsc::Sender<Result<Step, StoreError>>) -> Export {
    while let Some(step) = export.read(&at).transpose() {
        let is_last = step.is_err();
        if let Ok(step) = &step {
            at = step.next.clone();
        }
        if steps.blocking_send(step).is_err() || is_last {
            break;
        }
    }
    export
}

/// Sees to it that both ends have the marks of one move; answers whether it goes on with one that began earlier.
async fn agree(dir: &Path, database: &Database) -> Result<bool, MigrateError> {
    let (from, to) = (path_name(dir), database.name.clone());
    let own = marker::read(dir)?;
    let theirs = database.destination().await?;
    let mark = match (own, theirs) {
        (Some(own), _) if own.state == MoveState::Filling => return Err(own.of_directory(dir).into()),
        (Some(own), Destination::Marked(theirs)) if own.id == theirs.id && theirs.state == MoveState::Filling => return Ok(true),
        (Some(own), _) if own.state == MoveState::Left => return Err(MigrateError::Done { from, to: own.other }),
        (None, Destination::Marked(theirs)) if theirs.state == MoveState::Filling && theirs.other == from => {
            return Err(MigrateError::Restarted { from, to });
        }
        (_, Destination::Marked(theirs)) => {
            return Err(MigrateError::Foreign { mark: theirs.of(to.clone(), String::new()).to_string(), place: to });
        }
        (_, Destination::Used) => return Err(MigrateError::NotEmpty(to)),
        (Some(own), Destination::Empty) if own.other != to => {
            return Err(MigrateError::Foreign { mark: own.of_directory(dir).to_string(), place: from });
        }
        // The move ended between its two marks, or what it had begun to fill was emptied.
        (Some(own), Destination::Empty) => own,
        (None, Destination::Empty) => {
            let mark = Mark::new(MoveState::Leaving, &to)?;
            marker::write(dir, &mark)?;
            mark
        }
    };
    database.begin_filling(&Mark { id: mark.id, state: MoveState::Filling, other: from }).await?;
    Ok(false)
}
