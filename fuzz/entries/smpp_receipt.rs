//! Bytes as what a message centre delivers: user data with a header, a receipt's text, parts of a message.

use posthaste_domain::sms::{
    Coding, MessageKey, Piece, Reassembly, decode, encode_gsm7, keyword, pack_septets, parse_receipt, parse_user_data_header, segment,
    unpack_septets,
};

/// Nothing panics, nothing is read beyond its end, and what is written can be read again.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(receipt) = parse_receipt(&text, None, None) {
        assert!(!receipt.id.is_empty());
        let again = format!("id:{} stat:{}", receipt.id, receipt.word.unwrap_or_default());
        assert!(parse_receipt(&again, None, None).is_some(), "{again}");
    }
    let _ = keyword(&text);

    let mut reassembly = Reassembly::new(1000);
    for (now_ms, user_data) in (0i64..).zip(data.split(|&byte| byte == 0xFF)) {
        let Some((length, part)) = parse_user_data_header(user_data) else { continue };
        let octets = user_data[length..].to_vec();
        for coding in [Coding::Gsm7, Coding::Ucs2, Coding::Latin1, Coding::Utf8] {
            let _ = decode(coding, &octets);
        }
        let _ = unpack_septets(&octets, (length % 7) as u8);
        if let Some(part) = part {
            let key = MessageKey { from: "a".into(), to: "b".into(), reference: part.reference, total: part.total };
            let coding = if length.is_multiple_of(2) { Coding::Ucs2 } else { Coding::Gsm7 };
            if reassembly.add(&key, part.number, Piece { coding, octets }, now_ms).is_some() {
                reassembly.forget(&key);
            }
        }
    }
    let _ = reassembly.expire(i64::MAX);
    assert!(reassembly.due_ms().is_none(), "everything was given up");

    let made = segment(&text);
    assert_eq!(made.parts.iter().map(|part| decode(made.coding, part)).collect::<String>(), text);
    if let Some(septets) = encode_gsm7(&text)
        && !text.ends_with('\r')
    {
        assert_eq!(unpack_septets(&pack_septets(&septets, 1), 1), septets);
    }
}
