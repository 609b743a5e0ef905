//! Bytes as what mail brings: a page with links, a text, addresses, a whole mail, and a token of a link, parted by 0xFF.

use posthaste_domain::message::address::{Mailbox, is_address, parse_list};
use posthaste_domain::message::rewrite::{add_picture, rewrite_html, rewrite_text};
use posthaste_domain::message::{MessageData, Ticket, mime};

const LINK: &str = "https://p.example/t/abc";

/// Pages keep everything but their links, addresses read back as they are shown, and nobody makes a token.
pub fn check(data: &[u8]) {
    let mut parts = data.splitn(5, |&byte| byte == 0xFF);
    let mut part = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (page, text, addresses, mail, token) = (part(), part(), part(), part(), part());
    let mut found = 0;
    let rewritten = rewrite_html(&page, |_| {
        found += 1;
        Some(LINK.to_owned())
    });
    assert_eq!(rewrite_html(&page, |_| None), page);
    let mut again = 0;
    rewrite_html(&rewritten, |url| {
        again += usize::from(url == LINK);
        None
    });
    assert!(again >= found, "a rewritten link is a link");
    let mut with_picture = page.clone();
    add_picture(&mut with_picture, LINK);
    assert!(with_picture.len() > page.len());
    assert_eq!(rewrite_text(&text, |_| None), text);
    if let Ok(list) = parse_list(&addresses) {
        assert!(list.iter().all(|one| is_address(&one.address)));
        assert_eq!(parse_list(&Mailbox::header(&list)).as_ref(), Ok(&list));
    }
    for (name, value) in mime::headers(mail.as_bytes()) {
        assert!(!name.contains('\n') && !value.contains('\n'));
    }
    drop(MessageData::parse(mail.as_bytes()));
    assert_eq!(Ticket::read(&token, &[3; 32]), None);
}
