//! Form fields of a `multipart/form-data` body that is already in memory.

use bytes::Bytes;
use futures_util::FutureExt;
use multer::Multipart;

/// The body is no multipart document with the boundary of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a multipart/form-data document")]
pub struct NotMultipart;

/// The fields in the order they were sent. Files (parts with a file name) are not fields, as in PHP and Express.
/// Bytes that are not UTF-8 become U+FFFD.
///
/// # Errors
/// [`NotMultipart`], also when `content_type` names no boundary.
pub fn fields(content_type: &str, body: Bytes) -> Result<Vec<(String, String)>, NotMultipart> {
    let boundary = multer::parse_boundary(content_type).map_err(|_| NotMultipart)?;
    let stream = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let mut parts = Multipart::new(stream, boundary);
    let all = async {
        let mut fields = Vec::new();
        while let Some(part) = parts.next_field().await? {
            let Some(name) = part.name().map(str::to_owned) else { continue };
            if part.file_name().is_none() {
                fields.push((name, String::from_utf8_lossy(&part.bytes().await?).into_owned()));
            }
        }
        Ok::<_, multer::Error>(fields)
    };
    // The whole body is in memory, so the parser never has to wait: one poll finishes it.
    all.now_or_never().ok_or(NotMultipart)?.map_err(|_| NotMultipart)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(boundary: &str, body: &'static str) -> Result<Vec<(String, String)>, NotMultipart> {
        fields(&format!("multipart/form-data; boundary={boundary}"), Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn fields_come_in_order_and_files_are_left_out() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n1\r\n\
            --x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nfile\r\n\
            --x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nline 1\r\nline 2\r\n--x--\r\n";
        let expected = vec![("b".to_owned(), "1".to_owned()), ("a".to_owned(), "line 1\r\nline 2".to_owned())];
        assert_eq!(parse("x", body), Ok(expected));
    }

    #[test]
    fn broken_documents_are_errors() {
        assert_eq!(parse("x", "--y\r\n\r\n--y--"), Err(NotMultipart));
        assert_eq!(parse("x", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nnever ends"), Err(NotMultipart));
        assert_eq!(fields("multipart/form-data", Bytes::from_static(b"--x--")), Err(NotMultipart));
    }
}
