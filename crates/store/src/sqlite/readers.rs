//! Threads that read, and the connections they share.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use posthaste_domain::event::Source;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::cold::Packs;
use super::schema::{self, Access};
use super::segments::Segment;
use crate::StoreError;

/// Idle connections that are kept, over all segments.
const IDLE: usize = 64;
/// Bytes of texts that a connection remembers, of each kind.
const TEXT_BYTES: usize = 256 << 10;
/// What a remembered text takes besides itself.
const TEXT_OVERHEAD: usize = 64;

/// A connection to one segment for reading. Fields are dropped in order: the segment must outlive the connection.
pub(super) struct Reader {
    /// The connection.
    pub(super) conn: Connection,
    words: Texts<str>,
    sources: Texts<Source>,
    types: Texts<str>,
    packs: Arc<Packs>,
    /// Its segment.
    pub(super) segment: Arc<Segment>,
}

impl Reader {
    fn open(segment: Arc<Segment>, packs: Arc<Packs>) -> Result<Self, StoreError> {
        let conn = schema::connect(&segment.path, Access::Read)?;
        Ok(Self { conn, words: Texts::default(), sources: Texts::default(), types: Texts::default(), packs, segment })
    }

    /// A payload of a compressed segment, whose row tells this length.
    pub(super) fn packed(&self, sequence: i64, length: usize) -> rusqlite::Result<Bytes> {
        self.packs.payload(&self.conn, self.segment.id, sequence, length)
    }

    /// The text of a word.
    pub(super) fn word(&mut self, id: i64) -> rusqlite::Result<Arc<str>> {
        if let Some(word) = self.words.map.get(&id) {
            return Ok(word.clone());
        }
        let word: Arc<str> = self.conn.prepare_cached("SELECT text FROM word WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
        self.words.insert(id, word.clone(), word.len());
        Ok(word)
    }

    /// The source that a word holds.
    pub(super) fn source(&mut self, id: i64) -> rusqlite::Result<Arc<Source>> {
        if let Some(source) = self.sources.map.get(&id) {
            return Ok(source.clone());
        }
        let text: String = self.conn.prepare_cached("SELECT text FROM word WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
        let source: Arc<Source> = Arc::new(
            serde_json::from_str(&text)
                .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into()))?,
        );
        self.sources.insert(id, source.clone(), text.len());
        Ok(source)
    }

    /// The name of a type.
    pub(super) fn type_name(&mut self, id: i64) -> rusqlite::Result<Arc<str>> {
        if let Some(name) = self.types.map.get(&id) {
            return Ok(name.clone());
        }
        let name: Arc<str> = self.conn.prepare_cached("SELECT name FROM type WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
        self.types.insert(id, name.clone(), name.len());
        Ok(name)
    }
}

/// What was read before, within a bound.
struct Texts<V: ?Sized> {
    map: HashMap<i64, Arc<V>>,
    bytes: usize,
}

impl<V: ?Sized> Default for Texts<V> {
    fn default() -> Self {
        Self { map: HashMap::new(), bytes: 0 }
    }
}

impl<V: ?Sized> Texts<V> {
    fn insert(&mut self, id: i64, value: Arc<V>, bytes: usize) {
        if self.bytes > TEXT_BYTES {
            self.map.clear();
            self.bytes = 0;
        }
        self.bytes += bytes + TEXT_OVERHEAD;
        self.map.insert(id, value);
    }
}

/// Idle connections, least recently used first.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Idle>,
    packs: Arc<Packs>,
}

#[derive(Default)]
struct Idle {
    readers: Vec<Reader>,
    closed: bool,
}

impl Pool {
    /// A connection to a segment, to be given back by dropping it.
    pub(super) fn take(self: &Arc<Self>, segment: &Arc<Segment>) -> Result<Lease, StoreError> {
        let idle = {
            let mut idle = self.idle.lock();
            if idle.closed {
                return Err(StoreError::Closed);
            }
            let found = idle.readers.iter().rposition(|reader| reader.segment.id == segment.id);
            found.map(|at| idle.readers.remove(at))
        };
        let reader = match idle {
            Some(reader) => reader,
            None => Reader::open(segment.clone(), self.packs.clone())?,
        };
        Ok(Lease { reader: Some(reader), pool: self.clone() })
    }

    /// Closes idle connections to dropped segments.
    pub(super) fn prune(&self) {
        let mut idle = self.idle.lock();
        let (gone, kept) = std::mem::take(&mut idle.readers).into_iter().partition(|reader| reader.segment.is_doomed());
        idle.readers = kept;
        drop(idle);
        drop::<Vec<Reader>>(gone);
    }

    /// Closes all idle connections now and the others when they are given back.
    pub(super) fn close(&self) {
        let mut idle = self.idle.lock();
        idle.closed = true;
        let gone = std::mem::take(&mut idle.readers);
        drop(idle);
        drop(gone);
    }

    fn give_back(&self, reader: Reader) {
        let mut idle = self.idle.lock();
        if idle.closed || reader.segment.is_doomed() {
            drop(idle);
            drop(reader);
            return;
        }
        let oldest = (idle.readers.len() >= IDLE).then(|| idle.readers.remove(0));
        idle.readers.push(reader);
        drop(idle);
        drop(oldest);
    }
}

/// A connection in use.
pub(super) struct Lease {
    reader: Option<Reader>,
    pool: Arc<Pool>,
}

impl Deref for Lease {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        self.reader.as_ref().expect("present until dropped")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Reader {
        self.reader.as_mut().expect("present until dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.pool.give_back(reader);
        }
    }
}

/// The connection that was used last, kept for what comes next: most of what is looked up together lies in one segment.
pub(super) struct Lent<'a> {
    pool: &'a Arc<Pool>,
    last: Option<Lease>,
}

impl<'a> Lent<'a> {
    /// None yet.
    pub(super) fn new(pool: &'a Arc<Pool>) -> Self {
        Self { pool, last: None }
    }

    /// A connection to a segment.
    pub(super) fn of(&mut self, segment: &Arc<Segment>) -> Result<&mut Reader, StoreError> {
        let lease = match self.last.take() {
            Some(lease) if lease.segment.id == segment.id => lease,
            _ => self.pool.take(segment)?,
        };
        Ok(&mut *self.last.insert(lease))
    }
}

/// A thread of the store met a bug. Where, is what the panic itself has printed.
#[derive(Debug, thiserror::Error)]
#[error("the store panicked, which is a bug")]
pub(super) struct Panicked;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads and a bounded queue of jobs for them. The threads end when this is dropped.
pub(super) struct Threads {
    jobs: mpsc::Sender<Job>,
}

impl Threads {
    /// Starts them.
    pub(super) fn start(name: &str, count: usize) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<Job>(256);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..count {
            let queue = queue.clone();
            let work = move || {
                loop {
                    // One idle thread waits in the channel, the others for the lock.
                    let job = queue.lock().blocking_recv();
                    let Some(job) = job else { return };
                    job();
                }
            };
            std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(schema::file_error)?;
        }
        Ok(Self { jobs })
    }

    /// Runs a job on one of the threads and waits for its answer.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, wait) = oneshot::channel();
        let job = Box::new(move || {
            // Whoever asked may have gone away.
            if !answer.is_closed() {
                // A bug fails its caller, not the thread.
                let done = catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| Err(StoreError::Engine(Panicked.into())));
                answer.send(done).ok();
            }
        });
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        wait.await.map_err(|_| StoreError::Closed)?
    }
}
