//! Online backup: a consistent copy of each file while a server goes on writing.
//!
//! Segments are copied before the catalog, so that whatever a copied delivery refers to is in the copy. Each file is a snapshot
//! of its own moment: a delivery that was settled during the backup may be pending in the copy and is then sent again, with the same id.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::schema::{self, Access, failed, file_error};
use super::segments::remove_files;
use crate::StoreError;

/// Pages that are copied between two reports of progress (8 MiB).
const STEP_PAGES: i32 = 1024;

/// How far a backup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupProgress {
    /// The file being copied, below the data directory.
    pub file: String,
    /// Its bytes copied so far.
    pub copied: u64,
    /// All its bytes.
    pub total: u64,
}

/// Why a backup was not begun.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The destination has files in it.
    #[error("{0} is not empty")]
    NotEmpty(String),
    /// There is no data directory.
    #[error("{0} is not a data directory: it has no catalog.db")]
    NoStore(String),
}

impl From<BackupError> for StoreError {
    fn from(error: BackupError) -> Self {
        Self::Engine(error.into())
    }
}

/// Copies the data directory `from`, which may be served by another process, into the new or empty directory `to`.
/// Blocks until done. A backup that fails leaves its destination without a `catalog.db`.
///
/// # Errors
/// [`StoreError::Engine`] of a [`BackupError`] when there is nothing to copy or no empty place for it, [`StoreError::Full`] when the
/// destination is full, [`StoreError::Moving`] when the directory is being moved or was.
pub fn backup(from: &Path, to: &Path, mut progress: impl FnMut(BackupProgress)) -> Result<(), StoreError> {
    if !from.join("catalog.db").is_file() {
        return Err(BackupError::NoStore(from.display().to_string()).into());
    }
    crate::migrate::marker::check(from)?;
    super::create_dir(&to.join("journal"))?;
    let entries = |dir: &Path| std::fs::read_dir(dir).map(Iterator::count).map_err(file_error);
    if entries(to)? > 1 || entries(&to.join("journal"))? > 0 {
        return Err(BackupError::NotEmpty(to.display().to_string()).into());
    }
    // Segments that were started meanwhile are found by looking again. The one before them was still being appended to when it was
    // copied: without another copy there would be a gap in the events.
    let mut done: Vec<PathBuf> = Vec::new();
    loop {
        let files = segment_files(&from.join("journal"))?;
        if files.iter().all(|file| done.contains(file)) {
            break;
        }
        if let Some(cut) = done.pop() {
            remove_files(&copy_of(&cut, to));
        }
        for file in files {
            if !done.contains(&file) {
                let copied = copy_of(&file, to);
                let name = format!("journal/{}", copied.file_name().unwrap_or_default().display());
                copy(&file, &copied, &name, &mut progress)?;
                done.push(file);
            }
        }
    }
    copy(&from.join("bins.db"), &to.join("bins.db"), "bins.db", &mut progress)?;
    copy_key(&from.join("master.key"), &to.join("master.key"))?;
    copy(&from.join("catalog.db"), &to.join("catalog.db"), "catalog.db", &mut progress)?;
    super::sync_dir(&to.join("journal"))?;
    super::sync_dir(to)
}

/// Where a segment is copied to.
fn copy_of(file: &Path, to: &Path) -> PathBuf {
    to.join("journal").join(file.file_name().expect("listed in a directory"))
}

fn segment_files(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(file_error)? {
        let path = entry.map_err(file_error)?.path();
        if path.extension().is_some_and(|extension| extension == "db") {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Copies one database. One that retention drops before it is opened is left out.
fn copy(from: &Path, to: &Path, name: &str, progress: &mut impl FnMut(BackupProgress)) -> Result<(), StoreError> {
    let source = match schema::connect(from, Access::Read) {
        Ok(source) => source,
        Err(_) if !from.exists() => return Ok(()),
        Err(error) => return Err(error),
    };
    // A read transaction over the whole copy: it stays one snapshot, and writers do not make it begin again.
    source.execute_batch("BEGIN").map_err(failed(from))?;
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(failed(from))?;
    let mut target = Connection::open(to).map_err(failed(to))?;
    let copy = Backup::new(&source, &mut target).map_err(failed(to))?;
    loop {
        let step = copy.step(STEP_PAGES).map_err(failed(to))?;
        let pages = copy.progress();
        let bytes = |pages: i32| u64::try_from(pages).unwrap_or_default() * schema::PAGE_BYTES;
        progress(BackupProgress { file: name.to_owned(), copied: bytes(pages.pagecount - pages.remaining), total: bytes(pages.pagecount) });
        if matches!(step, StepResult::Done) {
            return Ok(());
        }
    }
}

fn copy_key(from: &Path, to: &Path) -> Result<(), StoreError> {
    let key = std::fs::read(from).map_err(file_error)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(file_error)?;
    file.write_all(&key).and_then(|()| file.sync_all()).map_err(file_error)
}
