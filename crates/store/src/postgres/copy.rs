//! Rows as `COPY … (FORMAT binary)` takes them: each value with its length before it.

use bytes::{BufMut, Bytes, BytesMut};

use super::words;

/// Signature, flags, and the length of a header that there is not.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Rows of one table.
pub(super) struct Rows {
    bytes: BytesMut,
    columns: i16,
    count: usize,
}

impl Rows {
    /// None yet, of so many columns.
    pub(super) fn new(columns: i16) -> Self {
        Self { bytes: BytesMut::from(HEADER), columns, count: 0 }
    }

    /// Begins a row: its values come next.
    pub(super) fn row(&mut self) -> &mut Self {
        self.bytes.put_i16(self.columns);
        self.count += 1;
        self
    }

    /// A `bigint`.
    pub(super) fn long(&mut self, value: i64) -> &mut Self {
        self.bytes.put_i32(8);
        self.bytes.put_i64(value);
        self
    }

    /// An `integer`.
    pub(super) fn int(&mut self, value: i32) -> &mut Self {
        self.bytes.put_i32(4);
        self.bytes.put_i32(value);
        self
    }

    /// A `smallint`.
    pub(super) fn small(&mut self, value: i16) -> &mut Self {
        self.bytes.put_i32(2);
        self.bytes.put_i16(value);
        self
    }

    /// A `boolean`.
    pub(super) fn flag(&mut self, value: bool) -> &mut Self {
        self.bytes.put_i32(1);
        self.bytes.put_u8(value.into());
        self
    }

    /// A `bytea`.
    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.put_i32(i32::try_from(value.len()).expect("values are far smaller than 2 GiB"));
        self.bytes.put_slice(value);
        self
    }

    /// A `text`, stored so that any is taken.
    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(words::put(value).as_bytes())
    }

    /// Nothing.
    pub(super) fn null(&mut self) -> &mut Self {
        self.bytes.put_i32(-1);
        self
    }

    /// A `text`, or nothing.
    pub(super) fn maybe_text(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(value),
            None => self.null(),
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All of it.
    pub(super) fn finish(mut self) -> Bytes {
        self.bytes.put_i16(-1);
        self.bytes.freeze()
    }
}
