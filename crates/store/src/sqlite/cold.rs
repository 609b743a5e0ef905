//! Payloads of compressed segments.
//!
//! Payloads of events that came one after the other resemble each other, so they are compressed together: a *pack* holds those of a block
//! of events ([`marks::BLOCK`]), or fewer when they are large. In such a segment `event.payload` is the length of the payload, and the pack
//! that begins at or before the sequence has its bytes. All other rows are as they were, and are written to in the same way: an outcome
//! that comes late, or a resend, never changes a payload.
//!
//! Invariants:
//! 1. A pack is never changed, and numbers of segments are never given twice: what is remembered of a pack stays true.
//! 2. zstd's checksum is part of each pack: damage is an error, never other bytes.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::types::Type;
use rusqlite::{Connection, Error};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

use super::marks;
use super::varint;

/// The pack in which an event's payload lies, or before which it does.
pub(super) const PACK: &str = "SELECT first, bytes, data FROM pack WHERE first <= ?1 ORDER BY first DESC LIMIT 1";
const INSERT: &str = "INSERT INTO main.pack(first, bytes, data) VALUES (?1, ?2, ?3)";

/// Bytes of payloads in a pack, unless one payload alone has more: to read one event is to decompress this much.
pub(super) const PACK_BYTES: usize = 256 << 10;
/// Bytes of packs that are remembered, over all segments.
const REMEMBERED: usize = 8 << 20;
/// No pack is as large: SQLite stores no payload of more.
const LARGEST: usize = 1 << 30;
/// Beyond it, smaller packs cost much more time.
const LEVEL: i32 = 3;

/// Bytes that no pack is made of.
#[derive(Debug, thiserror::Error)]
#[error("a pack of payloads is damaged: {0}")]
struct Damaged(&'static str);

fn damaged(what: &'static str) -> Error {
    Error::FromSqlConversionFailure(2, Type::Blob, Damaged(what).into())
}

fn failed(error: std::io::Error) -> Error {
    Error::FromSqlConversionFailure(2, Type::Blob, error.into())
}

/// Makes packs of payloads that come in order.
pub(super) struct Packer {
    compressor: Compressor<'static>,
    sequences: Vec<i64>,
    lengths: Vec<usize>,
    payloads: Vec<u8>,
    plain: Vec<u8>,
}

impl Packer {
    /// One that holds nothing.
    pub(super) fn new() -> std::io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Self { compressor, sequences: Vec::new(), lengths: Vec::new(), payloads: Vec::new(), plain: Vec::new() })
    }

    /// Whether a payload belongs into another pack than those before it.
    pub(super) fn is_full_for(&self, sequence: i64, payload: &[u8]) -> bool {
        let is_of_block = |first: &i64| marks::block_of(*first) == marks::block_of(sequence);
        self.sequences.first().is_some_and(|first| !is_of_block(first) || self.payloads.len() + payload.len() > PACK_BYTES)
    }

    /// Takes a payload.
    pub(super) fn add(&mut self, sequence: i64, payload: &[u8]) {
        self.sequences.push(sequence);
        self.lengths.push(payload.len());
        self.payloads.extend_from_slice(payload);
    }

    /// Writes the pack, if it holds anything.
    pub(super) fn flush(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let Some(first) = self.sequences.first().copied() else { return Ok(()) };
        self.plain.clear();
        varint::put(&mut self.plain, self.sequences.len() as u64);
        let mut last = first;
        for sequence in self.sequences.drain(..) {
            varint::put(&mut self.plain, (sequence - last) as u64);
            last = sequence;
        }
        for length in self.lengths.drain(..) {
            varint::put(&mut self.plain, length as u64);
        }
        self.plain.append(&mut self.payloads);
        let data = self.compressor.compress(&self.plain).map_err(failed)?;
        conn.prepare_cached(INSERT)?.execute((first, self.plain.len() as i64, data))?;
        Ok(())
    }
}

/// A decompressed pack.
pub(super) struct Pack {
    plain: Vec<u8>,
    /// Sequence, and where its payload begins and ends.
    places: Vec<(i64, usize, usize)>,
}

impl Pack {
    /// Reads the pack of an event.
    ///
    /// # Errors
    /// When it is not there, or is damaged.
    pub(super) fn read(conn: &Connection, sequence: i64) -> rusqlite::Result<Self> {
        let mut select = conn.prepare_cached(PACK)?;
        let mut rows = select.query([sequence])?;
        let row = rows.next()?.ok_or_else(|| damaged("it is missing"))?;
        let bytes = usize::try_from(row.get::<_, i64>(1)?).ok().filter(|bytes| *bytes <= LARGEST).ok_or_else(|| damaged("its size"))?;
        let data = row.get_ref(2)?.as_blob()?;
        let plain = Decompressor::new().and_then(|mut zstd| zstd.decompress(data, bytes));
        Self::parse(row.get(0)?, plain.map_err(failed)?).ok_or_else(|| damaged("its table of contents"))
    }

    fn parse(first: i64, plain: Vec<u8>) -> Option<Self> {
        let mut rest = &plain[..];
        let count = usize::try_from(varint::take(&mut rest)?).ok().filter(|count| *count <= plain.len())?;
        let mut sequence = first;
        let mut places = Vec::with_capacity(count);
        for _ in 0..count {
            sequence = sequence.checked_add_unsigned(varint::take(&mut rest)?)?;
            places.push((sequence, 0, 0));
        }
        let mut lengths = Vec::with_capacity(count);
        for _ in 0..count {
            lengths.push(usize::try_from(varint::take(&mut rest)?).ok()?);
        }
        let mut at = plain.len() - rest.len();
        for (place, length) in places.iter_mut().zip(lengths) {
            let end = at.checked_add(length)?;
            (place.1, place.2) = (at, end);
            at = end;
        }
        (at == plain.len()).then_some(Self { plain, places })
    }

    /// The payload of an event; `None` if it is not in this pack.
    pub(super) fn payload(&self, sequence: i64) -> Option<&[u8]> {
        let place = self.places.binary_search_by_key(&sequence, |place| place.0).ok()?;
        let (_, from, to) = self.places[place];
        Some(&self.plain[from..to])
    }

    /// The same, as of an event that has to be there with a payload of this length.
    pub(super) fn payload_of(&self, sequence: i64, length: usize) -> rusqlite::Result<&[u8]> {
        self.payload(sequence).filter(|payload| payload.len() == length).ok_or_else(|| damaged("it lacks an event"))
    }
}

/// Packs that were read lately, over all segments, so that a page of events decompresses each of its packs once.
#[derive(Default)]
pub(super) struct Packs {
    recent: Mutex<Recent>,
}

/// The packs of segments by number, least recently used first.
#[derive(Default)]
struct Recent {
    packs: Vec<(u32, Arc<Pack>)>,
    bytes: usize,
}

impl Packs {
    /// The payload of an event whose row tells this length.
    pub(super) fn payload(&self, conn: &Connection, segment: u32, sequence: i64, length: usize) -> rusqlite::Result<Bytes> {
        let pack = match self.remembered(segment, sequence) {
            Some(pack) => pack,
            None => {
                let pack = Arc::new(Pack::read(conn, sequence)?);
                self.remember(segment, pack.clone());
                pack
            }
        };
        // A copy: the event may be held for long, and is not to hold all those beside it.
        pack.payload_of(sequence, length).map(Bytes::copy_from_slice)
    }

    fn remembered(&self, segment: u32, sequence: i64) -> Option<Arc<Pack>> {
        let mut recent = self.recent.lock();
        let at = recent.packs.iter().rposition(|(of, pack)| *of == segment && pack.payload(sequence).is_some())?;
        let found = recent.packs.remove(at);
        let pack = found.1.clone();
        recent.packs.push(found);
        Some(pack)
    }

    fn remember(&self, segment: u32, pack: Arc<Pack>) {
        // A payload that is as large on its own has no neighbours to be read for.
        if pack.plain.len() > 2 * PACK_BYTES {
            return;
        }
        let mut recent = self.recent.lock();
        recent.bytes += pack.plain.len();
        recent.packs.push((segment, pack));
        let mut gone = 0;
        while recent.bytes > REMEMBERED {
            recent.bytes -= recent.packs[gone].1.plain.len();
            gone += 1;
        }
        recent.packs.drain(..gone);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sqlite::schema;

    fn table() -> Connection {
        let conn = Connection::open_in_memory().expect("a database");
        conn.execute_batch(schema::COLD).expect("a table");
        conn
    }

    fn packed(conn: &Connection, payloads: &[(i64, Vec<u8>)]) -> i64 {
        let mut packer = Packer::new().expect("zstd");
        for (sequence, payload) in payloads {
            if packer.is_full_for(*sequence, payload) {
                packer.flush(conn).expect("a pack");
            }
            packer.add(*sequence, payload);
        }
        packer.flush(conn).expect("the last pack");
        conn.query_row("SELECT count(*) FROM pack", [], |row| row.get(0)).expect("a count")
    }

    proptest! {
        #[test]
        fn every_payload_comes_back(payloads in prop::collection::btree_map(1i64..2000, prop::collection::vec(any::<u8>(), 0..300), 0..80)) {
            let conn = table();
            let payloads: Vec<_> = payloads.into_iter().collect();
            packed(&conn, &payloads);
            let packs = Packs::default();
            for (sequence, payload) in payloads.iter().chain(payloads.iter().rev()) {
                let back = packs.payload(&conn, 1, *sequence, payload.len());
                prop_assert_eq!(&back.expect("a payload")[..], &payload[..]);
            }
        }
    }

    #[test]
    fn packs_are_bounded() {
        let conn = table();
        let small: Vec<_> = (1..=256).map(|n| (n, vec![1; 10])).collect();
        assert_eq!(packed(&conn, &small), 3, "1 to 127, 128 to 255, 256");
        let conn = table();
        let large: Vec<_> = (1..=6).map(|n| (n, vec![1; PACK_BYTES / 2 - 5 + (n == 3) as usize * PACK_BYTES])).collect();
        assert_eq!(packed(&conn, &large), 4, "1 and 2, 3 alone, 4 and 5, 6");
        let packs = Packs::default();
        for (sequence, payload) in &large {
            let back = packs.payload(&conn, 1, *sequence, payload.len()).expect("a payload");
            assert_eq!(&back[..], &payload[..]);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_of_one_segment() {
        let conn = table();
        let payloads: Vec<_> = (1..=12_800).map(|n| (n, n.to_string().repeat(400).into_bytes())).collect();
        packed(&conn, &payloads);
        let packs = Packs::default();
        for (sequence, payload) in &payloads {
            packs.payload(&conn, 1, *sequence, payload.len()).expect("a payload");
            assert!(packs.recent.lock().bytes <= REMEMBERED);
        }
        assert!(packs.remembered(1, 12_800).is_some() && packs.remembered(2, 12_800).is_none() && packs.remembered(1, 1).is_none());
        let held: usize = packs.recent.lock().packs.iter().map(|(_, pack)| pack.plain.len()).sum();
        assert_eq!(held, packs.recent.lock().bytes);
    }

    #[test]
    fn damage_is_an_error() {
        let conn = table();
        packed(&conn, &[(5, b"five".to_vec()), (7, b"seven".to_vec())]);
        let read = |sequence, length| Packs::default().payload(&conn, 1, sequence, length);
        assert_eq!(&read(7, 5).expect("a payload")[..], b"seven");
        read(4, 1).expect_err("before the first");
        read(6, 1).expect_err("between them");
        read(7, 4).expect_err("another length");
        let data: Vec<u8> = conn.query_row("SELECT data FROM pack", [], |row| row.get(0)).expect("data");
        for at in 0..data.len() {
            let mut flipped = data.clone();
            flipped[at] ^= 0x10;
            conn.execute("UPDATE pack SET data = ?1", [flipped]).expect("an update");
            // Where the header says more than it has to, a bit may mean nothing; other bytes never come back.
            if let Ok(back) = read(7, 5) {
                assert_eq!(&back[..], b"seven", "flipped at {at}");
            }
        }
        conn.execute("UPDATE pack SET data = ?1, bytes = 1 << 40", [data]).expect("an update");
        read(7, 5).expect_err("a size that cannot be");
    }
}
