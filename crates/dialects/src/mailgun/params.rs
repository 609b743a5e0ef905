//! Parameters of a request: `multipart/form-data` and `application/x-www-form-urlencoded` bodies, and queries.
//!
//! Pure: bytes in, fields out. Invariants:
//! - repeated names form lists in their order;
//! - one trailing `[]` of a name does not count (`to[]` is `to`);
//! - a part with a file name is a file only under one of [`FILES`], elsewhere it is a field like any other;
//! - no input makes it panic, and nothing is held but what the body held;
//! - nobody reads more than [`MAX_PARAMS`] of them.

use bytes::Bytes;
use futures_util::FutureExt;
use multer::Multipart;

/// Names under which parts with a file name are files.
pub const FILES: [&str; 3] = ["attachment", "inline", "message"];

/// Parameters of one request at most, files included.
pub const MAX_PARAMS: usize = 10_000;

/// Why a body gives no parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// The body is no document of its type.
    #[error("the request body is not a form")]
    NotAForm,
    /// There are more than [`MAX_PARAMS`].
    #[error("Too many parameters")]
    TooMany,
}

/// A part of a multipart body that is a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Name of the parameter: one of [`FILES`].
    pub name: String,
    /// Name of the file, as sent.
    pub filename: String,
    /// Media type, as sent.
    pub content_type: Option<String>,
    /// Its bytes.
    pub content: Bytes,
}

/// The parameters of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    fields: Vec<(String, String)>,
    files: Vec<File>,
}

impl Params {
    /// Reads a query. Its length is bounded by what reads requests; what follows [`MAX_PARAMS`] is passed over.
    pub fn query(query: Option<&str>) -> Self {
        Self { fields: pairs(query.unwrap_or_default().as_bytes()).take(MAX_PARAMS).collect(), files: Vec::new() }
    }

    /// Reads a body by its type; one without a type or of another type is read as url-encoded.
    ///
    /// # Errors
    /// When a multipart body does not hold what its type says, or there are too many parameters.
    pub fn body(content_type: Option<&str>, body: Bytes) -> Result<Self, ParamsError> {
        let full_type = content_type.unwrap_or_default();
        let essence = full_type.split(';').next().unwrap_or_default().trim();
        // Some clients name the type on requests without a body.
        if essence.eq_ignore_ascii_case("multipart/form-data") && !body.is_empty() {
            return Self::multipart(full_type, body);
        }
        let fields: Vec<_> = pairs(&body).take(MAX_PARAMS + 1).collect();
        if fields.len() > MAX_PARAMS {
            return Err(ParamsError::TooMany);
        }
        Ok(Self { fields, files: Vec::new() })
    }

    fn multipart(content_type: &str, body: Bytes) -> Result<Self, ParamsError> {
        let boundary = multer::parse_boundary(content_type).map_err(|_| ParamsError::NotAForm)?;
        let stream = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(body)]);
        let mut parts = Multipart::new(stream, boundary);
        let all = async {
            let mut params = Self::default();
            let mut count = 0;
            while let Some(part) = parts.next_field().await.map_err(|_| ParamsError::NotAForm)? {
                count += 1;
                if count > MAX_PARAMS {
                    return Err(ParamsError::TooMany);
                }
                let Some(name) = part.name().map(|name| plain_name(name).to_owned()) else { continue };
                let filename = part.file_name().map(str::to_owned).filter(|_| FILES.contains(&name.as_str()));
                let content_type = part.content_type().map(ToString::to_string);
                let content = part.bytes().await.map_err(|_| ParamsError::NotAForm)?;
                match filename {
                    Some(filename) => params.files.push(File { name, filename, content_type, content }),
                    None => params.fields.push((name, String::from_utf8_lossy(&content).into_owned())),
                }
            }
            Ok(params)
        };
        // The whole body is in memory, so the parser never has to wait: one poll finishes it.
        all.now_or_never().ok_or(ParamsError::NotAForm)?
    }

    /// The first value of a name.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// All values of a name, in their order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether a field of this name was sent, if only an empty one.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| field == name)
    }

    /// All fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All files in their order.
    pub fn files(&self) -> &[File] {
        &self.files
    }
}

/// `yes`, `no`, `true` and `false` in any case; the Python client sends `True`.
pub fn truth(text: &str) -> Option<bool> {
    let is = |words: [&str; 2]| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
    match () {
        () if is(["yes", "true"]) => Some(true),
        () if is(["no", "false"]) => Some(false),
        () => None,
    }
}

fn pairs(text: &[u8]) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(text).map(|(name, value)| (plain_name(&name).to_owned(), value.into_owned()))
}

fn plain_name(name: &str) -> &str {
    name.strip_suffix("[]").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::ParamsError::{NotAForm, TooMany};
    use super::*;

    fn multipart(body: impl Into<Bytes>) -> Result<Params, ParamsError> {
        Params::body(Some("multipart/form-data; boundary=x"), body.into())
    }

    // MAILGUN-7
    #[test]
    fn repeated_names_form_lists() {
        let body = Bytes::from_static(b"id=clicked&url=http%3A%2F%2Fa%2F&url[]=b+c&url%5B%5D=d%20e");
        let params = Params::body(Some("application/x-www-form-urlencoded; charset=utf-8"), body).expect("a form");
        assert_eq!(params.all("url"), ["http://a/", "b c", "d e"]);
        assert_eq!((params.first("id"), params.first("none"), params.has("id")), (Some("clicked"), None, true));
        assert_eq!(Params::query(Some("limit=1&limit=2")).all("limit"), ["1", "2"]);
        assert_eq!(Params::query(None), Params::default());
    }

    // MAILGUN-6
    #[test]
    fn parts_are_fields_unless_they_are_files_by_name() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"to[]\"\r\n\r\na@b\r\n\
            --x\r\nContent-Disposition: form-data; name=\"url\"; filename=\"u\"\r\n\r\nhttp://a/\r\n\
            --x\r\nContent-Disposition: form-data; name=\"attachment\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nfile\r\n\
            --x\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\nFrom: a\r\n--x--\r\n";
        let params = multipart(body).expect("a form");
        assert_eq!(params.fields().collect::<Vec<_>>(), [("to", "a@b"), ("url", "http://a/"), ("message", "From: a")]);
        let [file] = params.files() else { panic!("{params:?}") };
        assert_eq!((file.name.as_str(), file.filename.as_str(), file.content_type.as_deref()), ("attachment", "a.txt", Some("text/plain")));
        assert_eq!(file.content, "file");
    }

    // MAILGUN-8, MAILGUN-9
    #[test]
    fn a_named_type_without_a_body_is_no_error() {
        for content_type in [None, Some("multipart/form-data; boundary=x"), Some("multipart/form-data"), Some("text/plain")] {
            assert_eq!(Params::body(content_type, Bytes::new()), Ok(Params::default()));
        }
    }

    #[test]
    fn what_is_no_form_is_refused() {
        assert_eq!(multipart("--y\r\n\r\n--y--"), Err(NotAForm));
        assert_eq!(multipart("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nnever ends"), Err(NotAForm));
        assert_eq!(Params::body(Some("multipart/form-data"), Bytes::from_static(b"--x--")), Err(NotAForm));
    }

    #[test]
    fn ten_thousand_parameters_are_enough() {
        let read = |count: usize| Params::body(None, "a=b&".repeat(count).into()).map(|params| params.fields().count());
        assert_eq!((read(MAX_PARAMS), read(MAX_PARAMS + 1)), (Ok(MAX_PARAMS), Err(TooMany)));
        let parts = |count: usize| {
            let body = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n".repeat(count) + "--x--\r\n";
            multipart(body).map(|params| params.fields().count())
        };
        assert_eq!((parts(MAX_PARAMS), parts(MAX_PARAMS + 1)), (Ok(MAX_PARAMS), Err(TooMany)));
        assert_eq!(Params::query(Some(&"a=b&".repeat(MAX_PARAMS + 1))).fields().count(), MAX_PARAMS);
    }

    #[test]
    fn booleans_come_in_four_words() {
        assert_eq!(["yes", "True", " no", "FALSE", "1", ""].map(truth), [Some(true), Some(true), Some(false), Some(false), None, None]);
    }
}
