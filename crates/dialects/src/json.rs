//! Small tools for JSON bodies, shared by the formats.

use http::HeaderValue;

/// `application/json`.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON array of documents, their bytes as they are, made with one allocation.
pub fn array<T: AsRef<[u8]>>(documents: &[T]) -> Vec<u8> {
    let size = documents.iter().map(|document| document.as_ref().len() + 1).sum::<usize>() + 2;
    let mut body = Vec::with_capacity(size);
    body.push(b'[');
    for (at, document) in documents.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.extend_from_slice(document.as_ref());
    }
    body.push(b']');
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_joined_verbatim() {
        assert_eq!(array::<&[u8]>(&[]), b"[]");
        assert_eq!(array(&["{ }", "1.0"]), b"[{ },1.0]");
    }
}
