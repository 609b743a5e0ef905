//! Opaque cursors: where a list goes on.
//!
//! Ten bytes as base64url: version and direction, the kind of list, and the key of the last item, big-endian. A key is a position in an
//! immutable order, so pages stay aligned while others write: nothing is skipped and nothing comes twice.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use posthaste_store::Order;

use crate::codes::Code;
use crate::problem::Problem;

const VERSION: u8 = 1;
const ASCENDING: u8 = 0x80;

/// Which list a cursor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum List {
    Events = b'e',
    Deliveries = b'd',
    BinRequests = b'q',
    Workspaces = b'w',
    Keys = b'k',
    EventTypes = b't',
    Targets = b'g',
    Templates = b'm',
    Subscriptions = b's',
    Bins = b'b',
    Replays = b'r',
    Domains = b'o',
    Messages = b'x',
    Members = b'p',
    Audit = b'a',
}

/// The cursor that goes on after `key`.
pub(crate) fn encode(list: List, order: Order, key: i64) -> String {
    let mut bytes = [0; 10];
    bytes[0] = VERSION | if order == Order::Asc { ASCENDING } else { 0 };
    bytes[1] = list as u8;
    bytes[2..].copy_from_slice(&key.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The key that a cursor goes on after.
pub(crate) fn decode(list: List, order: Order, text: &str) -> Result<i64, Problem> {
    let refuse = |detail: &str| Problem::new(Code::InvalidCursor, detail).at("cursor");
    let malformed = "the cursor is not one that this server gave out";
    let bytes: [u8; 10] = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| refuse(malformed))?;
    if bytes[0] & !ASCENDING != VERSION {
        return Err(refuse("the cursor was made by another version of this server; start the list again"));
    }
    if bytes[1] != list as u8 {
        return Err(refuse("the cursor belongs to another list"));
    }
    if (bytes[0] & ASCENDING != 0) != (order == Order::Asc) {
        return Err(refuse("the cursor belongs to the same list in the other order"));
    }
    let key = i64::from_be_bytes(bytes[2..].try_into().expect("eight bytes are left"));
    if key < 0 { Err(refuse(malformed)) } else { Ok(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_what_does_not_belong() {
        let cursor = encode(List::Events, Order::Asc, 7 << 40);
        assert_eq!(decode(List::Events, Order::Asc, &cursor), Ok(7 << 40));
        for (list, order, text) in [
            (List::Events, Order::Desc, cursor.as_str()),
            (List::Deliveries, Order::Asc, cursor.as_str()),
            (List::Events, Order::Asc, &cursor[1..]),
            (List::Events, Order::Asc, "AmUAAAAAAAAAAA"),
            (List::Events, Order::Asc, ""),
            (List::Events, Order::Asc, "ключ"),
        ] {
            assert_eq!(decode(list, order, text).expect_err("refused").code(), Code::InvalidCursor, "{text}");
        }
    }
}
