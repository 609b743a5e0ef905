//! The closed list of reasons for which a try can fail, and how each is judged.
//!
//! Invariant: code, fault and whether another try can help go together in one table; nobody decides by the text of a message.

use posthaste_domain::delivery::Fault;

use crate::SendError;

/// Why a try failed. Each has a page of its name in `docs/errors/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The host has no address that this server may connect to. Worth another try: DNS answers and allow-lists change.
    AddressBlocked,
    /// The host's name could not be resolved.
    DnsFailed,
    /// Something answered that nobody listens there.
    ConnectRefused,
    /// No connection (TLS included) within the time for connecting.
    ConnectTimeout,
    /// No connection for another reason, e.g. no route.
    ConnectFailed,
    /// This server is out of sockets or ports.
    SocketsExhausted,
    /// The TLS handshake failed: a certificate that does not verify, a port that speaks no TLS.
    TlsFailed,
    /// No full answer within the time for the whole try.
    Timeout,
    /// The connection broke before the full answer was there.
    ConnectionLost,
    /// The answer breaks the protocol.
    ResponseInvalid,
    /// The target's settings cannot be used.
    SettingsInvalid,
    /// The channel cannot carry this content.
    ContentUnsupported,
    /// The target asks to be sent less.
    RateLimited,
    /// Slack refused the message.
    SlackRejected,
    /// Slack has trouble of its own.
    SlackUnavailable,
    /// Discord refused the message.
    DiscordRejected,
    /// Discord has trouble of its own.
    DiscordUnavailable,
    /// The mail server refused for good (5xx).
    SmtpRejected,
    /// The mail server refused for now (4xx).
    SmtpDeferred,
    /// The token URL of a webhook answered without an access token.
    TokenRefused,
    /// The token URL of a webhook did not answer.
    TokenUnreachable,
    /// The carrier refused the text message for good.
    SmsRejected,
    /// The carrier refused the text message for now.
    SmsDeferred,
    /// The carrier is not connected.
    SmsUnavailable,
}

/// Code, text, fault, worth another try.
const TABLE: &[(Code, &str, Fault, bool)] = &[
    (Code::AddressBlocked, "address_blocked", Fault::Theirs, true),
    (Code::DnsFailed, "dns_failed", Fault::Network, true),
    (Code::ConnectRefused, "connect_refused", Fault::Network, true),
    (Code::ConnectTimeout, "connect_timeout", Fault::Network, true),
    (Code::ConnectFailed, "connect_failed", Fault::Network, true),
    (Code::SocketsExhausted, "sockets_exhausted", Fault::Ours, true),
    (Code::TlsFailed, "tls_failed", Fault::Theirs, true),
    (Code::Timeout, "timeout", Fault::Network, true),
    (Code::ConnectionLost, "connection_lost", Fault::Network, true),
    (Code::ResponseInvalid, "response_invalid", Fault::Theirs, true),
    (Code::SettingsInvalid, "settings_invalid", Fault::Theirs, false),
    (Code::ContentUnsupported, "content_unsupported", Fault::Ours, false),
    (Code::RateLimited, "rate_limited", Fault::Theirs, true),
    (Code::SlackRejected, "slack_rejected", Fault::Theirs, false),
    (Code::SlackUnavailable, "slack_unavailable", Fault::Theirs, true),
    (Code::DiscordRejected, "discord_rejected", Fault::Theirs, false),
    (Code::DiscordUnavailable, "discord_unavailable", Fault::Theirs, true),
    (Code::SmtpRejected, "smtp_rejected", Fault::Theirs, false),
    (Code::SmtpDeferred, "smtp_deferred", Fault::Theirs, true),
    (Code::TokenRefused, "token_refused", Fault::Theirs, true),
    (Code::TokenUnreachable, "token_unreachable", Fault::Network, true),
    (Code::SmsRejected, "sms_rejected", Fault::Theirs, false),
    (Code::SmsDeferred, "sms_deferred", Fault::Theirs, true),
    (Code::SmsUnavailable, "sms_unavailable", Fault::Network, true),
];

impl Code {
    /// All codes as text, for the test that each has its page.
    pub fn all() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|row| row.1)
    }

    fn row(self) -> &'static (Self, &'static str, Fault, bool) {
        &TABLE[self as usize]
    }

    /// The stable text of the code.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The error with this code; the message is for the owner of the target.
    pub fn error(self, message: impl Into<String>) -> SendError {
        let (_, code, fault, retryable) = *self.row();
        SendError { code, message: message.into(), fault, retryable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_codes() {
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, place, "{}", row.1);
        }
        assert_eq!(Code::all().collect::<std::collections::BTreeSet<_>>().len(), TABLE.len());
    }
}
