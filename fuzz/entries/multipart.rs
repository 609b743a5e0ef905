//! Bytes as the body of a request to the Mailgun API: a byte for the content type, then the body.

use bytes::Bytes;
use posthaste_dialects::mailgun::params::{FILES, Params};

/// What is read is no more than was sent, and files are only under the names that hold files.
pub fn check(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let content_type = match kind % 4 {
        0 => Some("multipart/form-data; boundary=b"),
        1 => Some("multipart/form-data; boundary=\"b\"; charset=utf-8"),
        2 => Some("application/x-www-form-urlencoded"),
        _ => None,
    };
    let Ok(params) = Params::body(content_type, Bytes::copy_from_slice(body)) else { return };
    let held: usize = params.files().iter().map(|file| file.content.len()).sum();
    assert!(held <= body.len());
    assert!(params.files().iter().all(|file| FILES.contains(&file.name.as_str())));
    for (name, value) in params.fields() {
        assert!(params.has(name) && params.all(name).contains(&value));
    }
}
