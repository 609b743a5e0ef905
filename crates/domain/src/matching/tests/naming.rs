use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{EventNameError, check_event_name, default_rule, slug};

#[test]
fn names_have_3_to_255_characters() {
    // MSGGO-52
    assert_eq!(check_event_name("ab"), Err(EventNameError::TooShort { length: 2 }));
    assert_eq!(check_event_name(" ab "), Err(EventNameError::TooShort { length: 2 }));
    assert_eq!(check_event_name("abc"), Ok(()));
    assert_eq!(check_event_name(&"é".repeat(255)), Ok(()));
    assert_eq!(check_event_name(&"a".repeat(256)), Err(EventNameError::TooLong { length: 256 }));
}

#[test]
fn a_name_gives_the_default_rule() {
    // MSGGO-53
    assert_eq!(Value::from(default_rule("Daily Database Backup")), json!({"event_name": "daily-database-backup"}));
}

#[test]
fn a_name_without_any_letter_to_keep_stands_for_itself() {
    assert_eq!(slug("日次バックアップ"), "");
    assert_eq!(Value::from(default_rule(" 日次バックアップ ")), json!({"event_name": "日次バックアップ"}));
}

#[test]
fn slugs_keep_what_senders_write() {
    for (name, expected) in [
        ("deploy_done", "deploy_done"),
        ("  Order #42: paid!  ", "order-42-paid"),
        ("Orders - Paid", "orders-paid"),
        ("a--b", "a--b"),
        ("-x-", "x"),
        ("Größe überprüft", "grosse-uberpruft"),
        ("CAFÉ Cafe\u{301} ŒUVRE", "cafe-cafe-oeuvre"),
        ("İstanbul'da sipariş", "istanbul-da-siparis"),
        ("Đơn hàng mới", "don-hang-moi"),
        ("Новый заказ", "novyy-zakaz"),
        ("Объявление щенков", "obyavlenie-shchenkov"),
        ("Нова підтримка їжака", "nova-pidtrimka-yizhaka"),
        ("Νέα παραγγελία", "nea-paraggelia"),
        ("заказ 日本 ok", "zakaz-ok"),
        ("", ""),
        ("!!!", ""),
    ] {
        assert_eq!(slug(name), expected, "{name}");
    }
}

proptest! {
    #[test]
    fn a_slug_is_ascii_and_its_own_slug(name in "\\PC{0,40}") {
        let once = slug(&name);
        prop_assert!(once.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')));
        prop_assert!(!once.starts_with('-') && !once.ends_with('-'));
        prop_assert_eq!(slug(&once), once);
    }
}
