//! Just enough HTTP/1.1 framing for both sides: a head ends with an empty line, a body has a `Content-Length`.

/// Largest head that is read.
const MAX_HEAD: usize = 16 << 10;

/// A message that cannot be framed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WireError {
    /// No end of the head in sight.
    #[error("a head of more than {MAX_HEAD} bytes")]
    LongHead,
    /// The length of the body is not a number.
    #[error("a Content-Length that is no number")]
    Length,
    /// The body has no length.
    #[error("a chunked body")]
    Chunked,
    /// The first line is not one of HTTP.
    #[error("a first line that is not HTTP")]
    FirstLine,
}

/// Where the parts of a message lie in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of the head, empty line included.
    pub head: usize,
    /// Bytes of the body.
    pub body: usize,
}

impl Frame {
    /// Reads the head at the beginning of `buffer`; `None` while it is incomplete.
    pub fn of(buffer: &[u8]) -> Result<Option<Self>, WireError> {
        let mut body = 0;
        let mut at = 0;
        while let Some(end) = buffer[at..].iter().position(|byte| *byte == b'\n') {
            let line = buffer[at..at + end].trim_ascii_end();
            at += end + 1;
            if line.is_empty() {
                return Ok(Some(Self { head: at, body }));
            }
            if let Some(value) = field(line, b"content-length:") {
                body = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(WireError::Length)?;
            } else if field(line, b"transfer-encoding:").is_some() {
                return Err(WireError::Chunked);
            }
        }
        if buffer.len() > MAX_HEAD { Err(WireError::LongHead) } else { Ok(None) }
    }

    /// Bytes of head and body.
    pub fn total(self) -> usize {
        self.head + self.body
    }
}

/// Value of a header line with this lower-case name and colon.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// Status of an answer's head.
pub fn status(head: &[u8]) -> Result<u16, WireError> {
    let digits = head.get(9..12).filter(|_| head.starts_with(b"HTTP/1."));
    digits.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|text| text.parse().ok()).ok_or(WireError::FirstLine)
}

/// Path of a request's head.
pub fn path(head: &[u8]) -> Result<&[u8], WireError> {
    head.split(|byte| *byte == b' ').nth(1).filter(|path| path.starts_with(b"/")).ok_or(WireError::FirstLine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_framed_by_its_length() {
        let text = b"POST /t/7 HTTP/1.1\r\nHost: a\r\nCONTENT-length: 5\r\n\r\nhelloPOST";
        let frame = Frame::of(text).expect("readable").expect("complete");
        assert_eq!((frame.body, &text[frame.head..frame.total()]), (5, &b"hello"[..]));
        assert_eq!(path(text), Ok(&b"/t/7"[..]));
        for cut in 0..frame.head {
            assert_eq!(Frame::of(&text[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(status(b"HTTP/1.1 202 Accepted\r\n\r\n"), Ok(202));
    }

    #[test]
    fn what_cannot_be_framed_is_refused() {
        assert_eq!(Frame::of(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(WireError::Chunked));
        assert_eq!(Frame::of(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), Err(WireError::Length));
        assert_eq!(Frame::of(&[b'x'; MAX_HEAD + 1]), Err(WireError::LongHead));
        assert_eq!((status(b"SSH-2.0-x"), path(b"GET")), (Err(WireError::FirstLine), Err(WireError::FirstLine)));
    }
}
