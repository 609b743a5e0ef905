//! Marks: what stands in the way of a server on a store that is being moved, or was.
//!
//! Both ends of a move have one with the same random name. So a move goes on only if neither end was used in between: a server does not start
//! on a marked store, and whoever removes a mark, to use the store after all, cannot go on with the move.
//!
//! In a directory it is a file. In a database it is the table `posthaste.move`, which the store's own module knows.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// Name of the file.
pub const FILE: &str = "moved.json";
/// Name of the file in a directory of which a move began while a server runs on it. It stands in nobody's way.
pub const BEGUN: &str = "move-begun.json";

/// What becomes of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MoveState {
    /// It is being filled, and not complete.
    Filling,
    /// It is being moved elsewhere.
    Leaving,
    /// It was moved elsewhere.
    Left,
}

/// What a marked store says of itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} {} {other}", match .state {
    MoveState::Filling => "is not complete: `posthaste migrate` is filling it from",
    MoveState::Leaving => "is being moved by `posthaste migrate` to",
    MoveState::Left => "was moved by `posthaste migrate` to",
})]
pub struct Moving {
    /// The store.
    pub place: String,
    /// What becomes of it.
    pub state: MoveState,
    /// The other end.
    pub other: String,
    /// What says so: a file or a table.
    pub mark: String,
}

/// The mark of one end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Random; the same at both ends.
    pub(crate) id: String,
    pub(crate) state: MoveState,
    /// The other end, for people.
    pub(crate) other: String,
}

impl Mark {
    /// One with a new id.
    pub(crate) fn new(state: MoveState, other: &str) -> Result<Self, StoreError> {
        let mut bytes = [0u8; 16];
        OsRng.try_fill_bytes(&mut bytes).map_err(|error| StoreError::Engine(error.into()))?;
        let id = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { id, state, other: other.to_owned() })
    }

    /// What a server on a directory is told.
    pub(crate) fn of_directory(self, dir: &Path) -> StoreError {
        self.of(dir.display().to_string(), file(dir).display().to_string())
    }

    /// What a server is told.
    pub(crate) fn of(self, place: String, mark: String) -> StoreError {
        StoreError::Moving(Moving { place, state: self.state, other: self.other, mark })
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> StoreError {
    let file = path.display().to_string();
    move |error| StoreError::File { file: file.clone(), source: error.into() }
}

fn file(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// The mark of a directory.
pub(crate) fn read(dir: &Path) -> Result<Option<Mark>, StoreError> {
    read_file(&file(dir))
}

/// The other mark of a directory: of a move that began while a server runs on it.
pub(crate) fn begun(dir: &Path) -> Result<Option<Mark>, StoreError> {
    read_file(&dir.join(BEGUN))
}

fn read_file(path: &Path) -> Result<Option<Mark>, StoreError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| failed(path)(error.into()))
}

/// Refuses a directory that has a mark.
pub(crate) fn check(dir: &Path) -> Result<(), StoreError> {
    match read(dir)? {
        Some(mark) => Err(mark.of_directory(dir)),
        None => Ok(()),
    }
}

/// Marks a directory, durably.
pub(crate) fn write(dir: &Path, mark: &Mark) -> Result<(), StoreError> {
    write_file(dir, FILE, mark)
}

/// Notes that a move began while a server runs on a directory, durably.
pub(crate) fn begin(dir: &Path, mark: &Mark) -> Result<(), StoreError> {
    write_file(dir, BEGUN, mark)
}

fn write_file(dir: &Path, name: &str, mark: &Mark) -> Result<(), StoreError> {
    let text = serde_json::to_vec(mark).expect("a mark is plain strings");
    let (unfinished, path) = (dir.join("moved.new"), dir.join(name));
    let written = File::create(&unfinished).and_then(|mut file| {
        file.write_all(&text)?;
        file.write_all(b"\n")?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(&unfinished, &path)).map_err(failed(&path))?;
    sync(dir)
}

/// Takes the mark away, durably.
pub(crate) fn remove(dir: &Path) -> Result<(), StoreError> {
    std::fs::remove_file(file(dir)).map_err(failed(&file(dir)))?;
    sync(dir)
}

/// Takes the other mark away, if it is there.
pub(crate) fn forget_begun(dir: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(dir.join(BEGUN)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&dir.join(BEGUN))(error)),
        _ => Ok(()),
    }
}

fn sync(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_directory_says_so() {
        let dir = tempfile::tempdir().expect("a directory");
        check(dir.path()).expect("no mark");
        let mark = Mark::new(MoveState::Left, "postgres://db/posthaste").expect("a mark");
        write(dir.path(), &mark).expect("written");
        assert_eq!(read(dir.path()).expect("read"), Some(mark));
        let error = check(dir.path()).expect_err("marked").to_string();
        assert!(error.ends_with("was moved by `posthaste migrate` to postgres://db/posthaste"), "{error}");
        remove(dir.path()).expect("removed");
        check(dir.path()).expect("no mark");
        std::fs::write(dir.path().join(FILE), "{").expect("a file");
        assert!(matches!(check(dir.path()), Err(StoreError::File { .. })));
    }
}
