//! PDUs in bytes: framing of our own over the codec of `rusmpp`.
//!
//! One PDU that cannot be read costs itself and not the connection: the centre would send it again after every reconnect. Optional fields that
//! break the codec's rules (an id without its NUL, say) are left out rather than the whole message refused.

use bytes::{Buf, BytesMut};
use rusmpp::decode::DecodeWithLength;
use rusmpp::tokio_codec::CommandCodec;
use rusmpp::{Command, CommandId, CommandStatus, Pdu};
use tokio_util::codec::Encoder;

/// The longest PDU that is read: a whole `message_payload` and room for the rest.
const LONGEST: usize = 70 * 1024;
/// Length of a PDU's head.
const HEAD: usize = 16;

/// A PDU that came in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) id: CommandId,
    pub(super) status: u32,
    pub(super) sequence: u32,
    /// `None` if there is none, or none that can be read.
    pub(super) pdu: Option<Pdu>,
}

/// The peer does not speak SMPP.
#[derive(Debug, thiserror::Error)]
#[error("the peer sent a length of {0} octets, which no PDU has")]
pub(super) struct BadLength(u32);

/// Takes the next PDU out of what was read, once it is there as a whole.
pub(super) fn take(read: &mut BytesMut) -> Result<Option<Incoming>, BadLength> {
    let Some(&[a, b, c, d]) = read.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]);
    let size = usize::try_from(length).ok().filter(|size| (HEAD..=LONGEST).contains(size)).ok_or(BadLength(length))?;
    if read.len() < size {
        read.reserve(size - read.len());
        return Ok(None);
    }
    let mut pdu = read.split_to(size);
    pdu.advance(4);
    let word = |place: usize| u32::from_be_bytes([pdu[place], pdu[place + 1], pdu[place + 2], pdu[place + 3]]);
    let (id, status, sequence) = (CommandId::from(word(0)), word(4), word(8));
    Ok(Some(Incoming { id, status, sequence, pdu: decode(id, &pdu) }))
}

fn decode(id: CommandId, pdu: &[u8]) -> Option<Pdu> {
    let read = |pdu: &[u8]| Command::decode(&mut BytesMut::from(pdu), pdu.len()).ok().and_then(|(command, _)| command.pdu().cloned());
    read(pdu).or_else(|| {
        let mandatory = (id == CommandId::DeliverSm).then(|| mandatory_length(&pdu[HEAD - 4..])).flatten()?;
        read(&pdu[..HEAD - 4 + mandatory])
    })
}

/// Octets of a `deliver_sm` before its optional fields.
fn mandatory_length(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Texts that end in NUL, each with the octets that follow: service type, TON, NPI; source, TON, NPI; destination, class, protocol, priority;
    // two times; registered, replace, coding, default message.
    for after in [2, 2, 3, 0, 0] {
        at += body.get(at..)?.iter().position(|octet| *octet == 0)? + 1 + after;
    }
    at += 4;
    let short_message = usize::from(*body.get(at)?);
    Some(at + 1 + short_message).filter(|length| *length <= body.len())
}

/// Appends a PDU to what is to be written.
pub(super) fn put(out: &mut BytesMut, status: CommandStatus, sequence: u32, pdu: Pdu) {
    let command = Command::new(status, sequence, pdu);
    CommandCodec::new().encode(&command, out).expect("encoding into memory does no I/O");
}

#[cfg(test)]
mod tests {
    use rusmpp::pdus::DeliverSm;
    use rusmpp::types::{COctetString, OctetString};

    use super::*;

    fn deliver() -> BytesMut {
        let pdu = DeliverSm::builder()
            .source_addr(COctetString::from_string("15550001".into()).expect("short"))
            .destination_addr(COctetString::from_string("12345".into()).expect("short"))
            .short_message(OctetString::from_slice(b"hello").expect("short"))
            .build();
        let mut bytes = BytesMut::new();
        put(&mut bytes, CommandStatus::EsmeRok, 7, Pdu::DeliverSm(pdu));
        bytes
    }

    #[test]
    fn pdus_are_taken_one_by_one_as_they_become_whole() {
        let whole = deliver();
        let mut read = BytesMut::new();
        for (place, byte) in whole.iter().chain(&whole).enumerate() {
            read.extend_from_slice(&[*byte]);
            let taken = take(&mut read).expect("good lengths");
            assert_eq!(taken.is_some(), (place + 1) % whole.len() == 0);
            if let Some(incoming) = taken {
                assert_eq!((incoming.id, incoming.sequence), (CommandId::DeliverSm, 7));
                assert!(matches!(incoming.pdu, Some(Pdu::DeliverSm(pdu)) if pdu.short_message().as_ref() == b"hello"));
            }
        }
    }

    /// An id without its NUL, as some centres write it, costs the field and not the message.
    #[test]
    fn broken_optional_fields_are_left_out() {
        let mut bytes = deliver();
        bytes.extend_from_slice(&[0x00, 0x1E, 0x00, 0x03, b'a', b'b', b'c']);
        let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
        bytes[..4].copy_from_slice(&length);
        let incoming = take(&mut bytes).expect("a good length").expect("whole");
        assert!(matches!(incoming.pdu, Some(Pdu::DeliverSm(pdu)) if pdu.short_message().as_ref() == b"hello" && pdu.tlvs().is_empty()));
        // A body that is nonsense altogether is no body.
        let mut nonsense = BytesMut::from(&[0, 0, 0, 18, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2][..]);
        let incoming = take(&mut nonsense).expect("a good length").expect("whole");
        assert!(incoming.pdu.is_none() && incoming.sequence == 9);
    }

    #[test]
    fn lengths_that_no_pdu_has_end_the_conversation() {
        assert!(take(&mut BytesMut::from(&b"HTTP/1.1 400"[..])).is_err());
        assert!(take(&mut BytesMut::from(&[0, 0, 0, 15][..])).is_err());
        assert!(take(&mut BytesMut::from(&[0, 0, 0][..])).expect("too short to tell").is_none());
    }
}
