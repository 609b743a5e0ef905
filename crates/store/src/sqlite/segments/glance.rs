//! A look at a journal that another process may be writing: nothing is repaired, and nothing removed.

use std::path::Path;
use std::sync::Arc;

use super::{Kind, PLAIN_BYTES, SUPERSEDED, Segment, SegmentState, Segments, edges, file_bytes, file_of, id_of};
use crate::StoreError;
use crate::sqlite::schema::{self, Access, Misfit};

/// How often files may go between their list and the look at them, before one of them is taken for lost.
const LOOKS: usize = 100;

/// What a file is that another process may be writing.
enum Glance {
    Segment(Arc<Segment>),
    /// Another file has taken its place.
    Superseded,
    /// It has no tables.
    Empty,
}

impl Segments {
    /// Those of a `journal/` that another process may be writing, oldest first, with what has to be known to read them.
    pub(in crate::sqlite) fn glance(dir: &Path) -> Result<Vec<Arc<Segment>>, StoreError> {
        for _ in 0..LOOKS {
            // A file that went meanwhile was dropped, or another has taken its place, which is in the next list.
            if let Some(list) = Self::glance_once(dir)? {
                return Ok(list);
            }
        }
        Err(Misfit::Missing.of(dir))
    }

    fn glance_once(dir: &Path) -> Result<Option<Vec<Arc<Segment>>>, StoreError> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(schema::file_error)? {
            let name = entry.map_err(schema::file_error)?.file_name();
            files.extend(name.to_str().and_then(id_of));
        }
        // Of two files with a number, the plain one comes first.
        files.sort_unstable();
        let mut list: Vec<Arc<Segment>> = Vec::new();
        for (place, (id, kind)) in files.iter().enumerate() {
            if list.last().is_some_and(|known| known.id == *id) {
                continue;
            }
            match Segment::glance(dir, *id, *kind) {
                Ok(Glance::Segment(segment)) => list.push(segment),
                Ok(Glance::Superseded) if files.get(place + 1) == Some(&(*id, Kind::Cold)) => {}
                // The one that a start is at has no tables yet.
                Ok(Glance::Empty) if place + 1 == files.len() => {}
                Ok(Glance::Empty) => return Err(Misfit::Empty.of(&file_of(dir, *id, *kind))),
                Ok(Glance::Superseded) => return Ok(None),
                Err(_) if !file_of(dir, *id, *kind).exists() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(list))
    }
}

impl Segment {
    /// Looks at a file that another process may be writing.
    fn glance(dir: &Path, id: u32, kind: Kind) -> Result<Glance, StoreError> {
        let path = file_of(dir, id, kind);
        let failed = schema::failed(&path);
        let conn = schema::connect(&path, Access::Read)?;
        if !schema::is_prepared(&conn).map_err(&failed)? {
            return Ok(Glance::Empty);
        }
        let format = if kind == Kind::Cold { schema::COLD_FORMAT } else { schema::FORMAT };
        schema::check(&path, &conn, format)?;
        let look = || -> rusqlite::Result<Glance> {
            if schema::meta_value(&conn, SUPERSEDED)?.is_some() {
                return Ok(Glance::Superseded);
            }
            let bounds = (schema::meta_value(&conn, "floor")?.unwrap_or(1), schema::meta_value(&conn, "floor_ms")?.unwrap_or(0));
            let plain_bytes = schema::meta_value(&conn, PLAIN_BYTES)?.map(|bytes| bytes.unsigned_abs());
            let ((first_sequence, first_ms), (last_sequence, last_ms)) = edges(&conn)?;
            let bytes = file_bytes(&conn)?;
            let state = SegmentState { first_sequence, last_sequence, first_ms, last_ms, bytes, ..SegmentState::default() };
            Ok(Glance::Segment(Arc::new(Self::new(id, path.clone(), bounds, Vec::new(), plain_bytes, state))))
        };
        let found = look().map_err(&failed)?;
        // A server of this release brings all files up to it before it does anything else.
        match schema::meta_value(&conn, "format").map_err(failed)? {
            Some(of) if of < format => Err(Misfit::Old.of(&path)),
            _ => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two files of a segment the one that counts is read; none is left out.
    #[test]
    fn a_segment_is_never_left_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let segments = Segments::open(dir.path()).expect("a journal");
        segments.roll().expect("a new segment");
        let (plain, cold) = (dir.path().join("00000001.db"), dir.path().join("00000001.cold.db"));
        std::fs::copy(&plain, &cold).expect("a copy");
        let set = |path: &Path, name: &str, value: i64| {
            let conn = schema::connect(path, Access::Write).expect("a connection");
            conn.execute("INSERT OR REPLACE INTO meta(name, value) VALUES (?1, ?2)", (name, value)).expect("written");
        };
        set(&cold, "format", schema::COLD_FORMAT);
        let seen = || Segments::glance(dir.path()).map(|list| list.iter().map(|segment| segment.path.clone()).collect::<Vec<_>>());
        assert_eq!(seen().expect("a look")[0], plain);
        set(&plain, SUPERSEDED, 1);
        let second = dir.path().join("00000002.db");
        assert_eq!(seen().expect("a look"), [cold.clone(), second]);
        std::fs::remove_file(&cold).expect("removed");
        assert!(matches!(seen(), Err(StoreError::File { .. })));
    }
}
