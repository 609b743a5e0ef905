//! Text messages: numbers, alphabets, segments, receipts, words that opt out.
//!
//! # Invariants
//!
//! - Splitting loses nothing: the parts of a text, decoded in order, are the text again. No part ends within an escape or a surrogate pair.
//! - What comes from carriers is read leniently and never panics; what is kept of it is bounded in pieces, bytes and time.
//! - Times are arguments (`now_ms`).

mod alphabet;
mod concat;
mod number;
mod opt_out;
mod receipt;
mod segment;
mod tally;

pub use alphabet::{decode_gsm7, encode_gsm7, pack_septets, unpack_septets};
pub use concat::{MAX_KEPT_OCTETS, MAX_WAITING, MessageKey, Part, Piece, Reassembly, Whole, parse_user_data_header, user_data_header};
pub use number::{Sender, is_e164, normal_number};
pub use opt_out::{Keyword, keyword};
pub use receipt::{Receipt, ReceiptState, parse_receipt};
pub use segment::{Coding, MAX_SEGMENTS, Segments, decode, segment};
pub use tally::{Tally, TallyNews};

#[cfg(test)]
mod tests;
