//! Small tools for JSON bodies, shared by the formats.

use http::HeaderValue;

/// `application/json`.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/json");
