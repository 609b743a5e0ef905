//! The stable error codes and their pages.
//!
//! Two families share `docs/errors/`: codes of answers ([`Code`]) and codes of failed attempts ([`ATTEMPT_PAGES`]). Every code has a
//! page, because the pages are compiled in; a test refuses pages that belong to no code.

use http::StatusCode;

macro_rules! codes {
    ($($variant:ident = $name:literal, $status:ident, $title:literal;)+) => {
        /// Code of a problem document. The names never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)+
        }

        impl Code {
            /// All codes, in the order of the pages.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The HTTP status that it is answered with.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// What kind of problem it is, in one phrase.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// Its page, as Markdown.
            pub fn page(self) -> &'static str {
                match self { $(Self::$variant => include_str!(concat!("../../../docs/errors/", $name, ".md")),)+ }
            }
        }
    };
}

codes! {
    InvalidJson = "invalid_json", BAD_REQUEST, "The body is not valid JSON";
    JsonTooDeep = "json_too_deep", BAD_REQUEST, "The JSON is nested too deeply";
    BodyIncomplete = "body_incomplete", BAD_REQUEST, "The body did not arrive whole";
    InvalidParameter = "invalid_parameter", BAD_REQUEST, "A parameter cannot be used";
    InvalidCursor = "invalid_cursor", BAD_REQUEST, "The cursor cannot be used";
    InvalidIdempotencyKey = "invalid_idempotency_key", BAD_REQUEST, "The Idempotency-Key cannot be used";
    KeyMissing = "key_missing", UNAUTHORIZED, "A key is needed";
    KeyInvalid = "key_invalid", UNAUTHORIZED, "The key is not known";
    SignInRefused = "sign_in_refused", UNAUTHORIZED, "The sign-in was refused";
    LinkInvalid = "link_invalid", GONE, "The link is not valid any more";
    RequestForged = "request_forged", FORBIDDEN, "The request does not come from our page";
    PublicKeyRefused = "public_key_refused", FORBIDDEN, "Public keys may not use this";
    ScopeMissing = "scope_missing", FORBIDDEN, "The key may not do this";
    NotFound = "not_found", NOT_FOUND, "There is no such resource";
    RouteNotFound = "route_not_found", NOT_FOUND, "There is nothing at this path";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "This path does not take this method";
    BodyTimeout = "body_timeout", REQUEST_TIMEOUT, "The body took too long to arrive";
    Duplicate = "duplicate", CONFLICT, "The value is taken";
    InUse = "in_use", CONFLICT, "The resource is in use";
    WrongState = "wrong_state", CONFLICT, "The state does not allow this";
    LimitReached = "limit_reached", CONFLICT, "A limit is reached";
    BinExpired = "bin_expired", GONE, "The request bin has expired";
    VersionConflict = "version_conflict", PRECONDITION_FAILED, "The resource has changed";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    ContentTypeUnsupported = "content_type_unsupported", UNSUPPORTED_MEDIA_TYPE, "The content type is not supported";
    UnknownField = "unknown_field", UNPROCESSABLE_ENTITY, "A field is not known";
    MissingField = "missing_field", UNPROCESSABLE_ENTITY, "A field is missing";
    InvalidField = "invalid_field", UNPROCESSABLE_ENTITY, "A field has a value that cannot be used";
    TooManyEvents = "too_many_events", UNPROCESSABLE_ENTITY, "Too many events in one request";
    IdempotencyMismatch = "idempotency_mismatch", UNPROCESSABLE_ENTITY, "The Idempotency-Key belongs to another body";
    TooManyRequests = "too_many_requests", TOO_MANY_REQUESTS, "Too many requests at once";
    Internal = "internal", INTERNAL_SERVER_ERROR, "The server failed";
    StorageFailed = "storage_failed", INTERNAL_SERVER_ERROR, "The store failed";
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The server is overloaded";
    StorageFull = "storage_full", SERVICE_UNAVAILABLE, "The disk is full";
    DatabaseUnavailable = "database_unavailable", SERVICE_UNAVAILABLE, "The database is not available";
    ShuttingDown = "shutting_down", SERVICE_UNAVAILABLE, "The server is shutting down";
}

macro_rules! attempt_pages {
    ($($name:literal),+ $(,)?) => {
        /// Codes that a failed attempt may carry, with their pages as Markdown.
        pub const ATTEMPT_PAGES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../docs/errors/", $name, ".md"))),)+];
    };
}

attempt_pages![
    "address_blocked",
    "channel_unknown",
    "connect_failed",
    "connect_refused",
    "connect_timeout",
    "connection_lost",
    "content_unsupported",
    "discord_rejected",
    "discord_unavailable",
    "dns_failed",
    "expired",
    "format_failed",
    "format_unknown",
    "rate_limited",
    "response_invalid",
    "settings_invalid",
    "slack_rejected",
    "slack_unavailable",
    "sms_deferred",
    "sms_rejected",
    "sms_unavailable",
    "smtp_deferred",
    "smtp_rejected",
    "sockets_exhausted",
    "status_refused",
    "store_failed",
    "template_failed",
    "template_too_long",
    "template_too_slow",
    "timeout",
    "tls_failed",
    "token_refused",
    "token_unreachable",
];

/// The page of any code, as Markdown.
pub fn page(name: &str) -> Option<&'static str> {
    let answer = Code::ALL.iter().find(|code| code.name() == name).map(|code| code.page());
    answer.or_else(|| ATTEMPT_PAGES.iter().find(|(code, _)| *code == name).map(|(_, page)| *page))
}
