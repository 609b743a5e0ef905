//! From a data directory to a database.

use std::collections::BTreeSet;
use std::path::Path;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::marker::{self, Mark, MoveState};
use super::rows::{Done, Position, Step};
use super::{AHEAD, Counts, Meter, MigrateError, MigrateOptions, Progress, Report, beside, blocking, path_name};
use crate::postgres::import::Import;
use crate::postgres::moving::{Database, Destination};
use crate::sqlite::chunks::Buckets;
use crate::sqlite::export::Export;
use crate::{Record, StoreError};

/// Tells by the catalog which targets one node alone will send to, where several share the database: those with an order, for example.
pub type Owned<'a> = dyn Fn(Vec<Record>) -> Result<BTreeSet<i64>, StoreError> + Send + Sync + 'a;

/// Opens a directory that has a store.
fn open(dir: &Path, options: &MigrateOptions) -> Result<Export, MigrateError> {
    if !dir.join("catalog.db").is_file() {
        return Err(MigrateError::NoDirectory(dir.display().to_string()));
    }
    Ok(Export::open(dir, options.limits(), buckets(options))?)
}

/// How the journal becomes buckets.
pub(super) fn buckets(options: &MigrateOptions) -> Buckets {
    Buckets { bytes: options.bucket_bytes, age_ms: options.age_ms() }
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
        Ok(export.counts(true, &Done::default())?)
    })
    .await
}

/// Moves a data directory to an empty database, or goes on with that. What is pending for `owned` targets waits for their owners.
///
/// A server may run on the directory. Then what it has written is moved beside it, again and again, until it ends; only what is left is moved
/// after that.
///
/// # Errors
/// [`MigrateError::Living`] when nodes serve the database, [`MigrateError::NotEmpty`] when that holds something; the others of [`MigrateError`];
/// whatever a store fails with. When something failed on the way, the same call goes on.
pub async fn up(
    dir: &Path,
    url: &str,
    options: &MigrateOptions,
    owned: &Owned<'_>,
    told: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, MigrateError> {
    let mut ahead = Report::default();
    let mut has_begun = false;
    let (export, stopped) = loop {
        let stopped = Instant::now();
        let (path, opening) = (dir.to_owned(), options.clone());
        match blocking(move || open(&path, &opening)).await {
            Ok(export) => break (export, stopped),
            Err(MigrateError::Store(StoreError::Locked { .. })) => {
                let run = beside::run(dir, url, options, owned, told).await?;
                ahead.resumed |= run.resumed && !has_begun;
                ahead.moved.add(&run.moved);
                has_begun = true;
            }
            Err(error) => return Err(error),
        }
    };
    let mut report = rest(dir, url, options, owned, export, told).await?;
    report.resumed = ahead.resumed || report.resumed && !has_begun;
    report.ahead = ahead.moved.rows();
    report.moved.add(&ahead.moved);
    report.stop = has_begun.then(|| stopped.elapsed());
    Ok(report)
}

/// Moves what is left of a directory that nobody serves.
async fn rest(
    dir: &Path,
    url: &str,
    options: &MigrateOptions,
    owned: &Owned<'_>,
    mut export: Export,
    told: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, MigrateError> {
    let owned = owned(export.records()?)?;
    let database = Database::open(url, options).await?;
    let resumed = agree(dir, &database).await?;
    let (ends, start) = (export.ends()?, export.start());
    let mut import = Import::open(&database, owned).await?;
    let at = import.position().clone();
    export.look_again_at(database.notes().await?);
    let first = start.first.max(at.done.events + 1);
    let mut meter = Meter::new(&export.counts(false, &at.done)?, (first, ends.sequence), &at, options, told);
    meter.report.resumed = resumed;
    let export = transfer(export, at, &mut import, &mut meter).await?;
    import.complete(&ends, start).await?;
    if let Some(mark) = marker::read(dir)? {
        marker::write(dir, &Mark { state: MoveState::Left, ..mark })?;
    }
    database.unmark().await?;
    drop(export);
    Ok(meter.report)
}

/// What is read to be moved.
pub(super) trait Source: Send + 'static {
    /// The rows behind a position; `None` when there are no more.
    fn read(&mut self, at: &Position) -> Result<Option<Step>, StoreError>;
}

impl Source for Export {
    fn read(&mut self, at: &Position) -> Result<Option<Step>, StoreError> {
        Self::read(self, at)
    }
}

/// Moves all rows behind a position; answers the source, which is held until here.
pub(super) async fn transfer<S: Source>(
    source: S,
    at: Position,
    import: &mut Import<'_>,
    meter: &mut Meter<'_>,
) -> Result<S, MigrateError> {
    let (steps, mut queue) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || read(source, at, &steps));
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
    let source = reading.await.map_err(|panicked| StoreError::Engine(panicked.into()))?;
    outcome?;
    Ok(source)
}

/// Reads until the end, or until nobody wants more.
fn read<S: Source>(mut source: S, mut at: Position, steps: &mpsc::Sender<Result<Step, StoreError>>) -> S {
    while let Some(step) = source.read(&at).transpose() {
        let is_last = step.is_err();
        if let Ok(step) = &step {
            at = step.next.clone();
        }
        if steps.blocking_send(step).is_err() || is_last {
            break;
        }
    }
    source
}

/// Sees to it that both ends have the marks of one move; answers whether it goes on with one that began earlier.
async fn agree(dir: &Path, database: &Database) -> Result<bool, MigrateError> {
    let (from, to) = (path_name(dir), database.name.clone());
    let begun = marker::begun(dir)?;
    check_begun(begun.as_ref(), &from, &to)?;
    let own = match (marker::read(dir)?, &begun) {
        // What was begun beside a server goes on without it.
        (None, Some(begun)) if database.is_filled_by(begun).await? => {
            marker::write(dir, begun)?;
            Some(begun.clone())
        }
        (own, _) => own,
    };
    let theirs = database.destination().await?;
    let mark = match (own, theirs) {
        (Some(own), _) if own.state == MoveState::Filling => return Err(own.of_directory(dir).into()),
        (Some(own), Destination::Marked(theirs)) if own.id == theirs.id && theirs.state == MoveState::Filling => {
            marker::forget_begun(dir)?;
            return Ok(true);
        }
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
    marker::forget_begun(dir)?;
    Ok(false)
}

/// Refuses a directory of which a move to another destination has begun.
pub(super) fn check_begun(begun: Option<&Mark>, from: &str, to: &str) -> Result<(), MigrateError> {
    match begun {
        Some(begun) if begun.other != to => {
            let mark = begun.clone().of(from.to_owned(), String::new()).to_string();
            Err(MigrateError::Foreign { mark, place: from.to_owned() })
        }
        _ => Ok(()),
    }
}
