//! Bytes as a signing secret and a received webhook: the secret, `webhook-id`, `webhook-timestamp`, `webhook-signature`, and the body,
//! parted by 0xFF.

use posthaste_domain::signature::{
    HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, PublicKey, SigningSecret, TOLERANCE_SECONDS, sign, valid_id, verify,
};

/// The key that a stranger does not have.
const OURS: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NOW: i64 = 1_614_265_330;

/// No stranger's bytes pass for ours; what we sign verifies.
pub fn check(data: &[u8]) {
    let mut parts = data.splitn(5, |&byte| byte == 0xFF);
    let mut part = || parts.next().unwrap_or_default();
    let (secret, id, timestamp, signature, body) = (part(), part(), part(), part(), part());
    let text = std::str::from_utf8;
    let (Ok(secret), Ok(id), Ok(timestamp), Ok(signature)) = (text(secret), text(id), text(timestamp), text(signature)) else { return };
    let ours = [SigningSecret::parse(OURS).expect("a good secret")];
    let given = |name: &str| match name {
        HEADER_ID => Some(id),
        HEADER_TIMESTAMP => Some(timestamp),
        HEADER_SIGNATURE => Some(signature),
        _ => None,
    };
    assert!(verify(given, body, &ours, NOW, TOLERANCE_SECONDS).is_err(), "a forged signature passed");

    drop(PublicKey::parse(secret));
    let Ok(secret) = SigningSecret::parse(secret) else { return };
    let again = SigningSecret::parse(&secret.to_text()).expect("what was written can be read");
    assert_eq!(again.to_text(), secret.to_text());
    if !valid_id(id) {
        return;
    }
    let header = sign(id, NOW, body, &[secret.clone(), ours[0].clone()]);
    let now = NOW.to_string();
    let sent = |name: &str| match name {
        HEADER_ID => Some(id),
        HEADER_TIMESTAMP => Some(now.as_str()),
        HEADER_SIGNATURE => Some(header.as_str()),
        _ => None,
    };
    assert!(verify(sent, body, &[secret], NOW, TOLERANCE_SECONDS).is_ok());
    assert!(verify(sent, body, &ours, NOW, TOLERANCE_SECONDS).is_ok());
}
