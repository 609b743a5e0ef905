//! One process per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::schema::file_error;
use crate::StoreError;

/// Holds the directory until dropped. The operating system lets go of it when the process dies in any way.
pub(crate) struct DirectoryLock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl DirectoryLock {
    /// Takes the directory, or says who has it.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join("lock")).map_err(file_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(StoreError::Locked { path: dir.display().to_string(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(file_error(error)),
        }
        file.set_len(0).map_err(file_error)?;
        file.rewind().map_err(file_error)?;
        writeln!(file, "{}", std::process::id()).map_err(file_error)?;
        Ok(Self(file))
    }
}
