//! The form of a sending request, read as it arrives: files become base 64 piece by piece and are never held twice.

use std::io::Write;
use std::time::Duration;

use axum::body::Body;
use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderStringWriter;
use http_body::Body as _;
use http_body_util::BodyDataStream;
use multer::{Constraints, Multipart, SizeLimit};

use super::super::params::{FILES, MAX_PARAMS, ParamsError};
use crate::body::{self, BodyError};

/// Media type of files that name none.
const OCTETS: &str = "application/octet-stream";

/// A file that came with the form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SentFile {
    /// Name of the parameter: one of [`FILES`].
    pub(super) name: String,
    /// Name of the file, without a path.
    pub(super) filename: String,
    /// Media type.
    pub(super) content_type: String,
    /// Its bytes in base 64.
    pub(super) base64: String,
}

/// A sending request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SendForm {
    /// Fields in their order.
    pub(super) fields: Vec<(String, String)>,
    /// Files in their order.
    pub(super) files: Vec<SentFile>,
    /// Bytes of the values and files.
    pub(super) bytes: usize,
}

/// Why a form could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormError {
    /// The body did not arrive as it should.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body is not what its type says, or has too many parameters.
    #[error(transparent)]
    Params(#[from] ParamsError),
}

impl SendForm {
    /// Reads a body of at most `limit` bytes within `time`.
    pub(super) async fn read(content_type: Option<&str>, body: &mut Body, limit: usize, time: Duration) -> Result<Self, FormError> {
        if body.size_hint().lower() > limit as u64 {
            return Err(BodyError::TooLarge.into());
        }
        let content_type = content_type.unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("multipart/form-data") {
            let boundary = multer::parse_boundary(content_type).map_err(|_| ParamsError::NotAForm)?;
            return tokio::time::timeout(time, multipart(boundary, body, limit)).await.unwrap_or(Err(BodyError::TimedOut.into()));
        }
        let bytes = body::read(body, limit, time).await?;
        let mut form = Self::default();
        for (count, (name, value)) in form_urlencoded::parse(&bytes).enumerate() {
            if count == MAX_PARAMS {
                return Err(ParamsError::TooMany.into());
            }
            form.field(&name, value.into_owned());
        }
        Ok(form)
    }

    fn field(&mut self, name: &str, value: String) {
        self.bytes += value.len();
        self.fields.push((plain(name).to_owned(), value));
    }

    /// The first value of a name that is not blank.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, value)| field == name && !value.trim().is_empty()).map(|(_, value)| value.as_str())
    }

    /// All values of a name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// Takes the files of a name out of the form.
    pub(super) fn take_files(&mut self, name: &str) -> Vec<SentFile> {
        let (taken, left) = std::mem::take(&mut self.files).into_iter().partition(|file| file.name == name);
        self.files = left;
        taken
    }
}

fn plain(name: &str) -> &str {
    name.strip_suffix("[]").unwrap_or(name)
}

async fn multipart(boundary: String, body: &mut Body, limit: usize) -> Result<SendForm, FormError> {
    let limits = Constraints::new().size_limit(SizeLimit::new().whole_stream(limit as u64));
    let mut parts = Multipart::with_constraints(BodyDataStream::new(body), boundary, limits);
    let mut form = SendForm::default();
    let mut count = 0;
    while let Some(mut part) = parts.next_field().await.map_err(|error| refuse(&error))? {
        count += 1;
        if count > MAX_PARAMS {
            return Err(ParamsError::TooMany.into());
        }
        let Some(name) = part.name().map(|name| plain(name).to_owned()) else { continue };
        let filename = part.file_name().map(|name| name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned());
        let Some(filename) = filename.filter(|_| FILES.contains(&name.as_str())) else {
            let value = part.bytes().await.map_err(|error| refuse(&error))?;
            form.field(&name, String::from_utf8_lossy(&value).into_owned());
            continue;
        };
        let content_type = part.content_type().map_or_else(|| OCTETS.to_owned(), ToString::to_string);
        let mut encoder = EncoderStringWriter::new(&STANDARD);
        while let Some(piece) = part.chunk().await.map_err(|error| refuse(&error))? {
            form.bytes += piece.len();
            encoder.write_all(&piece).expect("writing to a string does not fail");
        }
        form.files.push(SentFile { name, filename, content_type, base64: encoder.into_inner() });
    }
    Ok(form)
}

fn refuse(error: &multer::Error) -> FormError {
    match error {
        multer::Error::StreamSizeExceeded { .. } => BodyError::TooLarge.into(),
        multer::Error::StreamReadFailed(_) => BodyError::Broken.into(),
        _ => ParamsError::NotAForm.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(5);

    async fn read(content_type: &str, body: &str, limit: usize) -> Result<SendForm, FormError> {
        // In pieces, as a network brings it.
        let pieces: Vec<_> = body.as_bytes().chunks(7).map(|piece| Ok::<_, std::io::Error>(bytes::Bytes::copy_from_slice(piece))).collect();
        let mut body = Body::from_stream(futures_util::stream::iter(pieces));
        SendForm::read(Some(content_type), &mut body, limit, TIME).await
    }

    // MAILGUN-175
    #[tokio::test]
    async fn both_encodings_give_the_same_fields() {
        let encoded = read("application/x-www-form-urlencoded", "to%5B%5D=a%40b&to[]=c%40d&text=x+y", 1000).await.expect("a form");
        let part = |name: &str, value: &str| format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        let body = [part("to[]", "a@b"), part("to", "c@d"), part("text", "x y"), "--x--\r\n".to_owned()].concat();
        assert_eq!(read("multipart/form-data; boundary=x", &body, 1000).await.expect("a form"), encoded);
        assert_eq!(encoded.all("to").collect::<Vec<_>>(), ["a@b", "c@d"]);
        assert_eq!(encoded.bytes, 9);
    }

    #[tokio::test]
    async fn files_are_encoded_as_they_come() {
        let content = "0123456789".repeat(20);
        let body = format!(
            "--x\r\nContent-Disposition: form-data; name=\"attachment\"; filename=\"C:\\\\a\\b.txt\"\r\nContent-Type: text/plain\r\n\r\n{content}\r\n\
             --x\r\nContent-Disposition: form-data; name=\"subject\"; filename=\"s\"\r\n\r\nhi\r\n--x--\r\n"
        );
        let mut form = read("multipart/form-data; boundary=x", &body, 10_000).await.expect("a form");
        let files = form.take_files("attachment");
        use base64::Engine as _;
        assert_eq!((files[0].filename.as_str(), files[0].content_type.as_str()), ("b.txt", "text/plain"));
        assert_eq!(STANDARD.decode(&files[0].base64).expect("base 64"), content.as_bytes());
        assert_eq!((form.text("subject"), form.files.len(), form.bytes), (Some("hi"), 0, 202));
    }

    #[tokio::test]
    async fn ten_thousand_parameters_are_enough() {
        let part = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n";
        for (content_type, one, end) in
            [("application/x-www-form-urlencoded", "a=b&", ""), ("multipart/form-data; boundary=x", part, "--x--\r\n")]
        {
            let read = async |count: usize| {
                let mut body = Body::from(one.repeat(count) + end);
                SendForm::read(Some(content_type), &mut body, 10 << 20, TIME).await
            };
            assert_eq!(read(MAX_PARAMS).await.expect("a form").fields.len(), MAX_PARAMS, "{content_type}");
            let refused = read(MAX_PARAMS + 1).await;
            assert!(matches!(refused, Err(FormError::Params(ParamsError::TooMany))), "{content_type}");
        }
    }

    // MAILGUN-172
    #[tokio::test]
    async fn what_is_too_large_is_refused_on_the_way() {
        let file =
            format!("--x\r\nContent-Disposition: form-data; name=\"attachment\"; filename=\"a\"\r\n\r\n{}\r\n--x--\r\n", "a".repeat(500));
        for (content_type, body) in [("multipart/form-data; boundary=x", file), ("application/x-www-form-urlencoded", "a".repeat(500))] {
            assert!(matches!(read(content_type, &body, 400).await, Err(FormError::Body(BodyError::TooLarge))), "{content_type}");
        }
        assert!(matches!(read("multipart/form-data; boundary=y", "--x", 400).await, Err(FormError::Params(ParamsError::NotAForm))));
        assert!(matches!(read("multipart/form-data", "--x", 400).await, Err(FormError::Params(ParamsError::NotAForm))));
    }
}
