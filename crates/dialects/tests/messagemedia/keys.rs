//! Signature keys and signed calls: sections 4.6 and 7.1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste_domain::resource::Account;
use posthaste_engine::Edit;
use rsa::pkcs8::DecodePublicKey;
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha224, Sha256, Sha512};

use crate::rig::{KEYS, Received, Receiver, Rig, reply, report};

const ENABLED: &str = "/v1/iam/signature_keys/enabled";
const UNKNOWN: &str = "7ca628a8-08b0-4e42-aeb8-960b37049c31";

async fn new_key(rig: &Rig, digest: &str) -> Value {
    let (status, key) = rig.call("POST", KEYS, json!({ "digest": digest, "cipher": "RSA" })).await;
    assert_eq!(status, 201, "{key}");
    key
}

fn id(key: &Value) -> String {
    key["key_id"].as_str().unwrap().to_owned()
}

/// The key as it is shown after it was made.
fn without_public(mut key: Value) -> Value {
    key.as_object_mut().unwrap().remove("public_key");
    key
}

// MESSAGEMEDIA-101
#[tokio::test]
async fn without_the_feature_every_call_is_403() {
    let rig = Rig::start().await;
    let one = format!("{KEYS}/{UNKNOWN}");
    for (method, target) in
        [("POST", KEYS), ("GET", KEYS), ("GET", &one), ("DELETE", &one), ("PATCH", ENABLED), ("GET", ENABLED), ("DELETE", ENABLED)]
    {
        let answer = rig.call(method, target, Value::Null).await;
        assert_eq!(answer, (403, json!({ "message": "This feature has not been enabled in your account." })), "{method} {target}");
    }
    // An account may have what the server does not give to all.
    let account = Account { dialect: "messagemedia".to_owned(), settings: json!({ "signature_keys": true }), secret_settings: Vec::new() };
    rig.engine.edit(rig.workspace, |desk| Ok(vec![Edit::account(desk.new_id::<Account>(), account)])).await.unwrap();
    assert_eq!(rig.call("GET", KEYS, Value::Null).await, (200, json!([])));
    new_key(&rig, "SHA256").await;
    assert_eq!(rig.call("GET", KEYS, Value::Null).await.1.as_array().unwrap().len(), 1);
}

// MESSAGEMEDIA-102, MESSAGEMEDIA-103, MESSAGEMEDIA-104, MESSAGEMEDIA-105
#[tokio::test]
async fn keys_are_made_and_listed() {
    let rig = Rig::with_signature_keys().await;
    assert_eq!(rig.call("GET", KEYS, Value::Null).await, (200, json!([])));
    let mut all = Vec::new();
    for digest in ["SHA224", "SHA256", "SHA512"] {
        let key = new_key(&rig, digest).await;
        assert_eq!((&key["cipher"], &key["digest"], &key["enabled"]), (&json!("RSA"), &json!(digest), &json!(false)));
        assert_eq!(id(&key).len(), 36);
        let created = key["created"].as_str().unwrap();
        assert!(created.starts_with("2026-11-21T12:") && created.len() == 24 && created.ends_with('Z'), "{created}");
        RsaPublicKey::from_public_key_der(&STANDARD.decode(key["public_key"].as_str().unwrap()).unwrap()).unwrap();
        all.push(without_public(key));
    }
    assert_eq!(rig.call("GET", KEYS, Value::Null).await, (200, json!(all)));
    assert_eq!(rig.call("GET", &format!("{KEYS}/"), Value::Null).await, (200, json!(all)));
    assert_eq!(rig.call("GET", &format!("{KEYS}?page=2&page_size=2"), Value::Null).await, (200, json!(all[2..])));
    assert_eq!(rig.call("GET", &format!("{KEYS}/{}", id(&all[1])), Value::Null).await, (200, all[1].clone()));
    for (query, detail) in [
        ("page=0", "page property value is invalid"),
        ("page=x", "page property value is invalid"),
        ("page_size=0", "page_size property value is invalid"),
    ] {
        let answer = rig.call("GET", &format!("{KEYS}?{query}"), Value::Null).await;
        assert_eq!(answer, (400, json!({ "message": "Bad Request", "details": [detail] })), "{query}");
    }
}

// MESSAGEMEDIA-103
#[tokio::test]
async fn other_digests_and_ciphers_are_refused() {
    let rig = Rig::with_signature_keys().await;
    for (body, details) in [
        (json!({ "digest": "SHA224", "cipher": "RA" }), json!(["/cipher: [RA] is invalid"])),
        (json!({ "digest": "MD5", "cipher": "RSA" }), json!(["/digest: [MD5] is invalid"])),
        (json!({ "digest": "SHA1", "cipher": "DSA" }), json!(["/digest: [SHA1] is invalid", "/cipher: [DSA] is invalid"])),
        (json!({ "digest": null }), json!(["/digest: Digest cannot be null", "/cipher: Cipher cannot be null"])),
        (json!({ "digest": 7, "cipher": "RSA" }), json!(["/digest: [7] is invalid"])),
    ] {
        assert_eq!(rig.call("POST", KEYS, body.clone()).await, (400, json!({ "message": "Bad Request", "details": details })), "{body}");
    }
    assert_eq!(rig.call("POST", KEYS, json!([])).await.0, 400);
    assert_eq!(rig.call("GET", KEYS, Value::Null).await.1, json!([]));
}

// MESSAGEMEDIA-106, MESSAGEMEDIA-107, MESSAGEMEDIA-108, MESSAGEMEDIA-109, MESSAGEMEDIA-110, MESSAGEMEDIA-111
#[tokio::test]
async fn at_most_one_key_is_enabled() {
    let rig = Rig::with_signature_keys().await;
    let not_found = |text: &str| (404, json!({ "message": text }));
    let bad = |detail: &str| (400, json!({ "message": "Bad Request", "details": [detail] }));
    assert_eq!(rig.call("GET", ENABLED, Value::Null).await, not_found("Currently no key is enabled"));
    assert_eq!(rig.call("DELETE", ENABLED, Value::Null).await, (204, Value::Null));
    let (first, second) = (without_public(new_key(&rig, "SHA224").await), without_public(new_key(&rig, "SHA512").await));
    let enabled = |mut key: Value| {
        key["enabled"] = json!(true);
        key
    };
    for key in [&first, &second] {
        assert_eq!(rig.call("PATCH", ENABLED, json!({ "key_id": id(key) })).await, (200, enabled(key.clone())));
        assert_eq!(rig.call("GET", ENABLED, Value::Null).await, (200, enabled(key.clone())));
    }
    assert_eq!(rig.call("GET", KEYS, Value::Null).await.1, json!([first, enabled(second.clone())]));

    for body in [json!({}), json!({ "key_id": null }), Value::Null] {
        assert_eq!(rig.call("PATCH", ENABLED, body).await, bad("/key_id: Key id cannot be null"));
    }
    for unknown in [UNKNOWN, "x"] {
        assert_eq!(rig.call("PATCH", ENABLED, json!({ "key_id": unknown })).await, not_found("Entity not found"));
        assert_eq!(rig.call("DELETE", &format!("{KEYS}/{unknown}"), Value::Null).await, not_found("Entity not found"));
    }
    assert_eq!(rig.call("GET", &format!("{KEYS}/{UNKNOWN}"), Value::Null).await, not_found("Entity not found"));
    assert_eq!(rig.call("GET", &format!("{KEYS}/x"), Value::Null).await, bad("key_id property value is invalid"));
    assert_eq!(rig.call("GET", ENABLED, Value::Null).await.1["key_id"], second["key_id"], "a refused change changes nothing");

    assert_eq!(rig.call("DELETE", ENABLED, Value::Null).await, (204, Value::Null));
    assert_eq!(rig.call("GET", ENABLED, Value::Null).await, not_found("Currently no key is enabled"));
    let target = format!("{KEYS}/{}", id(&first));
    assert_eq!(rig.call("DELETE", &target, Value::Null).await, (200, Value::Null));
    assert_eq!(rig.call("DELETE", &target, Value::Null).await, not_found("Entity not found"));
    assert_eq!(rig.call("GET", KEYS, Value::Null).await.1, json!([second]));
}

/// The documented check: the signature is over the request line, the date and the body, one after the other.
fn verifies(request: &Received, public_key: &str, body: &[u8]) -> bool {
    let key = RsaPublicKey::from_public_key_der(&STANDARD.decode(public_key).unwrap()).unwrap();
    let line = format!("{} {} HTTP/1.1", request.method, request.uri.path_and_query().unwrap());
    let signed = [line.as_bytes(), request.header("date").as_bytes(), body].concat();
    let signature = STANDARD.decode(request.header("x-messagemedia-signature")).unwrap();
    let checked = match request.header("x-messagemedia-digest-type") {
        "SHA224" => key.verify(Pkcs1v15Sign::new::<Sha224>(), &Sha224::digest(&signed), &signature),
        "SHA256" => key.verify(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(&signed), &signature),
        "SHA512" => key.verify(Pkcs1v15Sign::new::<Sha512>(), &Sha512::digest(&signed), &signature),
        other => panic!("{other}"),
    };
    checked.is_ok()
}

const HEADERS: [&str; 4] =
    ["x-messagemedia-signature", "x-messagemedia-digest-type", "x-messagemedia-cipher-type", "x-messagemedia-key-id"];

// MESSAGEMEDIA-112, MESSAGEMEDIA-113, MESSAGEMEDIA-114
#[tokio::test]
async fn calls_are_signed_while_a_key_is_enabled() {
    let rig = Rig::with_signature_keys().await;
    let receiver = Receiver::answering(&[500]).await;
    let url = format!("{}/hook?to=$sourceAddress", receiver.url);
    rig.hook(&receiver, &["DELIVERED_DR"], json!({ "url": url, "template": "{\"id\":\"$mtId\"}", "retries": 1 })).await;
    let get = format!("{}/get?text=$moContent", receiver.url);
    rig.hook(&receiver, &["RECEIVED_SMS"], json!({ "url": get, "method": "GET" })).await;

    let mut count = 0;
    for (digest, sent) in [("SHA224", 2), ("SHA256", 1), ("SHA512", 1)] {
        let key = new_key(&rig, digest).await;
        let public = key["public_key"].as_str().unwrap();
        assert_eq!(rig.call("PATCH", ENABLED, json!({ "key_id": id(&key) })).await.0, 200);
        rig.publish("message.delivered", report()).await;
        if sent == 2 {
            // The retry is signed anew, with its own date.
            receiver.first().await;
            for _ in 0..100 {
                rig.pass(std::time::Duration::from_millis(100)).await;
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        count += sent;
        let received = receiver.take(count).await;
        for request in &received[count - sent..] {
            assert_eq!(request.header("x-messagemedia-cipher-type"), "RSA");
            assert_eq!(request.header("x-messagemedia-digest-type"), digest);
            assert_eq!(request.header("x-messagemedia-key-id"), id(&key));
            assert!(request.header("date").ends_with(" GMT"), "{request:?}");
            assert!(verifies(request, public, &request.body), "{request:?}");
            assert!(!verifies(request, public, b"{}"), "{request:?}");
        }
        if sent == 2 {
            assert_ne!(received[0].header("date"), received[1].header("date"));
        }
        rig.publish("message.received", reply()).await;
        count += 1;
        let received = receiver.take(count).await;
        assert_eq!(received[count - 1].method, "GET");
        assert!(verifies(&received[count - 1], public, b""));
    }

    for disable in [ENABLED.to_owned(), "feature".to_owned()] {
        if disable == "feature" {
            let key = new_key(&rig, "SHA256").await;
            assert_eq!(rig.call("PATCH", ENABLED, json!({ "key_id": id(&key) })).await.0, 200);
            let account = rig.engine.account(rig.workspace, "messagemedia").unwrap();
            let mut doc = account.doc.clone();
            doc.settings["signature_keys"] = json!(false);
            let account_id = account.id.clone();
            rig.engine.edit(rig.workspace, move |_| Ok(vec![Edit::account(account_id, doc)])).await.unwrap();
        } else {
            assert_eq!(rig.call("DELETE", &disable, Value::Null).await.0, 204);
        }
        rig.publish("message.delivered", report()).await;
        count += 1;
        let request = receiver.take(count).await.pop().unwrap();
        for header in HEADERS {
            assert!(!request.headers.contains_key(header), "{header}: {request:?}");
        }
    }
    rig.finish().await;
}

// The private key is sealed on disk and shown nowhere.
#[tokio::test]
async fn private_keys_stay_inside() {
    let rig = Rig::with_signature_keys().await;
    let key = new_key(&rig, "SHA256").await;
    let account = rig.engine.account(rig.workspace, "messagemedia").unwrap();
    assert_eq!(account.doc.secret_settings, ["/private_keys"]);
    assert!(account.doc.settings["private_keys"].as_str().unwrap().contains(&id(&key)));
    let rules = posthaste_dialects::accounts(&posthaste_dialects::DialectSettings::default());
    let rules = rules.get("messagemedia").unwrap();
    let shown = rules.show(&account.doc.settings);
    assert!(!shown.to_string().contains("private"), "{shown}");
    assert_eq!((&shown["keys"][0], &shown["vendor_id"]), (&without_public(key.clone()), &json!("MessageMedia")));
    // A change of other settings keeps the keys.
    let input = json!({ "signature_keys": true, "billing_units": true, "account_id": "DeveloperPortal7000" });
    let written = rules.write(input.as_object().unwrap().clone(), Some(&account.doc.settings), [0; 32]).unwrap();
    assert_eq!(written["private_keys"], account.doc.settings["private_keys"]);
    assert_eq!(rules.show(&written)["keys"][0]["key_id"], key["key_id"]);
    for bad in [json!({ "signature_keys": 1 }), json!({ "account_id": "" }), json!({ "unknown": true })] {
        assert!(rules.write(bad.as_object().unwrap().clone(), None, [0; 32]).is_err(), "{bad}");
    }
    let deleted = rig.call("DELETE", &format!("{KEYS}/{}", id(&key)), Value::Null).await;
    assert_eq!(deleted.0, 200);
    let account = rig.engine.account(rig.workspace, "messagemedia").unwrap();
    assert_eq!(account.doc.settings["private_keys"], "{}");
}

// What an account may choose shows in its calls.
#[tokio::test]
async fn accounts_choose_their_ids_and_billing_units() {
    let rig = Rig::start().await;
    let receiver = Receiver::start().await;
    let settings = json!({ "billing_units": true, "account_id": "DeveloperPortal7000", "vendor_id": "SinchEU" });
    let account = Account { dialect: "messagemedia".to_owned(), settings, secret_settings: Vec::new() };
    rig.engine.edit(rig.workspace, |desk| Ok(vec![Edit::account(desk.new_id::<Account>(), account)])).await.unwrap();
    rig.hook(&receiver, &["DELIVERED_DR"], json!({ "template": "$accountId $vendorId $billingUnits" })).await;
    rig.publish("message.delivered", report()).await;
    assert_eq!(receiver.first().await.text(), "DeveloperPortal7000 SinchEU 2");
    rig.finish().await;
}

#[tokio::test]
async fn an_account_has_a_bounded_number_of_keys() {
    let settings = posthaste_dialects::messagemedia::MessageMediaSettings {
        signature_keys: true,
        max_signature_keys: 1,
        ..posthaste_dialects::messagemedia::MessageMediaSettings::default()
    };
    let rig = Rig::with(settings).await;
    new_key(&rig, "SHA256").await;
    assert_eq!(rig.call("POST", KEYS, json!({ "digest": "SHA256", "cipher": "RSA" })).await.0, 400);
}
