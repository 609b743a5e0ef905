//! `deliver_sm`: receipts and inbound messages.

use posthaste_domain::sms::{
    Coding, MessageKey, Part, Piece, Receipt, is_e164, normal_number, parse_receipt, parse_user_data_header, unpack_septets,
};
use rusmpp::pdus::DeliverSm;
use rusmpp::tlvs::TlvValue;

use super::settings::Alphabet;

/// What a `deliver_sm` is.
#[derive(Debug, PartialEq)]
pub(super) enum Delivered {
    /// A receipt.
    Receipt(Receipt, String),
    /// A receipt that names no message or no state.
    UnreadableReceipt(String),
    /// A whole message.
    Message { from: String, to: String, piece: Piece },
    /// Part of a message.
    Part(MessageKey, u8, Piece),
}

/// Bits of `esm_class`.
const RECEIPT: u8 = 0x04;
const NOTIFICATION: u8 = 0x20;
const HEADER: u8 = 0x40;

/// The fields beside the mandatory ones that count here.
#[derive(Default)]
struct Optional<'a> {
    payload: Option<&'a [u8]>,
    receipted_message_id: Option<&'a str>,
    message_state: Option<u8>,
    reference: Option<u16>,
    total: Option<u8>,
    number: Option<u8>,
}

impl<'a> Optional<'a> {
    fn of(pdu: &'a DeliverSm) -> Self {
        let mut found = Self::default();
        for value in pdu.tlvs().iter().filter_map(|tlv| tlv.value()) {
            match value {
                TlvValue::MessagePayload(payload) => found.payload = Some(payload.value.as_ref()),
                TlvValue::ReceiptedMessageId(id) => found.receipted_message_id = Some(id.as_str()),
                TlvValue::MessageState(state) => found.message_state = Some(u8::from(*state)),
                TlvValue::SarMsgRefNum(reference) => found.reference = Some(*reference),
                TlvValue::SarTotalSegments(total) => found.total = Some(*total),
                TlvValue::SarSegmentSeqnum(number) => found.number = Some(*number),
                _ => {}
            }
        }
        found
    }

    fn part(&self) -> Option<Part> {
        Part::new(self.reference?, self.total?, self.number?)
    }
}

/// Reads a `deliver_sm`.
pub(super) fn read(pdu: &DeliverSm, alphabet: Alphabet) -> Delivered {
    let optional = Optional::of(pdu);
    let user_data = optional.payload.unwrap_or_else(|| pdu.short_message().as_ref());
    let class = u8::from(pdu.esm_class);
    if class & (RECEIPT | NOTIFICATION) != 0 || optional.receipted_message_id.is_some() {
        // A receipt's text is ASCII in every alphabet that is used for it.
        let text = String::from_utf8_lossy(user_data).into_owned();
        return match parse_receipt(&text, optional.receipted_message_id, optional.message_state) {
            Some(receipt) => Delivered::Receipt(receipt, text),
            None => Delivered::UnreadableReceipt(text),
        };
    }
    let header = (class & HEADER != 0).then(|| parse_user_data_header(user_data)).flatten();
    let (header_length, part) = header.unwrap_or((0, None));
    let part = part.or_else(|| optional.part()).filter(|part| part.total > 1);
    let coding = coding(u8::from(pdu.data_coding));
    let octets = &user_data[header_length..];
    let octets = match (coding, alphabet) {
        (Coding::Gsm7, Alphabet::Packed) => {
            let fill = (7 - header_length * 8 % 7) % 7;
            unpack_septets(octets, u8::try_from(fill).unwrap_or_default())
        }
        _ => octets.to_vec(),
    };
    let piece = Piece { coding, octets };
    let from = number(u8::from(pdu.source_addr_ton), pdu.source_addr.as_str());
    let to = number(u8::from(pdu.dest_addr_ton), pdu.destination_addr.as_str());
    match part {
        None => Delivered::Message { from, to, piece },
        Some(part) => Delivered::Part(MessageKey { from, to, reference: part.reference, total: part.total }, part.number, piece),
    }
}

/// What `data_coding` means: the values of SMPP 3.4, 5.2.19, and the groups of GSM beyond.
fn coding(data_coding: u8) -> Coding {
    match data_coding {
        0x01 | 0x02 | 0x04 => Coding::Utf8,
        0x03 => Coding::Latin1,
        0x08 => Coding::Ucs2,
        // General coding groups with bits for the alphabet, and the group of message classes with one.
        0x10..=0x3F if data_coding & 0x0C == 0x08 => Coding::Ucs2,
        0x10..=0x3F if data_coding & 0x0C == 0x04 => Coding::Utf8,
        0xF0..=0xFF if data_coding & 0x04 != 0 => Coding::Utf8,
        _ => Coding::Gsm7,
    }
}

/// An address as a number in E.164 where the centre says that it is one, or where it can be nothing else.
fn number(ton: u8, text: &str) -> String {
    let number = match ton {
        0 | 1 => normal_number(text),
        _ => return text.to_owned(),
    };
    // The centre knows of shorter ones too that they have their country.
    let international = format!("+{number}");
    if ton == 1 && is_e164(&international) { international } else { number }
}

#[cfg(test)]
mod tests {
    use posthaste_domain::sms::{ReceiptState, decode};
    use rusmpp::tlvs::MessageDeliveryRequestTlvValue as Tlv;
    use rusmpp::types::{AnyOctetString, COctetString, OctetString};
    use rusmpp::values::{DataCoding, EsmClass, MessagePayload, MessageState, Ton};

    use super::*;

    fn deliver(class: u8, coding: u8, text: &[u8]) -> DeliverSm {
        DeliverSm::builder()
            .source_addr_ton(Ton::International)
            .source_addr(COctetString::from_string("15550001".into()).expect("short"))
            .destination_addr(COctetString::from_string("12345".into()).expect("short"))
            .esm_class(EsmClass::from(class))
            .data_coding(DataCoding::from(coding))
            .short_message(OctetString::from_slice(text).expect("short"))
            .build()
    }

    fn text(delivered: Delivered) -> String {
        match delivered {
            Delivered::Message { from, to, piece } => {
                assert_eq!((from.as_str(), to.as_str()), ("+15550001", "12345"));
                decode(piece.coding, &piece.octets)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_are_read_in_their_coding() {
        let unpacked = |coding, octets: &[u8]| text(read(&deliver(0, coding, octets), Alphabet::Unpacked));
        assert_eq!(unpacked(0, &[0x00, 0x1B, 0x65]), "@€");
        assert_eq!(unpacked(1, b"ascii"), "ascii");
        assert_eq!(unpacked(3, &[0xE9]), "é");
        assert_eq!(unpacked(8, &[0x04, 0x2F]), "Я");
        assert_eq!(unpacked(0x19, &[0x04, 0x2F]), "Я");
        assert_eq!(unpacked(0xF1, &[0x00]), "@");
        assert_eq!(text(read(&deliver(0, 0, &[0xE8, 0x32, 0x9B, 0xFD, 0x06]), Alphabet::Packed)), "hello");
        // What is longer than a short message is in its own field.
        let mut long = deliver(0, 0, b"");
        long.set_tlvs(vec![Tlv::MessagePayload(MessagePayload::new(AnyOctetString::from_slice(&[b'x'; 300])))]);
        assert_eq!(text(read(&long, Alphabet::Unpacked)), "x".repeat(300));
        // A header that says nothing of parts is skipped; one that lies is text.
        assert_eq!(text(read(&deliver(0x40, 0, &[2, 0x70, 0, b'a']), Alphabet::Unpacked)), "a");
    }

    #[test]
    fn parts_are_told_by_header_or_by_fields() {
        let part = |pdu: &DeliverSm| match read(pdu, Alphabet::Unpacked) {
            Delivered::Part(key, number, piece) => (key.reference, key.total, number, decode(piece.coding, &piece.octets)),
            other => panic!("{other:?}"),
        };
        assert_eq!(part(&deliver(0x40, 0, &[5, 0, 3, 9, 2, 1, b'a'])), (9, 2, 1, "a".into()));
        let mut fields = deliver(0, 0, b"b");
        fields.set_tlvs(vec![Tlv::SarMsgRefNum(300), Tlv::SarTotalSegments(2), Tlv::SarSegmentSeqnum(2)]);
        assert_eq!(part(&fields), (300, 2, 2, "b".into()));
        assert!(matches!(read(&deliver(0x40, 0, &[5, 0, 3, 9, 1, 1, b'a']), Alphabet::Unpacked), Delivered::Message { .. }));
    }

    #[test]
    fn receipts_are_told_from_messages() {
        let mut receipt = deliver(0x04, 0, b"id:1 stat:DELIVRD err:000");
        assert!(matches!(read(&receipt, Alphabet::Unpacked), Delivered::Receipt(read, _) if read.id == "1"));
        let id = COctetString::from_string("ff".into()).expect("short");
        receipt.set_tlvs(vec![Tlv::ReceiptedMessageId(id), Tlv::MessageState(MessageState::Undeliverable)]);
        assert!(
            matches!(read(&receipt, Alphabet::Unpacked), Delivered::Receipt(read, _) if read.id == "ff" && read.state == ReceiptState::Failed)
        );
        assert!(matches!(read(&deliver(0x04, 0, b"hm"), Alphabet::Unpacked), Delivered::UnreadableReceipt(text) if text == "hm"));
        assert_eq!(text(read(&deliver(0, 0, b"id:1 stat:DELIVRD"), Alphabet::Unpacked)), "id:1 stat:DELIVRD");
    }

    #[test]
    fn numbers_are_international_where_that_is_certain() {
        assert_eq!(number(1, "15550001"), "+15550001");
        assert_eq!(number(0, "15551230001"), "+15551230001");
        assert_eq!(number(0, "07700900123"), "07700900123");
        assert_eq!(number(0, "12345"), "12345");
        assert_eq!(number(1, "12345"), "12345");
        assert_eq!(number(5, "Shop"), "Shop");
        assert_eq!(number(1, "+15550001"), "+15550001");
        assert_eq!(number(1, "0015550001"), "+15550001");
        assert_eq!(number(0, "0015551230001"), "+15551230001");
        assert_eq!(number(2, "15551230001"), "15551230001");
    }
}
