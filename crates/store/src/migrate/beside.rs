//! The part of a move that needs no stop: what a server has written is moved while it goes on.
//!
//! Round after round moves what came since, so that little is left when the server ends. Only the destination is marked meanwhile: until the stop was
//! asked for, the server may end and start again as it likes.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::marker::{self, Mark, MoveState};
use super::rows::{Phase, Position, Step};
use super::up::{Owned, Source, buckets, check_begun, transfer};
use super::{Counts, Meter, MigrateError, MigrateOptions, Progress, Report, blocking, path_name};
use crate::StoreError;
use crate::postgres::import::Import;
use crate::postgres::moving::{Database, Destination};
use crate::sqlite::beside::Beside;

/// A round that takes no longer leaves so little that the server may be stopped.
const SHORT: Duration = Duration::from_secs(2);
/// How long after a round the next one begins.
const PAUSE: Duration = Duration::from_secs(2);
/// How often it is looked whether the server has ended.
const LOOK: Duration = Duration::from_millis(100);

impl Source for Beside {
    fn read(&mut self, at: &Position) -> Result<Option<Step>, StoreError> {
        Self::read(self, at)
    }
}

/// Moves what there is, again and again, until nobody holds the directory.
pub(super) async fn run(
    dir: &Path,
    url: &str,
    options: &MigrateOptions,
    owned: &Owned<'_>,
    told: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, MigrateError> {
    let database = Database::open(url, options).await?;
    let mut report = Report { resumed: agree(dir, &database).await?, ..Report::default() };
    let mut import = Import::open(&database, BTreeSet::new()).await?;
    let mut options = options.clone();
    let mut waits_for = None;
    loop {
        let began = Instant::now();
        let (path, looking) = (dir.to_owned(), options.clone());
        let look = move || Ok((Beside::look(&path, looking.limits(), buckets(&looking))?, Beside::records(&path)?));
        // The catalog after the journal: it knows of all that the events there were for.
        let (source, records) = blocking(look).await?;
        import.has_owners(owned(records)?);
        let at = import.position().before(Phase::Ahead);
        let (first, last) = source.sequences();
        let counts = Counts { events: (last - first.max(at.done.events + 1) + 1).max(0).unsigned_abs(), ..Counts::default() };
        let mut meter = Meter::new(&counts, (at.done.events + 1, last), &at, &options, &mut *told);
        meter.waits_for = waits_for;
        let moved = transfer(source, at, &mut import, &mut meter).await;
        options.give_up_after = meter.give_up_after;
        report.moved.add(&meter.report.moved);
        let is_whole = !moved?.is_cut_short();
        let may_end = is_whole && began.elapsed() <= SHORT || waits_for.is_some();
        let again = Instant::now() + if may_end { PAUSE } else { Duration::ZERO };
        while Instant::now() < again {
            let path = dir.to_owned();
            waits_for = blocking(move || Ok(Beside::holder(&path)?)).await?;
            if waits_for.is_none() {
                return Ok(report);
            }
            told(Progress { phase: Phase::Ahead.name(), done: 0, total: 0, rows: report.moved.rows(), waits_for });
            sleep(LOOK).await;
        }
    }
}

/// Who holds a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its process, if that is known.
    pub pid: Option<u32>,
}

/// Sees to it that the destination belongs to this move; answers whether it goes on with one that began earlier.
async fn agree(dir: &Path, database: &Database) -> Result<bool, MigrateError> {
    let (from, to) = (path_name(dir), database.name.clone());
    marker::check(dir)?;
    let begun = marker::begun(dir)?;
    check_begun(begun.as_ref(), &from, &to)?;
    let mark = match (begun, database.destination().await?) {
        (Some(begun), Destination::Marked(theirs)) if begun.id == theirs.id && theirs.state == MoveState::Filling => return Ok(true),
        (None, Destination::Marked(theirs)) if theirs.state == MoveState::Filling && theirs.other == from => {
            return Err(MigrateError::Restarted { from, to });
        }
        (_, Destination::Marked(theirs)) => {
            return Err(MigrateError::Foreign { mark: theirs.of(to.clone(), String::new()).to_string(), place: to });
        }
        (_, Destination::Used) => return Err(MigrateError::NotEmpty(to)),
        (_, Destination::Empty) => Mark::new(MoveState::Leaving, &to)?,
    };
    marker::begin(dir, &mark)?;
    database.begin_filling(&Mark { state: MoveState::Filling, other: from, ..mark }).await?;
    Ok(false)
}
