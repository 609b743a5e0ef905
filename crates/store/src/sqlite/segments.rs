//! The list of journal segments, and what is known of each without asking its file.
//!
//! A segment is one database file: `journal/<number>.db`, or `journal/<number>.cold.db` once it is compressed ([`super::compress`] tells how the
//! one takes the place of the other). Sequence `s` lies in the last segment whose `floor` is not above `s`; so do
//! the deliveries whose first event it is, and their attempts. The counts of pending deliveries are derived: the writer keeps them
//! up to date after each commit, and a start counts them anew.
//!
//! Retention leaves gaps in the numbers, so a file that was lost does not show by itself. Therefore the newest segment names all older
//! ones (`older:<number>` in `meta`), and each sealed one the one after it (`next`); a start that does not find them is refused.

mod glance;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use posthaste_domain::delivery::DeliveryState;
use posthaste_domain::id::{DeliveryKey, ORDINAL_BITS, Sequence};
use rusqlite::Connection;

use super::checkpoint::give_spare_room;
use super::schema::{self, Access, Misfit};
use super::summary::Summary;
use super::tally::Tally;
use super::{rows, upgrade};
use crate::{DeliveryFilter, StoreError};

/// Most segments that a start opens side by side.
const OPENED_AT_ONCE: usize = 4;

/// Pending deliveries of one target in one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    /// Owner of the target.
    pub(super) workspace: i64,
    pub(super) queued: i64,
    pub(super) scheduled: i64,
}

impl Pending {
    /// All of them.
    pub(super) fn total(self) -> i64 {
        self.queued + self.scheduled
    }
}

/// What the writer learns with each commit.
#[derive(Clone, Debug, Default)]
pub(super) struct SegmentState {
    /// Smallest and largest sequence; 0 when there are no events.
    pub(super) first_sequence: i64,
    pub(super) last_sequence: i64,
    /// Times of receipt of the first and last event.
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    /// Size of the database file, its WAL not counted.
    pub(super) bytes: u64,
    /// Targets with pending deliveries here.
    pub(super) pending: HashMap<i64, Pending>,
    /// Batches of older segments that have members here. Few: those that were open when this one was started.
    pub(super) joined: BTreeSet<DeliveryKey>,
    /// What lists may find here.
    pub(super) summary: Summary,
    /// How many events of each type.
    pub(super) tally: Tally,
}

impl SegmentState {
    /// How many events of a workspace and type there are, if that is known.
    pub(super) fn count(&self, workspace: i64, type_name: &str) -> Option<i64> {
        self.tally.count(workspace, self.summary.type_id(type_name)?)
    }

    /// Whether there may be pending deliveries for a list.
    pub(super) fn may_have_pending(&self, workspace: i64, filter: &DeliveryFilter) -> bool {
        let is_of_type = || filter.type_name.as_ref().is_none_or(|name| self.summary.has_type(workspace, name));
        let has_any = match &filter.targets {
            Some(targets) => targets.iter().any(|target| self.pending.contains_key(target)),
            None => !self.pending.is_empty(),
        };
        has_any && is_of_type()
    }
}

/// One segment. Whoever has a connection to its file holds it; when a dropped one is let go of, the files are removed.
pub(super) struct Segment {
    /// Number of the file; never given twice.
    pub(super) id: u32,
    /// The database file.
    pub(super) path: PathBuf,
    /// No sequence in it is smaller.
    pub(super) floor: i64,
    /// No time of receipt in it is earlier.
    pub(super) floor_ms: i64,
    /// Other segments that it named when it was opened.
    named: Vec<u32>,
    /// How large it was before it was compressed; `None` if it is not.
    pub(super) plain_bytes: Option<u64>,
    state: Mutex<SegmentState>,
    doomed: AtomicBool,
    /// How often the writer set about to change it since it was opened.
    writes: AtomicU64,
    /// Whether it could not be compressed, so that trying again is of no use.
    resists: AtomicBool,
}

impl Segment {
    /// Creates the file, or completes one whose creation was cut short, after these.
    ///
    /// A new one gets its name when it is complete and has its WAL's room beside it: from then on other processes may open it, a backup say,
    /// and whoever opened it before would keep another WAL than the one that is written.
    fn create(dir: &Path, id: u32, older: &[Arc<Self>]) -> Result<Self, StoreError> {
        let (floor, floor_ms) = older.last().map_or((1, 0), |last| end_of(last));
        let path = file_of(dir, id, Kind::Plain);
        let is_new = !path.exists();
        let made = if is_new { path.with_extension(NEW) } else { path.clone() };
        if is_new {
            remove_files(&made);
        }
        let mut conn = schema::create(&made, Access::Write)?;
        let older = older.iter().map(|segment| (segment.name_as_older(), 1));
        let meta: Vec<_> = [("floor".to_owned(), floor), ("floor_ms".to_owned(), floor_ms)].into_iter().chain(older).collect();
        schema::prepare(&made, &mut conn, &format!("{}{}", schema::SEGMENT, schema::INDEXES), &meta)?;
        let failed = schema::failed(&made);
        conn.execute_batch(schema::ABOUT).map_err(&failed)?;
        let segment = Self::read(id, path.clone(), &conn).map_err(&failed)?;
        if is_new {
            // All of it has to be in the file, and flushed: the WAL that it was written through does not go along. Closing does not tell whether
            // that was so.
            let is_held: bool = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(&failed)?;
            conn.close().map_err(|(_, error)| failed(error))?;
            if is_held || beside(&made, "-wal").metadata().is_ok_and(|wal| wal.len() > 0) {
                return Err(Misfit::Unfinished.of(&made));
            }
            give_spare_room(&path);
            std::fs::rename(&made, &path).map_err(schema::file_error)?;
            super::sync_dir(dir)?;
        }
        Ok(segment)
    }

    /// Opens an existing file; `None` when it has no tables.
    fn open(dir: &Path, id: u32, kind: Kind, is_sealed: bool) -> Result<Option<Self>, StoreError> {
        let path = file_of(dir, id, kind);
        let failed = schema::failed(&path);
        let mut conn = schema::connect(&path, Access::Write)?;
        if !schema::is_prepared(&conn).map_err(&failed)? {
            return Ok(None);
        }
        if kind == Kind::Plain {
            // What it says took its place is not there (any more).
            conn.execute("DELETE FROM meta WHERE name = ?1", [SUPERSEDED]).map_err(&failed)?;
        }
        schema::check(&path, &conn, if kind == Kind::Cold { schema::COLD_FORMAT } else { schema::FORMAT })?;
        upgrade::segment(&mut conn).map_err(&failed)?;
        conn.execute_batch(schema::ABOUT).map_err(&failed)?;
        let segment = Self::read(id, path.clone(), &conn).map_err(&failed)?;
        // One that was sealed by an earlier release, or by one that could not write it any more.
        if is_sealed && Tally::read(&conn).map_err(&failed)?.is_none() {
            segment.keep_tally(&mut conn);
        }
        Ok(Some(segment))
    }

    /// Has its counts on disk from now on. Nothing depends on it: what is not there is counted again.
    pub(super) fn keep_tally(&self, conn: &mut Connection) {
        let tally = self.with(|state| state.tally.clone());
        if let Err(error) = tally.keep(conn) {
            tracing::debug!(%error, segment = self.id, "could not write how many events of each type there are");
        }
    }

    fn read(id: u32, path: PathBuf, conn: &Connection) -> rusqlite::Result<Self> {
        let floor = schema::meta_value(conn, "floor")?.unwrap_or(1);
        let floor_ms = schema::meta_value(conn, "floor_ms")?.unwrap_or(0);
        let ((first_sequence, first_ms), (last_sequence, last_ms)) = edges(conn)?;
        let drained = schema::meta_value(conn, "drained")?.is_some();
        let pending = if drained { HashMap::new() } else { count_pending(conn)? };
        let bytes = file_bytes(conn)?;
        let joined = {
            let mut select = conn.prepare(JOINED)?;
            let batches = select.query_map([floor << ORDINAL_BITS], |row| row.get(0).map(DeliveryKey))?;
            batches.collect::<rusqlite::Result<_>>()?
        };
        let summary = Summary::read(conn)?;
        let tally = match Tally::read(conn)? {
            Some(tally) => tally,
            None => Tally::count_up(conn)?,
        };
        let state = SegmentState { first_sequence, last_sequence, first_ms, last_ms, bytes, pending, joined, summary, tally };
        let plain_bytes = schema::meta_value(conn, PLAIN_BYTES)?.map(|bytes| bytes.unsigned_abs());
        Ok(Self::new(id, path, (floor, floor_ms), named_in(conn)?, plain_bytes, state))
    }

    fn new(id: u32, path: PathBuf, (floor, floor_ms): (i64, i64), named: Vec<u32>, plain_bytes: Option<u64>, state: SegmentState) -> Self {
        Self {
            id,
            path,
            floor,
            floor_ms,
            named,
            plain_bytes,
            state: Mutex::new(state),
            doomed: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            resists: AtomicBool::new(false),
        }
    }

    /// The segment that its compressed file, of this size, is from now on.
    pub(super) fn compressed(&self, bytes: u64) -> Self {
        let mut state = self.with(|state| state.clone());
        let plain_bytes = Some(state.bytes);
        state.bytes = bytes;
        Self::new(self.id, self.cold_path(), (self.floor, self.floor_ms), self.named.clone(), plain_bytes, state)
    }

    /// Where its compressed file is, or would be.
    pub(super) fn cold_path(&self) -> PathBuf {
        file_of(self.path.parent().unwrap_or(Path::new(".")), self.id, Kind::Cold)
    }

    /// How often the writer set about to change it.
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    /// To be called before a change.
    pub(super) fn about_to_write(&self) {
        self.writes.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether it could not be compressed.
    pub(super) fn resists(&self) -> bool {
        self.resists.load(Ordering::Acquire)
    }

    /// Has it left as it is until the next start.
    pub(super) fn leave_plain(&self) {
        self.resists.store(true, Ordering::Release);
    }

    /// Looks at, or changes, what is known.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut SegmentState) -> T) -> T {
        f(&mut self.state.lock())
    }

    /// Pending deliveries of a target.
    pub(super) fn pending_of(&self, target: i64) -> Pending {
        self.with(|state| state.pending.get(&target).copied().unwrap_or_default())
    }

    /// Says what went wrong with its file.
    pub(super) fn failed(&self) -> impl Fn(rusqlite::Error) -> StoreError {
        schema::failed(&self.path)
    }

    /// Whether nothing was ever appended.
    fn is_empty(&self) -> bool {
        self.with(|state| state.last_sequence == 0)
    }

    /// Whether any delivery is pending.
    pub(super) fn has_pending(&self) -> bool {
        self.with(|state| !state.pending.is_empty())
    }

    /// How the newest segment's `meta` names this one.
    pub(super) fn name_as_older(&self) -> String {
        format!("{OLDER}{:08}", self.id)
    }

    /// Has the files removed as soon as nobody uses them.
    pub(super) fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }

    /// Whether it was dropped.
    pub(super) fn is_doomed(&self) -> bool {
        self.doomed.load(Ordering::Acquire)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if self.is_doomed() {
            remove_files(&self.path);
        }
    }
}

pub(super) const NEXT_TARGET: &str = "SELECT min(target) FROM delivery INDEXED BY lane WHERE target > ?1 AND state < 4";
pub(super) const COUNT_IN_LANE: &str = "SELECT count(*) FROM delivery INDEXED BY lane WHERE target = ?1 AND state = ?2 AND state < 4";
pub(super) const OWNER_OF_LANE: &str = "SELECT workspace FROM delivery INDEXED BY lane WHERE target = ?1 AND state < 4 LIMIT 1";
pub(super) const JOINED: &str = "SELECT DISTINCT batch FROM batch_part WHERE batch < ?1";

/// Marks a segment in its `meta` whose place its compressed file has taken.
pub(super) const SUPERSEDED: &str = "superseded";
/// Tells in the `meta` of a compressed segment how large it was.
pub(super) const PLAIN_BYTES: &str = "plain_bytes";
/// Begins the names of older segments in `meta`.
const OLDER: &str = "older:";
/// Names the segment after a sealed one in its `meta`.
pub(super) const NEXT: &str = "next";

/// Removes a database. The main file goes first: without its WAL it would be an older truth, a WAL alone is nothing.
pub(super) fn remove_files(path: &Path) {
    for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        if let Err(error) = std::fs::remove_file(&file)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(file = %file.display(), %error, "cannot remove a file of a dropped journal segment");
        }
    }
}

/// The path with a suffix added to its file name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The two sorts of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Plain,
    Cold,
}

/// The extension of a file that is being made.
const NEW: &str = "new";
/// Ends the names of compressed files before their extension.
const COLD: &str = ".cold";
/// Is in the names of files that the compressor is still at, and of those beside them.
const UNFINISHED: &str = ".cold.tmp";

fn file_of(dir: &Path, id: u32, kind: Kind) -> PathBuf {
    dir.join(format!("{id:08}{}.db", if kind == Kind::Cold { COLD } else { "" }))
}

/// Where a compressed file is made.
pub(super) fn unfinished(cold: &Path) -> PathBuf {
    cold.with_extension("tmp")
}

/// The number and sort of a segment's file.
fn id_of(name: &str) -> Option<(u32, Kind)> {
    let stem = name.strip_suffix(".db")?;
    let (number, kind) = stem.strip_suffix(COLD).map_or((stem, Kind::Plain), |number| (number, Kind::Cold));
    Some((number.parse().ok()?, kind))
}

/// Whether a file is of a segment whose creation was cut short.
fn is_in_the_making(name: &str) -> bool {
    name.split_once('.').is_some_and(|(number, end)| {
        number.parse::<u32>().is_ok() && end.strip_prefix(NEW).is_some_and(|end| end.is_empty() || end.starts_with('-'))
    })
}

/// Of a segment with two files, keeps the one that counts: the old one, unless it says that the other has taken its place. That is
/// one commit, so a crash at any moment leaves one of them to be believed.
fn decide(dir: &Path, id: u32, files: &mut Vec<(u32, Kind)>) -> Result<(), StoreError> {
    let old = file_of(dir, id, Kind::Plain);
    let conn = schema::connect(&old, Access::Write)?;
    let failed = schema::failed(&old);
    let is_superseded = schema::is_prepared(&conn).and_then(|is| Ok(is && schema::meta_value(&conn, SUPERSEDED)?.is_some()));
    let gone = if is_superseded.map_err(failed)? { Kind::Plain } else { Kind::Cold };
    drop(conn);
    remove_files(&file_of(dir, id, gone));
    files.retain(|file| *file != (id, gone));
    super::sync_dir(dir)
}

/// Opens all segments, some side by side: what is pending in each has to be counted.
fn open_all(dir: &Path, files: &[(u32, Kind)]) -> Vec<Result<Option<Segment>, StoreError>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(OPENED_AT_ONCE);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut opened = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some((id, kind)) = files.get(place) else { return opened };
            opened.push((place, Segment::open(dir, *id, *kind, place + 1 < files.len())));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads.min(files.len())).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for helper in helpers {
            all.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_unstable_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, opened)| opened).collect()
}

/// Size of the database as of the last commit of this connection.
pub(super) fn file_bytes(conn: &Connection) -> rusqlite::Result<u64> {
    let pages: i64 = conn.prepare_cached("PRAGMA page_count")?.query_row([], |row| row.get(0))?;
    Ok(pages as u64 * schema::PAGE_BYTES)
}

/// The first and the last event's sequence and time of receipt; zeros when there is none.
fn edges(conn: &Connection) -> rusqlite::Result<((i64, i64), (i64, i64))> {
    let edge = |order: &str| {
        let sql = format!("SELECT sequence, received_ms FROM event WHERE sequence > 0 ORDER BY sequence {order} LIMIT 1");
        conn.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?))).or_else(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Ok((0, 0)),
            other => Err(other),
        })
    };
    Ok((edge("ASC")?, edge("DESC")?))
}

/// Counts by seeking from target to target in the index, which has the pending ones only.
fn count_pending(conn: &Connection) -> rusqlite::Result<HashMap<i64, Pending>> {
    let mut pending = HashMap::new();
    let mut next = conn.prepare(NEXT_TARGET)?;
    let mut count = conn.prepare(COUNT_IN_LANE)?;
    let mut owner = conn.prepare(OWNER_OF_LANE)?;
    let mut target = i64::MIN;
    while let Some(found) = next.query_row([target], |row| row.get::<_, Option<i64>>(0))? {
        target = found;
        let queued = count.query_row([target, rows::state_code(DeliveryState::Queued)], |row| row.get(0))?;
        let scheduled = count.query_row([target, rows::state_code(DeliveryState::Scheduled)], |row| row.get(0))?;
        let workspace = owner.query_row([target], |row| row.get(0))?;
        pending.insert(target, Pending { workspace, queued, scheduled });
    }
    Ok(pending)
}

/// All segments, oldest first. There is always at least one; the last is the one appended to.
pub(super) struct Segments {
    dir: PathBuf,
    list: RwLock<Vec<Arc<Segment>>>,
}

impl Segments {
    /// Whether a directory holds segments.
    pub(super) fn exist(dir: &Path) -> Result<bool, StoreError> {
        match std::fs::read_dir(dir) {
            Ok(mut entries) => Ok(entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().and_then(id_of).is_some()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(schema::file_error(error)),
        }
    }

    /// Opens `journal/`, creating it and the first segment when there are none.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        super::create_dir(dir)?;
        let mut files = Vec::new();
        let mut strays = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(schema::file_error)? {
            let name = entry.map_err(schema::file_error)?.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(file) = id_of(name) {
                files.push(file);
            } else if name.contains(UNFINISHED) || is_in_the_making(name) {
                std::fs::remove_file(dir.join(name)).map_err(schema::file_error)?;
            } else if name.ends_with(".db-wal") || name.ends_with(".db-shm") {
                strays.push(name.to_owned());
            }
        }
        files.sort_unstable();
        // A crash between the removals of a dropped segment leaves these behind.
        for name in strays {
            let stem = &name[..name.len() - "-wal".len()];
            if !dir.join(stem).exists() {
                std::fs::remove_file(dir.join(&name)).map_err(schema::file_error)?;
            }
        }
        for id in files.windows(2).filter(|two| two[0].0 == two[1].0).map(|two| two[0].0).collect::<Vec<_>>() {
            decide(dir, id, &mut files)?;
        }
        let ids: Vec<u32> = files.iter().map(|file| file.0).collect();
        let mut list: Vec<Arc<Segment>> = Vec::new();
        for (i, ((id, kind), opened)) in files.iter().zip(open_all(dir, &files)).enumerate() {
            match opened? {
                // It was made, but the one before it went on: it begins later now.
                Some(segment) if segment.is_empty() && list.last().is_some_and(|last| segment.floor < end_of(last).0) => {
                    list.push(Arc::new(Segment::create(dir, *id, &list)?));
                }
                Some(segment) => list.push(Arc::new(segment)),
                // Only the newest can have been in the making, and then the one before it does not know of it.
                None if i + 1 == ids.len() && list.last().is_none_or(|last| !last.named.contains(id)) => {
                    list.push(Arc::new(Segment::create(dir, *id, &list)?));
                }
                None => return Err(Misfit::Empty.of(&file_of(dir, *id, *kind))),
            }
        }
        if list.is_empty() {
            list.push(Arc::new(Segment::create(dir, 1, &[])?));
        }
        let named = list.last().map_or(&[][..], |newest| &newest.named);
        if let Some(lost) = named.iter().find(|id| !ids.contains(id)) {
            return Err(Misfit::Missing.of(&file_of(dir, *lost, Kind::Plain)));
        }
        Ok(Self { dir: dir.to_owned(), list: RwLock::new(list) })
    }

    /// All, oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.list.read().clone()
    }

    /// Those for which `keep` holds, oldest first.
    pub(super) fn matching(&self, keep: impl Fn(&Segment) -> bool) -> Vec<Arc<Segment>> {
        self.list.read().iter().filter(|segment| keep(segment)).cloned().collect()
    }

    /// The one appended to.
    pub(super) fn current(&self) -> Arc<Segment> {
        self.list.read().last().expect("there is always a segment").clone()
    }

    /// The one that holds a sequence, if it was not dropped.
    pub(super) fn of(&self, sequence: Sequence) -> Option<Arc<Segment>> {
        let list = self.list.read();
        let after = list.partition_point(|segment| segment.floor <= sequence.0);
        after.checked_sub(1).map(|i| list[i].clone())
    }

    /// The largest sequence and time of receipt ever appended, as far as committed.
    pub(super) fn last(&self) -> (i64, i64) {
        let (floor, floor_ms) = end_of(&self.current());
        (floor - 1, floor_ms)
    }

    /// Seals the current segment and starts a new one.
    pub(super) fn roll(&self) -> Result<Arc<Segment>, StoreError> {
        let older = self.all();
        let segment = Arc::new(Segment::create(&self.dir, self.current().id + 1, &older)?);
        self.list.write().push(segment.clone());
        Ok(segment)
    }

    /// Has a segment take the place of the one with its number.
    pub(super) fn replace(&self, segment: Arc<Segment>) {
        if let Some(place) = self.list.write().iter_mut().find(|known| known.id == segment.id) {
            *place = segment;
        }
    }

    /// Takes a segment out of the list; its files go when its last user lets go.
    pub(super) fn drop_segment(&self, id: u32) {
        self.list.write().retain(|segment| segment.id != id);
    }
}

/// The segments that one names.
fn named_in(conn: &Connection) -> rusqlite::Result<Vec<u32>> {
    let mut named: Vec<u32> = schema::meta_value(conn, NEXT)?.into_iter().filter_map(|id| id.try_into().ok()).collect();
    let mut select = conn.prepare("SELECT name FROM meta")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        named.extend(row.get_ref(0)?.as_str()?.strip_prefix(OLDER).and_then(|id| id.parse::<u32>().ok()));
    }
    Ok(named)
}

/// Where the next segment begins.
fn end_of(segment: &Segment) -> (i64, i64) {
    segment.with(|state| match state.last_sequence {
        0 => (segment.floor, segment.floor_ms),
        last => (last + 1, state.last_ms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a creation that was cut short left behind goes at the next start, and nothing else does.
    #[test]
    fn what_was_in_the_making_is_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        drop(Segments::open(dir.path()).expect("a journal"));
        let left = ["00000002.new", "00000002.new-wal", "00000002.new-shm", "00000002.new-journal", "00000002.db-wal"];
        let others = ["notes.new", "00000002.newer", "spare-room"];
        for name in left.iter().chain(&others) {
            std::fs::write(dir.path().join(name), vec![0; 4096]).expect("written");
        }
        let segments = Segments::open(dir.path()).expect("a journal");
        assert!(left.iter().all(|name| !dir.path().join(name).exists()));
        assert!(others.iter().all(|name| dir.path().join(name).exists()));
        assert_eq!(segments.roll().expect("a new segment").id, 2);
        assert_eq!(Segments::glance(dir.path()).expect("a look").len(), 2);
    }
}
