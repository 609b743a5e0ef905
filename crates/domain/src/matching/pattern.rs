//! Patterns over event type names, such as `order.created`, `order.*` or `*.created`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most characters of a pattern.
pub const MAX_PATTERN_CHARACTERS: usize = 255;

/// Why a text cannot be a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// No characters at all.
    #[error("event type: the pattern is empty")]
    Empty,
    /// More than [`MAX_PATTERN_CHARACTERS`].
    #[error("event type: {length} characters are too many, at most {MAX_PATTERN_CHARACTERS} are allowed")]
    TooLong {
        /// Characters found.
        length: usize,
    },
    /// A star beside other characters of a segment.
    #[error("event type: in \"{segment}\" the star must stand alone between dots, as in \"order.*\"")]
    StarInSegment {
        /// The segment that holds the star.
        segment: String,
    },
}

/// A name of event types. Segments are separated by dots; a segment `*` stands for exactly one segment, or, at the end,
/// for one or more. Every other character stands for itself, spaces and letter case included.
///
/// Serialises as its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TypePattern {
    text: String,
    kind: Kind,
}

/// How a pattern can be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// No star.
    Exact,
    /// Only a star at the end, behind a prefix of this many bytes.
    Prefix(usize),
    /// The single star.
    Everything,
    /// A star before the end.
    Segments,
}

impl TypePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`PatternError`] when it is empty, too long, or a star is part of a longer segment.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let length = text.chars().count();
        if length > MAX_PATTERN_CHARACTERS {
            return Err(PatternError::TooLong { length });
        }
        if let Some(segment) = text.split('.').find(|segment| segment.len() > 1 && segment.contains('*')) {
            return Err(PatternError::StarInSegment { segment: segment.to_owned() });
        }
        let stars = text.matches('*').count();
        let kind = match text.strip_suffix(".*") {
            _ if stars == 0 => Kind::Exact,
            _ if text == "*" => Kind::Everything,
            Some(prefix) if stars == 1 => Kind::Prefix(prefix.len()),
            _ => Kind::Segments,
        };
        Ok(Self { text: text.to_owned(), kind })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern is a plain name, without a star.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.kind == Kind::Exact
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether an event type of this name is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.kind {
            Kind::Exact => self.text == name,
            Kind::Everything => true,
            Kind::Prefix(length) => name.strip_prefix(&self.text[..length]).is_some_and(|rest| rest.starts_with('.')),
            Kind::Segments => {
                let mut segments = self.text.split('.').peekable();
                let mut names = name.split('.');
                while let Some(segment) = segments.next() {
                    let Some(found) = names.next() else { return false };
                    match segment {
                        "*" if segments.peek().is_none() => return true,
                        "*" => {}
                        literal if literal == found => {}
                        _ => return false,
                    }
                }
                names.next().is_none()
            }
        }
    }
}

impl FromStr for TypePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for TypePattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        Self::parse(&text)
    }
}

impl From<TypePattern> for String {
    fn from(pattern: TypePattern) -> Self {
        pattern.text
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
