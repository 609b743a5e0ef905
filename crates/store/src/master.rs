//! `master.key`: the file of the master keys, one a line, see [`MasterKeys`].

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::StoreError;
use crate::secrets::{KeyError, MasterKeys};
use crate::sqlite::{file_error, sync_dir};

/// Permissions of users that are neither the owner nor of the file's group.
const OTHERS: u32 = 0o007;

/// What is wrong with the key file.
#[derive(Debug, thiserror::Error)]
enum KeyFileError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("its permissions ({0:03o}) let every user of this machine at it; chmod 600 it")]
    Open(u32),
}

impl KeyFileError {
    fn of(self, path: &Path) -> StoreError {
        StoreError::File { file: path.display().to_string(), source: self.into() }
    }
}

/// Reads the key file; `None` when there is none.
///
/// # Errors
/// [`StoreError::File`] for one that holds something else, or that every user of the machine may read.
pub fn load(path: &Path) -> Result<Option<MasterKeys>, StoreError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error(error)),
    };
    let mode = file.metadata().map_err(file_error)?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(KeyFileError::Open(mode).of(path));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(file_error)?;
    MasterKeys::parse(&text).map(Some).map_err(|error| KeyFileError::from(error).of(path))
}

/// Writes a key file with these lines that only its owner can read, durably: it is there with all of them or not at all.
pub(crate) fn write(path: &Path, lines: &str) -> Result<(), StoreError> {
    let unfinished = path.with_extension("new");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file_error(error)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(file_error)?;
    writeln!(file, "{}", lines.trim_end()).map_err(file_error)?;
    file.sync_all().map_err(file_error)?;
    std::fs::rename(&unfinished, path).map_err(file_error)?;
    sync_dir(path.parent().expect("a file has a directory"))
}

/// Makes a key file that only its owner can read, durably: it is there with its key or not at all.
///
/// # Errors
/// Those of the file system.
pub fn create(path: &Path) -> Result<MasterKeys, StoreError> {
    let (keys, line) = MasterKeys::generate()?;
    write(path, &line)?;
    Ok(keys)
}
