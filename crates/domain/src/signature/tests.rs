use super::*;

const BODY: &[u8] = br#"{"test": 2432232314}"#;
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const NOW: i64 = 1_614_265_330;
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const WHSK: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const WHPK: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const SIGNED_ED25519: &str = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

fn secret(text: &str) -> SigningSecret {
    SigningSecret::parse(text).unwrap()
}

fn base64_of(length: usize) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(vec![7; length])
}

/// Verifies the first vector with other headers, at another time, or with other keys.
struct Received {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    now: i64,
}

impl Received {
    fn new() -> Self {
        Self::signed(SIGNED)
    }

    fn signed(signature: &str) -> Self {
        let timestamp = NOW.to_string();
        let headers = [(HEADER_ID, ID), (HEADER_TIMESTAMP, &timestamp), (HEADER_SIGNATURE, signature)];
        Self { headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(), body: BODY.to_vec(), now: NOW }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self
    }

    fn at(mut self, now: i64) -> Self {
        self.now = now;
        self
    }

    fn verify<K: VerifyingKey>(&self, keys: &[K]) -> Result<(), VerifyError> {
        let find = |name: &str| {
            let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str())
        };
        verify(find, &self.body, keys, self.now, TOLERANCE_SECONDS)
    }

    fn check(&self) -> Result<(), VerifyError> {
        self.verify(&[secret(WHSEC)])
    }
}

#[test]
fn the_published_vectors_hold() {
    // STDWH-9
    assert_eq!(sign(ID, NOW, BODY, &[secret(WHSEC)]), SIGNED);
    // STDWH-10
    assert_eq!(
        sign(
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            br#"{"email":"test@example.com","username":"test_user"}"#,
            &[secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")],
        ),
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
    );
    // STDWH-11
    assert_eq!(sign(ID, NOW, BODY, &[secret(WHSK)]), SIGNED_ED25519);
    assert_eq!(secret(WHSK).public_key_text().as_deref(), Some(WHPK));
}

#[test]
fn a_symmetric_signature_is_the_hmac_under_the_decoded_secret() {
    // STDWH-7, STDWH-8, STDWH-18
    use base64::Engine;
    let SigningSecret::Symmetric(decoded) = secret(WHSEC) else { panic!("whsec_ is symmetric") };
    let mac = hmac_sha256(decoded.as_bytes(), &[b"msg_1.5.", BODY].concat());
    let header = sign("msg_1", 5, BODY, &[secret(WHSEC)]);
    let text = header.strip_prefix("v1,").unwrap();
    assert_eq!(text.len(), 44);
    assert!(text.ends_with('='));
    assert_eq!(text, base64::engine::general_purpose::STANDARD.encode(mac));
}

#[test]
fn plain_hmac_and_hex_meet_the_vectors_of_url_deliveries() {
    // MSGGO-63
    let key = b"your_secret_key";
    assert_eq!(hex(&hmac_sha256(key, br#"{"example":"data"}"#)), "8a9301390224ddfb7f8dc3c330d5354cdaefdb08a0babad69385a5b54fdb72e5");
    assert_eq!(hex(&hmac_sha256(key, b"")), "c7130c8efd702d217e36a92fb992c2c3692b24e57c8b09778dd4c53e11fb8996");
    assert_eq!(hex(&[0x00, 0x0f, 0xf0, 0xff]), "000ff0ff");
}

#[test]
fn ids_hold_no_dot() {
    // STDWH-3
    assert!(valid_id(ID));
    for id in ["", "msg.1", "msg 1", "msg\n1", "mäg"] {
        assert!(!valid_id(id), "{id:?}");
    }
}

#[test]
fn several_signatures_are_separated_by_one_space_and_have_one_comma_each() {
    // STDWH-17, STDWH-26, STDWH-30
    let other = SigningSecret::generate_symmetric([1; 32]);
    let header = sign(ID, NOW, BODY, &[secret(WHSEC), other.clone(), secret(WHSK)]);
    let entries: Vec<&str> = header.split(' ').collect();
    assert_eq!(entries.len(), 3);
    assert!(entries.iter().all(|entry| entry.matches(',').count() == 1));
    assert_eq!((entries[0], entries[2]), (SIGNED, SIGNED_ED25519));
    let received = Received::signed(&header);
    assert_eq!(received.check(), Ok(()));
    assert_eq!(received.verify(&[other]), Ok(()));
    assert_eq!(received.verify(&[PublicKey::parse(WHPK).unwrap()]), Ok(()));
}

#[test]
fn a_changed_body_or_another_secret_fails() {
    // STDWH-15
    let mut changed = Received::new();
    changed.body[0] ^= 1;
    assert_eq!(changed.check(), Err(VerifyError::NoMatch));
    // STDWH-16
    let other = SigningSecret::generate_symmetric([9; 32]);
    assert_eq!(Received::new().verify(&[other]), Err(VerifyError::NoMatch));
    assert_eq!(Received::new().with(HEADER_ID, "msg_other").check(), Err(VerifyError::NoMatch));
}

#[test]
fn generated_secrets_have_their_form_and_differ() {
    // STDWH-20
    let one = SigningSecret::generate_symmetric([1; 32]);
    assert!(one.to_text().starts_with("whsec_"));
    assert!(matches!(secret(&one.to_text()), SigningSecret::Symmetric(again) if again.as_bytes() == [1; 32]));
    // STDWH-21
    assert_ne!(one.to_text(), SigningSecret::generate_symmetric([2; 32]).to_text());
    assert_eq!(one.public_key_text(), None);
}

#[test]
fn supplied_secrets_have_24_to_64_bytes() {
    // STDWH-22
    for (length, fits) in [(23, false), (24, true), (64, true), (65, false)] {
        let parsed = SigningSecret::parse(&format!("whsec_{}", base64_of(length)));
        match parsed {
            Ok(_) => assert!(fits, "{length}"),
            Err(error) => assert_eq!((fits, error), (false, SecretError::SymmetricLength { bytes: length })),
        }
    }
}

#[test]
fn what_is_not_standard_base64_is_no_secret() {
    // STDWH-23
    for text in ["whsec_not base64!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_", "whsec_A", "geheim-geheim-geheim-geheim"] {
        assert_eq!(SigningSecret::parse(text).unwrap_err(), SecretError::NotBase64, "{text}");
    }
    // STDWH-41
    for text in ["", "whsec_", "whsk_", "  "] {
        assert_eq!(SigningSecret::parse(text).unwrap_err(), SecretError::Empty, "{text:?}");
    }
    assert_eq!(SigningSecret::parse(WHPK).unwrap_err(), SecretError::PublicKey);
}

#[test]
fn the_prefix_and_the_padding_may_be_missing() {
    // STDWH-40
    let bare = WHSEC.strip_prefix("whsec_").unwrap();
    assert_eq!(sign(ID, NOW, BODY, &[secret(bare)]), SIGNED);
    assert_eq!(secret(bare).to_text(), WHSEC);
    let padded = SigningSecret::generate_symmetric([3; 32]).to_text();
    assert_eq!(secret(padded.trim_end_matches('=')).to_text(), padded);
}

#[test]
fn asymmetric_keys_have_their_form_and_sign() {
    // STDWH-27
    let pair = SigningSecret::generate_ed25519([5; 32]);
    let public = PublicKey::parse(&pair.public_key_text().unwrap()).unwrap();
    assert_eq!(public.to_text().len(), "whpk_".len() + 44);
    // STDWH-28
    let header = sign(ID, NOW, BODY, std::slice::from_ref(&pair));
    assert_eq!(header.strip_prefix("v1a,").unwrap().len(), 88);
    assert_eq!(Received::signed(&header).verify(&[public]), Ok(()));
    assert_eq!(Received::signed(&header).verify(&[pair]), Ok(()));
    let other = SigningSecret::generate_ed25519([6; 32]);
    assert_eq!(Received::signed(&header).verify(&[other]), Err(VerifyError::NoMatch));
    // A wrong identifier does not help: STDWH-31 needs each scheme to stand alone.
    let renamed = header.replace("v1a,", "v1,");
    assert_eq!(Received::signed(&renamed).verify(&[PublicKey::parse(WHPK).unwrap()]), Err(VerifyError::NoMatch));
}

#[test]
fn an_asymmetric_secret_is_a_seed_or_a_seed_with_its_public_key() {
    use base64::Engine;
    let standard = base64::engine::general_purpose::STANDARD;
    let pair = standard.decode(WHSK.strip_prefix("whsk_").unwrap()).unwrap();
    let text = |bytes: &[u8]| format!("whsk_{}", standard.encode(bytes));
    assert_eq!(secret(&text(&pair[..32])).to_text(), WHSK);
    let mut torn = pair.clone();
    torn[40] ^= 1;
    assert_eq!(SigningSecret::parse(&text(&torn)).unwrap_err(), SecretError::HalvesDiffer);
    assert_eq!(SigningSecret::parse(&text(&pair[..33])).unwrap_err(), SecretError::PrivateLength { bytes: 33 });
    for text in ["whpk_AAAA", "1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", "whpk_", ""] {
        assert_eq!(PublicKey::parse(text), Err(SecretError::NotAPublicKey), "{text}");
    }
}

#[test]
fn an_endpoint_switches_scheme_and_back() {
    // STDWH-31
    for (text, identifier) in [(WHSEC, "v1,"), (WHSK, "v1a,"), (WHSEC, "v1,")] {
        let header = sign(ID, NOW, BODY, &[secret(text)]);
        assert!(header.starts_with(identifier));
        assert_eq!(Received::signed(&header).verify(&[secret(text)]), Ok(()));
    }
}

#[test]
fn debug_output_shows_no_secret() {
    // STDWH-29
    for text in [WHSEC, WHSK] {
        let shown = format!(
            "{:?} {:?}",
            secret(text),
            match secret(text) {
                SigningSecret::Symmetric(inner) => format!("{inner:?}"),
                SigningSecret::Ed25519(inner) => format!("{inner:?}"),
            }
        );
        assert!(shown.contains("***"));
        assert!(!text.split('_').nth(1).unwrap().as_bytes().windows(6).any(|part| { shown.contains(std::str::from_utf8(part).unwrap()) }));
    }
}

#[test]
fn every_header_is_needed() {
    // STDWH-32
    for name in [HEADER_ID, HEADER_TIMESTAMP, HEADER_SIGNATURE] {
        assert_eq!(Received::new().without(name).check(), Err(VerifyError::MissingHeader { name }));
        assert_eq!(Received::new().with(name, "").check(), Err(VerifyError::MissingHeader { name }));
    }
    // STDWH-36
    let mut mixed = Received::new();
    for (name, _) in &mut mixed.headers {
        *name = name.replace("webhook", "WebHook");
    }
    assert_eq!(mixed.check(), Ok(()));
}

#[test]
fn the_timestamp_is_an_integer() {
    // STDWH-33
    for text in ["now", "1614265330.5", "+1614265330", " 1614265330", "0x10", "-", "99999999999999999999"] {
        assert_eq!(Received::new().with(HEADER_TIMESTAMP, text).check(), Err(VerifyError::BadTimestamp), "{text:?}");
    }
    // Milliseconds are a time far away.
    let milliseconds = Received::new().with(HEADER_TIMESTAMP, "1614265330000").check();
    assert!(matches!(milliseconds, Err(VerifyError::TooNew { .. })));
    let far = Received::new().with(HEADER_TIMESTAMP, &i64::MIN.to_string()).at(i64::MAX).check();
    assert_eq!(far, Err(VerifyError::TooOld { seconds: i64::MAX }));
}

#[test]
fn the_timestamp_is_near() {
    // STDWH-34
    assert_eq!(Received::new().at(NOW + 299).check(), Ok(()));
    assert_eq!(Received::new().at(NOW + 300).check(), Ok(()));
    assert_eq!(Received::new().at(NOW + 301).check(), Err(VerifyError::TooOld { seconds: 301 }));
    // STDWH-35
    assert_eq!(Received::new().at(NOW - 299).check(), Ok(()));
    assert_eq!(Received::new().at(NOW - 300).check(), Ok(()));
    assert_eq!(Received::new().at(NOW - 301).check(), Err(VerifyError::TooNew { seconds: 301 }));
}

#[test]
fn other_entries_do_not_stand_in_the_way() {
    // STDWH-37
    for before in ["v2,abc", "v1a,abc", "v1,abc", "v1", "", "v1,=", "nonsense"] {
        assert_eq!(Received::signed(&format!("{before} {SIGNED}")).check(), Ok(()), "{before:?}");
    }
    let unknown = SIGNED.replace("v1,", "v2,");
    assert_eq!(Received::signed(&unknown).check(), Err(VerifyError::NoMatch));
}

#[test]
fn a_signature_must_be_whole_and_standard() {
    // STDWH-38, STDWH-39
    for signature in [&SIGNED[..SIGNED.len() - 4], "v1,", SIGNED.trim_end_matches('='), &SIGNED.replace('+', "-")] {
        assert_eq!(Received::signed(signature).check(), Err(VerifyError::NoMatch), "{signature}");
    }
    let public = [PublicKey::parse(WHPK).unwrap()];
    for signature in [&SIGNED_ED25519[..40], "v1a,", SIGNED_ED25519.trim_end_matches('=')] {
        assert_eq!(Received::signed(signature).verify(&public), Err(VerifyError::NoMatch), "{signature}");
    }
}

#[test]
fn a_header_full_of_entries_is_read_to_a_bound() {
    let crowd = "v1,x ".repeat(31);
    assert_eq!(Received::signed(&format!("{crowd}{SIGNED}")).check(), Ok(()));
    assert_eq!(Received::signed(&format!("v1,x {crowd}{SIGNED}")).check(), Err(VerifyError::NoMatch));
}

#[test]
fn no_keys_accept_nothing() {
    assert_eq!(Received::new().verify::<SigningSecret>(&[]), Err(VerifyError::NoMatch));
    assert_eq!(sign(ID, NOW, BODY, &[]), "");
}

#[test]
fn a_repeated_id_is_recognised_for_five_minutes() {
    // STDWH-42
    let mut seen = SeenIds::new(100, SEEN_SECONDS);
    assert!(seen.insert("a", 1000));
    assert!(!seen.insert("a", 1000));
    assert!(!seen.insert("a", 1299));
    assert!(seen.insert("b", 1299));
    assert!(seen.insert("a", 1300));
    assert_eq!(seen.len(), 2);
}

#[test]
fn the_memory_of_ids_is_bounded() {
    let mut seen = SeenIds::new(2, SEEN_SECONDS);
    assert!(seen.is_empty());
    assert!(["a", "b", "c"].iter().all(|id| seen.insert(id, 0)));
    assert_eq!(seen.len(), 2);
    assert!(!seen.insert("c", 0) && !seen.insert("b", 0));
    assert!(seen.insert("a", 0));
}

#[test]
fn equality_in_constant_time_is_equality() {
    assert!(constant_time_eq(b"", b"") && constant_time_eq(b"ab", b"ab"));
    assert!(!constant_time_eq(b"ab", b"ac") && !constant_time_eq(b"ab", b"abc"));
}
