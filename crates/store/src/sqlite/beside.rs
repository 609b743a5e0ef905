//! A data directory that a server runs on, read to be moved.
//!
//! No row is written, and the server waits for nothing: the journal's files are opened as readers of the server itself open them. Events, batches, subjects and
//! idempotency keys never change once they are there. Deliveries do, so a note is made of how they were, and when the server has ended
//! [`changes`] finds those that are not so any more.
//!
//! A file may go while it is read: retention drops it, or its compressed one takes its place. The database goes before its WAL. So what was read from a
//! file that is still there afterwards was whole; anything else is not taken, and the next look finds what is there now.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthaste_domain::id::DeliveryKey;
use rusqlite::Connection;

use super::catalog::CatalogDb;
use super::chunks::{Buckets, Chunks, DELIVERIES, FIRST_ATTEMPTS, LATER_ATTEMPTS, keys_between};
use super::lock::DirectoryLock;
use super::readers::Lease;
use super::rows::{self, RawAttempt};
use super::segments::{Segment, Segments, beside};
use crate::migrate::Server;
use crate::migrate::rows::{Body, Changes, Chunk, Limits, Note, Phase, Position, Step, mark_of};
use crate::{Record, StoreError};

/// A file that was written to this lately may be written to again without showing it.
const FRESH: Duration = Duration::from_secs(5);

/// The journal as it was when it was looked at; what is read of it may be newer.
pub(crate) struct Beside {
    chunks: Chunks,
    /// The segment that is appended to.
    newest: u32,
    /// Whether a file went, so that there may be more than was read.
    is_cut_short: bool,
}

impl Beside {
    /// Looks at the journal of a data directory.
    pub(crate) fn look(dir: &Path, limits: Limits, buckets: Buckets) -> Result<Self, StoreError> {
        let segments = Segments::glance(&dir.join("journal"))?;
        let newest = segments.last().map_or(0, |segment| segment.id);
        Ok(Self { chunks: Chunks::new(segments, limits, buckets), newest, is_cut_short: false })
    }

    /// The catalog of a data directory, secrets in place.
    pub(crate) fn records(dir: &Path) -> Result<Vec<Record>, StoreError> {
        CatalogDb::look(dir)?.load()
    }

    /// Who holds a data directory; `None` if nobody does. It is taken for a moment to see that.
    pub(crate) fn holder(dir: &Path) -> Result<Option<Server>, StoreError> {
        match DirectoryLock::take(dir) {
            Ok(_) => Ok(None),
            Err(StoreError::Locked { pid, .. }) => Ok(Some(Server { pid })),
            Err(error) => Err(error),
        }
    }

    /// Whether all that there was has been read, once there is no more to read.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// The first and last sequence there was.
    pub(crate) fn sequences(&self) -> (i64, i64) {
        let last = self.chunks.segments().iter().map(|segment| segment.with(|state| state.last_sequence)).max();
        (self.chunks.start().first, last.unwrap_or(0))
    }

    /// The rows behind a position of [`Phase::Ahead`] or [`Phase::KeysAhead`]; `None` when there are no more for now.
    pub(crate) fn read(&mut self, at: &Position) -> Result<Option<Step>, StoreError> {
        let mut at = at.clone();
        if at.phase == Phase::Ahead {
            if let Some(segment) = self.chunks.behind(at.cursor.a) {
                let chunk = self.chunk(&segment, at.cursor.a);
                let Some((chunk, note)) = self.unless_gone(&segment.path, chunk)?.flatten() else { return Ok(None) };
                let next = at.at(Position::behind(note.end).cursor);
                return Ok(Some(Step { body: Body::Ahead(Box::new(chunk), note), next }));
            }
            at = at.before(Phase::KeysAhead);
        }
        let (begun, newest) = (at.cursor.a, self.newest);
        let sealed = self.chunks.segments().iter().filter(|segment| i64::from(segment.id) >= begun && segment.id < newest);
        for segment in sealed.cloned().collect::<Vec<_>>() {
            let keys = self.chunks.keys_of(&segment, &at.cursor);
            match self.unless_gone(&segment.path, keys)? {
                Some(Some((rows, cursor))) => return Ok(Some(Step { body: Body::Idempotency(rows), next: at.at(cursor) })),
                Some(None) => {}
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    fn chunk(&mut self, segment: &Arc<Segment>, after: i64) -> Result<Option<(Chunk, Note)>, StoreError> {
        let stamp = stamp_of(&segment.path, Some(file_time()));
        // What came since the look is not read: of what the catalog said then, it knows nothing.
        let last = segment.with(|state| state.last_sequence);
        let Some(chunk) = self.chunks.read(segment, after, last)? else { return Ok(None) };
        let note = Note {
            end: chunk.end,
            events: super::sql_count(chunk.events.len()),
            has_pending: chunk.deliveries.iter().any(|delivery| !delivery.state.is_terminal()),
            stamp,
            marks: chunk.deliveries.iter().map(mark_of).collect(),
        };
        Ok(Some((chunk, note)))
    }

    /// What was read of a file, if that is still there.
    fn unless_gone<T>(&mut self, path: &Path, read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        if !path.exists() {
            self.is_cut_short = true;
            return Ok(None);
        }
        read.map(Some)
    }
}

/// The time that files written to now would have.
#[expect(clippy::disallowed_methods, reason = "it is compared with the times of files, which no clock of ours gives")]
fn file_time() -> SystemTime {
    SystemTime::now()
}

/// What changes when a database is written to; `None` if it may be written to `now` without showing it.
fn stamp_of(path: &Path, now: Option<SystemTime>) -> Option<String> {
    let mut stamp = path.file_name()?.to_string_lossy().into_owned();
    for file in [path.to_owned(), beside(path, "-wal")] {
        let (length, changed) = match file.metadata() {
            Ok(about) => (about.len(), about.modified().ok()?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (0, UNIX_EPOCH),
            Err(_) => return None,
        };
        // One that says nothing may come and go.
        let changed = if length == 0 { UNIX_EPOCH } else { changed };
        if let Some(now) = now
            && now.duration_since(changed).ok()? < FRESH
        {
            return None;
        }
        let nanos = changed.duration_since(UNIX_EPOCH).ok()?.as_nanos();
        stamp.push_str(&format!(" {length} {nanos}"));
    }
    Some(stamp)
}

/// What the files of a journal look like before anybody opens them.
pub(super) struct Stamps(HashMap<PathBuf, String>);

impl Stamps {
    /// Of all files of a journal.
    pub(super) fn of(journal: &Path) -> Self {
        let files = std::fs::read_dir(journal).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        Self(files.filter_map(|path| Some((path.clone(), stamp_of(&path, None)?))).collect())
    }
}

/// What was moved while a server ran is not what is there now.
#[derive(Debug, thiserror::Error)]
#[error("events up to {0} are not those that were moved while the server ran: empty the destination and begin anew")]
struct NotTheSame(i64);

/// What changed of a chunk since a note was made of it, and what of it is pending, behind a sequence and a key, and whether that is all; `None` if
/// there is nothing to say. Nobody may write the journal any more.
pub(super) fn changes(
    chunks: &Chunks,
    stamps: &Stamps,
    (after, behind): (i64, i64),
    note: &Note,
) -> Result<Option<(Changes, bool)>, StoreError> {
    let [first, last] = keys_between(after, note.end);
    let mut changes = Changes { end: note.end, ..Changes::default() };
    let not_the_same = || StoreError::Engine(NotTheSame(note.end).into());
    let ends = |segment: &Segment| segment.with(|state| (state.first_sequence, state.last_sequence));
    // One that nothing was appended to yet begins behind all that there was.
    if chunks.segments().iter().all(|segment| ends(segment).1.max(segment.floor - 1) < note.end) {
        return Err(not_the_same());
    }
    let holds = |segment: &&Arc<Segment>| (ends(segment).0..=ends(segment).1).contains(&note.end);
    let Some(segment) = chunks.segments().iter().find(holds) else {
        changes.dropped = Some((DeliveryKey(first), DeliveryKey(last)));
        return Ok(note.has_pending.then_some((changes, true)));
    };
    if note.stamp.is_some() && stamps.0.get(&segment.path) == note.stamp.as_ref() && !note.has_pending {
        return Ok(None);
    }
    let mut reader = chunks.reader(segment)?;
    let failed = segment.failed();
    let mut look = |conn: &Connection| -> rusqlite::Result<(i64, usize)> {
        let sql = "SELECT count(*) FROM event WHERE sequence > ?1 AND sequence <= ?2";
        let events = conn.prepare_cached(sql)?.query_row([after, note.end], |row| row.get(0))?;
        let mut select = conn.prepare_cached(DELIVERIES)?;
        let mut rows = select.query([first, last])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let delivery = rows::delivery(row)?;
            let has_changed = !delivery.state.is_terminal() || note.marks.get(count) != Some(&mark_of(&delivery));
            if has_changed && delivery.key.0 > behind {
                changes.deliveries.push(delivery);
            }
            count += 1;
        }
        Ok((events, count))
    };
    if look(&reader.conn).map_err(&failed)? != (note.events, note.marks.len()) {
        return Err(not_the_same());
    }
    // Those of each, until they are enough for once.
    let limits = chunks.limits();
    let (mut bytes, mut done) = (0, 0);
    while done < changes.deliveries.len() && bytes < limits.bytes && changes.attempts.len() < limits.wide {
        let key = changes.deliveries[done].key;
        for raw in attempts_of(&reader, key).map_err(&failed)? {
            bytes += raw.bytes();
            changes.attempts.push((key, raw.resolve(&mut reader).map_err(&failed)?));
        }
        done += 1;
    }
    let is_whole = done == changes.deliveries.len();
    changes.deliveries.truncate(done);
    Ok((done > 0).then_some((changes, is_whole)))
}

fn attempts_of(reader: &Lease, key: DeliveryKey) -> rusqlite::Result<Vec<RawAttempt>> {
    let mut raws = Vec::new();
    for sql in [FIRST_ATTEMPTS, LATER_ATTEMPTS] {
        let mut select = reader.conn.prepare_cached(sql)?;
        let mut rows = select.query([key.0, key.0])?;
        while let Some(row) = rows.next()? {
            raws.push(RawAttempt::read(row)?);
        }
    }
    Ok(raws)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{SqliteOptions, SqliteStore};
    use crate::{Append, Journal, NewEvent};

    fn event(n: i64) -> Append {
        let source = posthaste_domain::event::Source { via: "test".into(), key: None, ip: None };
        let event = NewEvent {
            sequence: posthaste_domain::id::Sequence(n),
            workspace: 1,
            type_name: None,
            received_ms: n,
            source: Arc::new(source),
            payload: "{}".into(),
            about: vec![format!("order {n}")],
            deliveries: Vec::new(),
        };
        Append { events: vec![event], ..Append::default() }
    }

    /// What came since the look waits for the next one.
    #[tokio::test]
    async fn what_comes_meanwhile_waits() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(dir.path(), SqliteOptions::default()).expect("the store opens");
        for n in 1..=3 {
            store.append(event(n)).await.expect("append");
        }
        let limits = Limits { rows: 2, wide: 100, bytes: 1 << 20 };
        let mut beside = Beside::look(dir.path(), limits, Buckets { bytes: u64::MAX, age_ms: i64::MAX }).expect("a look");
        assert_eq!(beside.sequences(), (1, 3));
        let mut read = Vec::new();
        let mut at = Position::of(Phase::Ahead);
        while let Some(step) = beside.read(&at).expect("read") {
            let Body::Ahead(chunk, note) = step.body else { panic!("events") };
            let subjects: Vec<i64> = chunk.subjects.iter().map(|(_, sequence)| *sequence).collect();
            read.push((chunk.events.iter().map(|event| event.sequence.0).collect::<Vec<i64>>(), subjects));
            assert_eq!((note.stamp, note.has_pending), (None, false), "it was written to just now");
            at = step.next;
            if read.len() == 1 {
                store.append(event(4)).await.expect("append");
            }
        }
        assert_eq!(read, [(vec![1, 2], vec![1, 2]), (vec![3], vec![3])]);
        assert!(!beside.is_cut_short());
        assert_eq!(Beside::holder(dir.path()).expect("a look"), Some(Server { pid: Some(std::process::id()) }));
        store.close().await;
    }

    #[test]
    fn a_stamp_tells_whether_a_file_was_written_to() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("1.db");
        std::fs::write(&path, "one").expect("written");
        let stamp = stamp_of(&path, Some(file_time() + 2 * FRESH)).expect("a stamp");
        // An empty log says nothing.
        std::fs::write(dir.path().join("1.db-wal"), "").expect("written");
        assert_eq!(stamp_of(&path, None).as_ref(), Some(&stamp));
        std::fs::write(dir.path().join("1.db-wal"), "x").expect("written");
        assert_ne!(stamp_of(&path, None), Some(stamp));
        assert_eq!(stamp_of(&path, Some(file_time())), None, "too fresh to tell");
    }
}
