//! Request bodies under a cap: the one reader of the vendor surfaces.
//!
//! Invariants: never more than `limit` bytes of one body are in memory; a body whose declared length is over the limit is refused
//! before its first byte is asked for, so a client that sent `Expect: 100-continue` never sends it.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;

/// Most bytes that [`discard`] reads and drops.
const DISCARD_BYTES: usize = 2 << 20;
/// Longest time that [`discard`] spends.
const DISCARD_TIME: Duration = Duration::from_secs(3);

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Over the limit, by its declared length or by what came.
    #[error("the request body is too large")]
    TooLarge,
    /// Not complete within the time allowed.
    #[error("the request body did not arrive in time")]
    TimedOut,
    /// The connection ended or the framing was wrong.
    #[error("the request body is incomplete")]
    Broken,
}

/// Reads a whole body of at most `limit` bytes within `time`. A body that comes in one piece is not copied.
///
/// # Errors
/// See [`BodyError`]. After an error the rest of the body is still in `body`, for [`discard`].
pub async fn read(body: &mut Body, limit: usize, time: Duration) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge);
    }
    tokio::time::timeout(time, collect(body, limit)).await.unwrap_or(Err(BodyError::TimedOut))
}

async fn collect(body: &mut Body, limit: usize) -> Result<Bytes, BodyError> {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if first.len().max(joined.len()) + data.len() > limit {
            return Err(BodyError::TooLarge);
        }
        if first.is_empty() {
            first = data;
            continue;
        }
        if joined.is_empty() {
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

/// Reads and drops what is left of a refused body, within bounds of size and time.
///
/// A server that answers and closes while the client is still sending makes the client's system report a reset connection and
/// throw the answer away; many clients (Python's `requests` among them) then never show the 413. Not to be used when the client
/// waits for `100 Continue`, because reading would ask it to send.
pub async fn discard(body: &mut Body) {
    let drain = async {
        let mut dropped = 0;
        while let Some(Ok(frame)) = body.frame().await {
            dropped += frame.data_ref().map_or(0, Bytes::len);
            if dropped > DISCARD_BYTES {
                break;
            }
        }
    };
    // Running out of time is no error: the connection is then closed with bytes unread.
    drop(tokio::time::timeout(DISCARD_TIME, drain).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    const TIME: Duration = Duration::from_secs(30);

    fn chunks(parts: &'static [&'static str]) -> Body {
        Body::from_stream(stream::iter(parts.iter().map(|part| Ok::<_, std::io::Error>(Bytes::from_static(part.as_bytes())))))
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        assert_eq!(read(&mut chunks(&["ab", "", "cd", "e"]), 5, TIME).await, Ok(Bytes::from_static(b"abcde")));
        assert_eq!(read(&mut chunks(&["ab", "", "cd", "e"]), 4, TIME).await, Err(BodyError::TooLarge));
        assert_eq!(read(&mut Body::from("abcde"), 5, TIME).await, Ok(Bytes::from_static(b"abcde")));
        assert_eq!(read(&mut Body::empty(), 0, TIME).await, Ok(Bytes::new()));
    }

    // MSGGO-36: by its declared length, before a byte is asked for.
    #[tokio::test]
    async fn a_declared_length_over_the_limit_is_refused_unread() {
        let mut body = Body::from("abcde");
        assert_eq!(read(&mut body, 4, TIME).await, Err(BodyError::TooLarge));
        assert_eq!(body.size_hint().exact(), Some(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_times_out() {
        let mut body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read(&mut body, 10, TIME).await, Err(BodyError::TimedOut));
        discard(&mut body).await;
    }

    #[tokio::test]
    async fn a_broken_body_is_an_error() {
        let mut body = Body::from_stream(stream::iter([Ok(Bytes::from_static(b"a")), Err(std::io::Error::other("reset"))]));
        assert_eq!(read(&mut body, 10, TIME).await, Err(BodyError::Broken));
    }
}
