//! HTTP/1.1 as bytes (RFC 9112): heads of requests and answers, and where the body of an answer ends. Pure: no reading, no writing.
//!
//! Invariants:
//! - However the bytes of an answer are cut into pieces, what is read out of them is the same.
//! - An answer whose length is not beyond doubt (two lengths that differ, a coding besides a length) never leads to another use of its
//!   connection: what may still be coming must not be taken for the next answer. (What a receiver sends uncalled after a whole answer, and
//!   late, can be: HTTP/1.1 gives no way to tell.)
//! - Framing belongs to this module: headers of a caller that speak of it are left out.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};

/// Headers of an answer at most.
const MAX_HEADERS: usize = 100;
/// Bytes of chunk extensions and trailers, which say nothing here, at most.
const MAX_CHATTER: usize = 16 * 1024;

/// The head of an answer, as far as it is kept.
#[derive(Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Status line and headers, one a line.
    pub(crate) text: Arc<str>,
    /// `Retry-After` as sent.
    pub(crate) retry_after: Option<String>,
}

/// Bytes that are no HTTP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Of the head.
    #[error("too many headers")]
    TooLarge,
    /// Anything else.
    #[error("{0}")]
    Syntax(&'static str),
}

/// What the bytes so far hold.
#[derive(Debug, PartialEq)]
pub(crate) enum Parsed {
    /// The beginning of a head.
    Partial,
    /// An interim answer (`1xx`) of this many bytes, after which the real one comes.
    Interim(usize),
    /// A head.
    Head {
        /// Its bytes.
        length: usize,
        head: Head,
        body: Framing,
        /// Whether the connection may be used again once the body has been read.
        keeps: bool,
    },
}

/// Reads the head of an answer.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut answer, bytes, &mut headers) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::TooLarge),
        Err(error) => return Err(Malformed::Syntax(reason(error))),
    };
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed::Syntax("invalid status"))?;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Parsed::Interim(length));
    }
    let mut notes = Notes::default();
    for header in answer.headers.iter() {
        notes.take(header)?;
    }
    let (body, is_plain) = notes.framing(status);
    // HTTP/1.0 knows no codings: whoever says so is not to be trusted with the next request.
    let is_plain = is_plain && !(answer.version == Some(0) && notes.coding.is_some());
    let head = Head {
        status: status.as_u16(),
        text: text("HTTP/1.1 ", status, answer.headers.iter().map(|header| (header.name, header.value))),
        retry_after: notes.retry_after,
    };
    // Without a word, HTTP/1.0 closes.
    let is_open = !notes.says_close && (notes.says_keep || answer.version != Some(0));
    let keeps = is_plain && is_open && status != StatusCode::SWITCHING_PROTOCOLS && body != Framing::UntilClosed;
    Ok(Parsed::Head { length, head, body, keeps })
}

fn reason(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "invalid header name",
        httparse::Error::HeaderValue => "invalid header value",
        httparse::Error::NewLine => "invalid line end",
        httparse::Error::Status => "invalid status",
        httparse::Error::Version => "invalid HTTP version",
        _ => "invalid head",
    }
}

/// What the headers say about the connection and the body.
#[derive(Default)]
struct Notes {
    length: Option<u64>,
    /// Whether there is a `transfer-encoding`, and whether `chunked` is its last.
    coding: Option<bool>,
    says_close: bool,
    says_keep: bool,
    retry_after: Option<String>,
}

impl Notes {
    fn take(&mut self, header: &httparse::Header<'_>) -> Result<(), Malformed> {
        let is = |name: HeaderName| header.name.eq_ignore_ascii_case(name.as_str());
        // By length first: most headers are none of these.
        match header.name.len() {
            14 if is(header::CONTENT_LENGTH) => {
                for part in header.value.split(|byte| *byte == b',') {
                    let length = number(part.trim_ascii()).ok_or(Malformed::Syntax("invalid content-length"))?;
                    if self.length.is_some_and(|before| before != length) {
                        return Err(Malformed::Syntax("two values of content-length"));
                    }
                    self.length = Some(length);
                }
            }
            17 if is(header::TRANSFER_ENCODING) => {
                let last = header.value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
                self.coding = Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
            }
            10 if is(header::CONNECTION) => {
                for token in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    // `close` counts, whatever else is said, and wherever.
                    self.says_close |= token.eq_ignore_ascii_case(b"close");
                    self.says_keep |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            11 if is(header::RETRY_AFTER) && self.retry_after.is_none() => {
                self.retry_after = std::str::from_utf8(header.value).ok().map(|text| text.trim().to_owned());
            }
            _ => {}
        }
        Ok(())
    }

    /// Where the body ends, and whether that is beyond doubt (RFC 9112 section 6.3).
    fn framing(&self, status: StatusCode) -> (Framing, bool) {
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS) {
            // A body that is announced all the same may come: it must not be taken for the next answer.
            return (Framing::Sized(0), self.coding.is_none() && self.length.unwrap_or(0) == 0);
        }
        match (self.coding, self.length) {
            (Some(true), length) => (Framing::Chunked(Chunked::default()), length.is_none()),
            (Some(false), _) | (None, None) => (Framing::UntilClosed, false),
            (None, Some(length)) => (Framing::Sized(length), true),
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// What is left of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes.
    Sized(u64),
    /// Chunks.
    Chunked(Chunked),
    /// All until the connection is closed.
    UntilClosed,
}

impl Framing {
    /// Whether nothing is left.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Sized(left) => *left == 0,
            Self::Chunked(chunked) => chunked.state == State::Over,
            Self::UntilClosed => false,
        }
    }

    /// Bytes of content that are still to come, as far as was announced.
    pub(crate) fn announced(&self) -> u64 {
        match self {
            Self::Sized(left) => *left,
            Self::Chunked(Chunked { state: State::Data(left), .. }) => *left,
            Self::Chunked(_) | Self::UntilClosed => 0,
        }
    }

    /// Takes what comes next out of `bytes`, which must not be empty: how many of them are used up, and the last how many of these are
    /// content.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(usize, usize), Malformed> {
        match self {
            Self::Sized(left) => {
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                Ok((taken, taken))
            }
            Self::Chunked(chunked) => chunked.take(bytes),
            Self::UntilClosed => Ok((bytes.len(), bytes.len())),
        }
    }
}

/// Where one is in a chunked body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes of extensions and trailers so far.
    chatter: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a size, so many digits of which were read.
    Size {
        size: u64,
        digits: u8,
    },
    /// After a size and its spaces.
    Extension {
        size: u64,
    },
    /// Before the end of a size's line.
    SizeLf {
        size: u64,
    },
    /// Before so many bytes of content.
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of a trailer's line, or of the empty line at the end.
    Trailers,
    Trailer,
    TrailerLf,
    LastLf,
    Over,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunked {
    fn take(&mut self, bytes: &[u8]) -> Result<(usize, usize), Malformed> {
        const BAD: Malformed = Malformed::Syntax("invalid chunk");
        for (place, byte) in bytes.iter().enumerate() {
            self.state = match (self.state, byte) {
                (State::Over, _) => return Ok((place, 0)),
                (State::Data(left), _) => {
                    let taken = (bytes.len() - place).min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.state = if taken as u64 == left { State::DataCr } else { State::Data(left - taken as u64) };
                    return Ok((place + taken, taken));
                }
                (State::Size { size, digits }, byte) if byte.is_ascii_hexdigit() => {
                    // Sixteen digits are all that fit.
                    if digits == 16 {
                        return Err(BAD);
                    }
                    let digit = char::from(*byte).to_digit(16).ok_or(BAD)?;
                    State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
                }
                (State::Size { digits: 0, .. }, _) => return Err(BAD),
                (State::Size { size, .. } | State::Extension { size }, b'\r') => State::SizeLf { size },
                (State::Size { size, .. }, b' ' | b'\t' | b';') => State::Extension { size },
                (State::Extension { size }, byte) if *byte != b'\n' => {
                    self.chatter += 1;
                    State::Extension { size }
                }
                (State::SizeLf { size: 0 }, b'\n') => State::Trailers,
                (State::SizeLf { size }, b'\n') => State::Data(size),
                (State::DataCr, b'\r') => State::DataLf,
                (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
                (State::Trailers, b'\r') => State::LastLf,
                (State::Trailer, b'\r') => State::TrailerLf,
                (State::Trailers | State::Trailer, byte) if *byte != b'\n' => {
                    self.chatter += 1;
                    State::Trailer
                }
                (State::TrailerLf, b'\n') => State::Trailers,
                (State::LastLf, b'\n') => {
                    self.state = State::Over;
                    return Ok((place + 1, 0));
                }
                _ => return Err(BAD),
            };
            if self.chatter > MAX_CHATTER {
                return Err(Malformed::Syntax("too many trailers"));
            }
        }
        Ok((bytes.len(), 0))
    }
}

/// One request, without where it goes.
#[derive(Clone, Copy)]
pub(crate) struct Draft<'a> {
    pub(crate) method: &'a Method,
    /// Headers that are the same each time.
    pub(crate) settled: &'a [(HeaderName, HeaderValue)],
    /// Headers of this request alone; each takes the place of a settled one of its name.
    pub(crate) own: &'a [(HeaderName, HeaderValue)],
    pub(crate) body: &'a bytes::Bytes,
    /// Whether the receiver can tell that it has seen it before: by the `webhook-id` of a delivery.
    pub(crate) is_repeatable: bool,
}

impl<'a> Draft<'a> {
    /// The headers as they are sent, `host` and the length left out.
    pub(crate) fn headers(self) -> impl Iterator<Item = &'a (HeaderName, HeaderValue)> {
        let Self { settled, own, .. } = self;
        let is_own = move |name: &HeaderName| own.iter().any(|(own, _)| own == name);
        let is_last = move |place: usize| own[place + 1..].iter().all(|(later, _)| *later != own[place].0);
        let settled = settled.iter().filter(move |(name, _)| !is_own(name));
        let own = own.iter().enumerate().filter(move |(place, _)| is_last(*place)).map(|(_, header)| header);
        settled.chain(own).filter(|(name, _)| ![header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST].contains(name))
    }

    /// Whether the length of the body is told: an empty one of methods that never have any is not.
    pub(crate) fn tells_length(self) -> bool {
        !self.body.is_empty() || [Method::POST, Method::PUT, Method::PATCH].contains(self.method)
    }

    /// Appends the head; `line` is what follows the method, up to the end of the `host` line.
    pub(crate) fn write_head(self, line: &[u8], to: &mut Vec<u8>) {
        to.extend_from_slice(self.method.as_str().as_bytes());
        to.extend_from_slice(line);
        for (name, value) in self.headers() {
            to.extend_from_slice(name.as_str().as_bytes());
            to.extend_from_slice(b": ");
            to.extend_from_slice(value.as_bytes());
            to.extend_from_slice(b"\r\n");
        }
        if self.tells_length() {
            to.extend_from_slice(b"content-length: ");
            push_number(self.body.len(), to);
            to.extend_from_slice(b"\r\n");
        }
        to.extend_from_slice(b"\r\n");
    }
}

fn push_number(mut number: usize, to: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    to.extend_from_slice(&digits[first..]);
}

thread_local! {
    /// Where heads are put together: one exact allocation for each remains.
    static SCRATCH: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Status line and headers (names and values), one a line, names in lower case.
pub(crate) fn text<'a>(version: &str, status: StatusCode, headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Arc<str> {
    SCRATCH.with_borrow_mut(|text| {
        text.clear();
        text.push_str(version);
        text.push_str(status.as_str());
        if let Some(reason) = status.canonical_reason() {
            text.push(' ');
            text.push_str(reason);
        }
        for (name, value) in headers {
            text.push('\n');
            let start = text.len();
            text.push_str(name);
            text[start..].make_ascii_lowercase();
            text.push_str(": ");
            match std::str::from_utf8(value) {
                Ok(value) => text.push_str(value),
                Err(_) => text.push_str(&String::from_utf8_lossy(value)),
            }
        }
        Arc::from(text.as_str())
    })
}
