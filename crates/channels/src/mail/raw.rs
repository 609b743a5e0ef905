//! Mails that their sender wrote as a whole (`messages.mime`): sent as they are, but for what must not leave or must be there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::SendError;
use crate::failure::Code;

/// Decodes the mail, ends its lines by CRLF, removes `Bcc` and adds a `Message-ID` if it has none.
pub(super) fn prepare(mime: &str, id: &str) -> Result<Vec<u8>, SendError> {
    let written = STANDARD.decode(mime).map_err(|_| Code::ContentUnsupported.error("the stored mail is damaged"))?;
    let written = with_crlf(&written);
    let (head, body) = split(&written);
    let mut mail = Vec::with_capacity(written.len() + id.len() + 32);
    let mut has_id = false;
    for field in fields(head) {
        if !is_named(field, "bcc") && !is_named(field, "resent-bcc") {
            has_id |= is_named(field, "message-id");
            mail.extend_from_slice(field);
            if !field.ends_with(b"\r\n") {
                mail.extend_from_slice(b"\r\n");
            }
        }
    }
    if !has_id {
        mail.splice(..0, format!("Message-ID: <{id}>\r\n").into_bytes());
    }
    mail.extend_from_slice(b"\r\n");
    mail.extend_from_slice(body);
    Ok(mail)
}

/// Every line end becomes CRLF.
fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32);
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                out.extend_from_slice(b"\r\n");
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            byte => out.push(byte),
        }
    }
    out
}

/// Head, line ends included, and body of a mail whose lines end by CRLF.
pub(super) fn split(mail: &[u8]) -> (&[u8], &[u8]) {
    if let Some(body) = mail.strip_prefix(b"\r\n") {
        return (&[], body);
    }
    match mail.windows(4).position(|window| window == b"\r\n\r\n") {
        Some(at) => (&mail[..at + 2], &mail[at + 4..]),
        None => (mail, &[]),
    }
}

/// The header fields of a head, each with its continuation lines and line ends.
pub(super) fn fields(head: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < head.len() {
        let end = head[at..].windows(2).position(|window| window == b"\r\n").map_or(head.len(), |found| at + found + 2);
        if !matches!(head.get(end), Some(b' ' | b'\t')) {
            fields.push(&head[start..end]);
            start = end;
        }
        at = end;
    }
    if start < head.len() {
        fields.push(&head[start..]);
    }
    fields
}

/// Whether a header field has this name.
fn is_named(field: &[u8], name: &str) -> bool {
    name_of(field).eq_ignore_ascii_case(name.as_bytes())
}

/// The name of a header field.
pub(super) fn name_of(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == b':').unwrap_or(0);
    field[..end].trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(mail: &str) -> String {
        String::from_utf8(prepare(&STANDARD.encode(mail), "1@d.example").expect("a mail")).expect("text")
    }

    #[test]
    fn what_is_whole_stays_whole() {
        let mail = "From: a@b\r\nSubject: two\r\n lines\r\nMessage-Id: <own@b>\r\nX: y\r\n\r\nbody\r\n\r\n.\r\nBcc: text\r\n";
        assert_eq!(prepared(mail), mail);
    }

    #[test]
    fn blind_copies_and_missing_ids_are_seen_to() {
        let mail = "BCC: a@b,\n c@d\nFrom: a@b\nbcc : x\nResent-Bcc: y\n\nbody\r";
        assert_eq!(prepared(mail), "Message-ID: <1@d.example>\r\nFrom: a@b\r\n\r\nbody\r\n");
        assert_eq!(prepared("\nbody"), "Message-ID: <1@d.example>\r\n\r\nbody");
        assert_eq!(prepared("From: a@b"), "Message-ID: <1@d.example>\r\nFrom: a@b\r\n\r\n");
    }
}
