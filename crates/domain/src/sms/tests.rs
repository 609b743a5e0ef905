use proptest::prelude::*;

use super::*;

#[test]
fn numbers_in_e164_are_told_from_others() {
    for good in ["+15005550006", "+256701521269", "+61491570156", "+9990000001", "+442071838750", "+123456789012345"] {
        assert!(is_e164(good), "{good}");
    }
    for bad in [
        "",
        "+",
        "15005550006",
        "+0155500",
        "+123456",
        "+1234567890123456",
        "+1 500 555",
        "+1500555000a",
        "++15005550006",
        "+１５００５５５０００６",
    ] {
        assert!(!is_e164(bad), "{bad}");
    }
}

#[test]
fn numbers_are_made_normal_and_the_rest_stays() {
    for (written, number) in [
        ("+15005550006", "+15005550006"),
        ("15005550006", "+15005550006"),
        ("0015005550006", "+15005550006"),
        ("00256701521269", "+256701521269"),
        (" 15005550006", "+15005550006"),
        ("+1 (500) 555-0006", "+15005550006"),
        ("1.500.555.0006", "+15005550006"),
        ("+45 20 12 34 56", "+4520123456"),
        ("123456789012345", "+123456789012345"),
        ("12345", "12345"),
        (" 12345 ", "12345"),
        ("5005550006", "5005550006"),
        ("500 555 0006", "5005550006"),
        ("07700900123", "07700900123"),
        ("1234567890123456", "1234567890123456"),
        ("+1555", "+1555"),
        ("My Shop", "My Shop"),
        ("Dr. A-Z", "Dr. A-Z"),
        ("MessageBird", "MessageBird"),
        ("١٥٠٠٥٥٥٠٠٠٦", "١٥٠٠٥٥٥٠٠٠٦"),
        ("-", "-"),
        ("", ""),
    ] {
        assert_eq!(normal_number(written), number, "{written:?}");
        assert_eq!(normal_number(number), number, "{number:?} again");
    }
}

#[test]
fn senders_are_numbers_codes_or_names() {
    assert_eq!(Sender::parse("+15005550006"), Some(Sender::Number("15005550006")));
    assert_eq!(Sender::parse("12345"), Some(Sender::ShortCode("12345")));
    assert_eq!(Sender::parse("My Shop"), Some(Sender::Name("My Shop")));
    assert_eq!(Sender::parse("MessageBird"), Some(Sender::Name("MessageBird")));
    for bad in ["", "12", "123456789", "A name too long", "Café", " Shop", "!!!", "a\nb"] {
        assert_eq!(Sender::parse(bad), None, "{bad:?}");
    }
}

/// The example of 3GPP that everybody knows.
#[test]
fn septets_are_packed_as_the_standard_says() {
    let hello = encode_gsm7("hellohello").expect("in the alphabet");
    assert_eq!(pack_septets(&hello, 0), [0xE8, 0x32, 0x9B, 0xFD, 0x46, 0x97, 0xD9, 0xEC, 0x37]);
    assert_eq!(unpack_septets(&[0xE8, 0x32, 0x9B, 0xFD, 0x46, 0x97, 0xD9, 0xEC, 0x37], 0), hello);
    // After a header of six octets one bit fills up to the next septet.
    let packed = pack_septets(&hello, 1);
    assert_eq!(packed[0], 0xD0);
    assert_eq!(unpack_septets(&packed, 1), hello);
    // Seven spare bits are no `@`.
    assert_eq!(unpack_septets(&pack_septets(b"1234567", 0), 0), b"1234567");
}

#[test]
fn the_alphabet_has_its_extensions() {
    assert_eq!(encode_gsm7("@ä€ [x]"), Some(vec![0x00, 0x7B, 0x1B, 0x65, 0x20, 0x1B, 0x3C, 0x78, 0x1B, 0x3E]));
    assert_eq!(encode_gsm7("ç"), None, "only the capital letter is in the alphabet");
    assert_eq!(encode_gsm7("\u{1B}"), None);
    assert_eq!(decode_gsm7(&[0x1B, 0x65, 0x1B, 0x1B, 0x1B, 0x41, 0x1B]), "€ A ");
    assert_eq!(decode_gsm7(&[0x80, 0x41]), "\u{FFFD}A");
}

#[test]
fn segments_have_the_sizes_of_the_networks() {
    let sizes = |text: &str| {
        let made = segment(text);
        (made.coding, made.parts.iter().map(Vec::len).collect::<Vec<_>>())
    };
    assert_eq!(sizes(""), (Coding::Gsm7, vec![0]));
    assert_eq!(sizes(&"a".repeat(160)), (Coding::Gsm7, vec![160]));
    assert_eq!(sizes(&"a".repeat(161)), (Coding::Gsm7, vec![153, 8]));
    assert_eq!(sizes(&"€".repeat(80)), (Coding::Gsm7, vec![160]));
    assert_eq!(sizes(&"€".repeat(81)), (Coding::Gsm7, vec![152, 10]), "no part ends in an escape");
    assert_eq!(sizes(&"я".repeat(70)), (Coding::Ucs2, vec![140]));
    assert_eq!(sizes(&"я".repeat(71)), (Coding::Ucs2, vec![134, 8]));
    assert_eq!(sizes(&format!("я{}", "😀".repeat(40))), (Coding::Ucs2, vec![134, 28]));
    assert_eq!(sizes(&"😀".repeat(36)), (Coding::Ucs2, vec![132, 12]), "no part ends in half a character");
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::collection::vec(any::<char>(), 0..400).prop_map(|chars| chars.into_iter().collect()),
        proptest::collection::vec(proptest::sample::select("a@€[]~ \n1é".chars().collect::<Vec<_>>()), 0..700)
            .prop_map(|chars| chars.into_iter().collect()),
    ]
}

proptest! {
    /// Every part fits, each can be read alone, and together they are the text.
    #[test]
    fn splitting_loses_nothing(text in texts()) {
        let made = segment(&text);
        let several = made.parts.len() > 1;
        let most = match made.coding { Coding::Gsm7 if several => 153, Coding::Gsm7 => 160, _ if several => 134, _ => 140 };
        prop_assert!(made.parts.iter().all(|part| part.len() <= most));
        let alone: String = made.parts.iter().map(|part| decode(made.coding, part)).collect();
        prop_assert_eq!(&alone, &text);
        // No more parts than the text needs, but for the units that had to move to the next part.
        let total: usize = made.parts.iter().map(Vec::len).sum();
        prop_assert!(!several || made.parts.len() <= total.div_ceil(most - 2));
    }

    #[test]
    fn packing_loses_nothing(septets in proptest::collection::vec(0u8..128, 0..170), fill in 0u8..7) {
        // A text that ends in a carriage return just there is taken for filled up, as on every phone.
        let exact = (usize::from(fill) + septets.len() * 7).is_multiple_of(8);
        prop_assume!(!(exact && septets.last() == Some(&0x0D)));
        prop_assert_eq!(unpack_septets(&pack_septets(&septets, fill), fill), septets);
    }

    /// Whatever order the parts come in, and however often.
    #[test]
    fn parts_make_the_text_again(text in texts(), seed in any::<u64>()) {
        let made = segment(&text);
        let total = u8::try_from(made.parts.len()).expect("few parts");
        let key = MessageKey { from: "+15550001".into(), to: "12345".into(), reference: 7, total };
        let mut order: Vec<u8> = (1..=total).chain(1..total).collect();
        let mut state = seed;
        for place in (1..order.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            order.swap(place, (state >> 33) as usize % (place + 1));
        }
        let mut reassembly = Reassembly::new(1000);
        let mut got = None;
        for number in order {
            let piece = Piece { coding: made.coding, octets: made.parts[usize::from(number) - 1].clone() };
            got = reassembly.add(&key, number, piece, 0).or(got);
        }
        prop_assert_eq!(got.as_deref(), Some(text.as_str()));
        reassembly.forget(&key);
        prop_assert!(reassembly.expire(i64::MAX).is_empty());
    }

    #[test]
    fn headers_of_strangers_do_no_harm(data in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Some((length, part)) = parse_user_data_header(&data) {
            prop_assert!(length <= data.len());
            prop_assert!(part.is_none_or(|part| (1..=part.total).contains(&part.number)));
        }
    }

    #[test]
    fn receipts_of_strangers_do_no_harm(text in ".{0,80}(id|stat|Submit_Date|text) ?:.{0,40}(stat|err):.{0,20}") {
        if let Some(receipt) = parse_receipt(&text, None, None) {
            prop_assert!(!receipt.id.is_empty() && text.contains(&receipt.id));
        }
    }
}

#[test]
fn headers_are_written_and_read() {
    let part = Part { reference: 0xAB, total: 3, number: 2 };
    assert_eq!(user_data_header(0xAB, 3, 2), [5, 0, 3, 0xAB, 3, 2]);
    assert_eq!(parse_user_data_header(&[5, 0, 3, 0xAB, 3, 2, b'x']), Some((6, Some(part))));
    // 16 bits of reference, after a port element.
    let ported = [12, 5, 4, 0, 1, 0, 2, 8, 4, 1, 2, 3, 1, b'x'];
    assert_eq!(parse_user_data_header(&ported), Some((13, Part::new(0x0102, 3, 1))));
    assert_eq!(parse_user_data_header(&[5, 0, 3, 1, 2, 3]), Some((6, None)), "part 3 of 2 is none");
    assert_eq!(parse_user_data_header(&[5, 0, 3]), None);
    assert_eq!(parse_user_data_header(&[]), None);
}

fn key(reference: u16, total: u8) -> MessageKey {
    MessageKey { from: "+15550001".into(), to: "12345".into(), reference, total }
}

fn piece(text: &str) -> Piece {
    Piece { coding: Coding::Utf8, octets: text.as_bytes().to_vec() }
}

#[test]
fn a_message_whose_part_is_missing_is_given_up_with_what_there_is() {
    let mut reassembly = Reassembly::new(1000);
    assert_eq!(reassembly.add(&key(1, 4), 1, piece("one "), 0), None);
    assert_eq!(reassembly.add(&key(1, 4), 4, piece(" four"), 999), None);
    assert_eq!(reassembly.due_ms(), Some(1000));
    assert_eq!(reassembly.expire(999), []);
    assert_eq!(reassembly.expire(1000), [Whole { key: key(1, 4), text: "one […] four".into() }]);
    assert_eq!(reassembly.due_ms(), None);
    // What was not forgotten can be completed again.
    assert_eq!(reassembly.add(&key(2, 1), 1, piece("x"), 0).as_deref(), Some("x"));
    assert_eq!(reassembly.add(&key(2, 1), 1, piece("x"), 0).as_deref(), Some("x"));
}

#[test]
fn what_waits_is_bounded() {
    let mut reassembly = Reassembly::new(1000);
    for reference in 0..=1000 {
        assert_eq!(reassembly.add(&key(reference, 2), 1, piece("x"), 0), None);
    }
    assert_eq!(reassembly.expire(1), [Whole { key: key(0, 2), text: "x[…]".into() }]);
    let mut heavy = Reassembly::new(1000);
    let big = "x".repeat(1 << 20);
    for number in 1..=9 {
        assert_eq!(heavy.add(&key(number, 2), 1, piece(&big), 0), None);
    }
    assert_eq!(heavy.expire(1).len(), 1);
}

#[test]
fn halves_of_a_character_are_put_together_but_codings_are_not_mixed() {
    let mut reassembly = Reassembly::new(1000);
    let half = |octets: &[u8]| Piece { coding: Coding::Ucs2, octets: octets.to_vec() };
    assert_eq!(reassembly.add(&key(1, 3), 1, half(&[0xD8, 0x3D]), 0), None);
    assert_eq!(reassembly.add(&key(1, 3), 3, piece("!"), 0), None);
    assert_eq!(reassembly.add(&key(1, 3), 2, half(&[0xDE, 0x00]), 0).as_deref(), Some("😀!"));
}

#[test]
fn receipts_are_read_as_carriers_write_them() {
    let read = |text: &str| parse_receipt(text, None, None);
    let usual = "id:0123456789 sub:001 dlvrd:001 submit date:2511211907 done date:2511211908 stat:DELIVRD err:000 text:Hello id:7 stat:x";
    let delivered = Receipt { id: "0123456789".into(), state: ReceiptState::Delivered, code: None, word: Some("DELIVRD".into()) };
    assert_eq!(read(usual), Some(delivered));
    let shouted = read("ID: a-b Sub: Submit_Date:1 STAT :UNDELIV ERR:00a Text:").expect("a receipt");
    assert_eq!((shouted.id.as_str(), shouted.state, shouted.code.as_deref()), ("a-b", ReceiptState::Failed, Some("00a")));
    assert_eq!(read("stat:EXPIRED id:1").map(|receipt| receipt.state), Some(ReceiptState::Expired));
    assert_eq!(read("id:1 stat:REJECTD").map(|receipt| receipt.state), Some(ReceiptState::Rejected));
    assert_eq!(read("id:1 stat:ENROUTE").map(|receipt| receipt.state), Some(ReceiptState::Enroute));
    for none in ["", "Hello", "id:1", "stat:DELIVRD", "id: stat:DELIVRD", "id:1 stat:WHATEVER", "valid:1 thermostat:DELIVRD"] {
        assert_eq!(read(none), None, "{none}");
    }
    // The fields beside the text count first.
    let beside = parse_receipt("id:1 stat:ENROUTE err:005", Some("ff01"), Some(5)).expect("a receipt");
    assert_eq!((beside.id.as_str(), beside.state, beside.code.as_deref()), ("ff01", ReceiptState::Failed, Some("005")));
    assert_eq!(parse_receipt("", Some("ff01"), Some(2)).map(|receipt| receipt.state), Some(ReceiptState::Delivered));
    assert_eq!(parse_receipt("", Some("ff01"), Some(99)), None);
}

#[test]
fn only_the_word_alone_opts_out() {
    for out in ["STOP", "stop", " Stop. ", "\"STOPALL\"", "unsubscribe", "Cancel!", "end", "QUIT\n"] {
        assert_eq!(keyword(out), Some(Keyword::OptOut), "{out}");
    }
    for back in ["START", "unstop"] {
        assert_eq!(keyword(back), Some(Keyword::OptIn), "{back}");
    }
    for talk in ["", "stop it", "nonstop", "the end", "YES", "…", "stopp", &"x".repeat(10_000)] {
        assert_eq!(keyword(talk), None, "{talk}");
    }
}

fn told(id: &str, state: ReceiptState) -> Option<TallyNews> {
    Some(TallyNews { carrier_id: id.into(), state })
}

#[test]
fn a_message_is_delivered_when_all_its_segments_are() {
    use ReceiptState::{Delivered, Enroute, Expired, Failed};
    let mut tally = Tally::new(1000);
    assert_eq!(tally.taken("m", 0, 3, "a", 0), None);
    assert_eq!(tally.receipt("a", Delivered, 0), None);
    assert_eq!(tally.taken("m", 1, 3, "b", 0), None);
    assert_eq!(tally.taken("m", 2, 3, "c", 0), None);
    assert_eq!(tally.receipt("c", Enroute, 0), None);
    assert_eq!(tally.receipt("c", Delivered, 0), None);
    assert_eq!(tally.receipt("b", Delivered, 0), told("c", Delivered));
    assert_eq!(tally.receipt("b", Delivered, 0), told("c", Delivered), "until it is durable");
    tally.settled("c");
    assert_eq!(tally.receipt("b", Delivered, 0), None);

    // The first failure counts; it waits for the id that the message goes by.
    assert_eq!(tally.taken("n", 0, 2, "d", 0), None);
    assert_eq!(tally.receipt("d", Expired, 0), None);
    assert_eq!(tally.taken("n", 1, 2, "e", 0), told("e", Expired));
    assert_eq!(tally.receipt("e", Failed, 0), told("e", Expired));

    // One segment, or none that is known, speaks for itself.
    assert_eq!(tally.taken("o", 0, 1, "f", 0), None);
    assert_eq!(tally.receipt("f", Enroute, 0), told("f", Enroute));
    // After its time a message is forgotten.
    assert_eq!(tally.receipt("d", Failed, 1000), told("d", Failed));
}
