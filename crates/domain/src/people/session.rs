//! Sessions: how long a person stays signed in.

use std::time::Duration;

/// One signed-in browser. Of its token only a hash is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Public id, `ses_…`: names it in lists, and proves nothing.
    pub id: String,
    /// Lower-case hex SHA-256 of the token in the cookie.
    pub token_hash: String,
    /// Id of the member.
    pub member: String,
    /// What the browser said it is, cut.
    pub user_agent: String,
    /// Where it was signed in from.
    pub ip: String,
    /// Since when.
    pub created_ms: i64,
    /// When it was seen last, as exact as [`TOUCH_EVERY_MS`].
    pub seen_ms: i64,
}

/// A session is written anew at most this often.
pub const TOUCH_EVERY_MS: i64 = 3_600_000;

/// Characters of a browser's name that are kept.
pub const MAX_USER_AGENT: usize = 300;

/// Most sessions of one member; the one that was seen longest ago goes first.
pub const MAX_SESSIONS: usize = 50;

/// How long sessions last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Without a request.
    pub idle: Duration,
    /// In all.
    pub absolute: Duration,
}

impl Default for Lifetimes {
    /// Two weeks without a visit, three months in all.
    fn default() -> Self {
        Self { idle: Duration::from_secs(14 * 86_400), absolute: Duration::from_secs(90 * 86_400) }
    }
}

impl Session {
    /// Whether it still counts.
    pub fn is_alive(&self, lifetimes: Lifetimes, now_ms: i64) -> bool {
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        // Seen is up to an hour older than the last visit: nobody is thrown out because of that.
        let idle_ms = millis(lifetimes.idle).saturating_add(TOUCH_EVERY_MS.min(millis(lifetimes.idle)));
        now_ms < self.seen_ms.saturating_add(idle_ms) && now_ms < self.created_ms.saturating_add(millis(lifetimes.absolute))
    }

    /// Whether a visit now has to be written down.
    pub fn is_due(&self, now_ms: i64) -> bool {
        now_ms - self.seen_ms >= TOUCH_EVERY_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_when_idle_and_in_any_case() {
        let hour = 3_600_000;
        let lifetimes = Lifetimes { idle: Duration::from_secs(10 * 3600), absolute: Duration::from_secs(100 * 3600) };
        let mut session = Session {
            id: "ses_1".into(),
            token_hash: String::new(),
            member: "mbr_1".into(),
            user_agent: String::new(),
            ip: String::new(),
            created_ms: 0,
            seen_ms: 0,
        };
        assert!(session.is_alive(lifetimes, 11 * hour - 1) && !session.is_alive(lifetimes, 11 * hour));
        assert!(!session.is_due(hour - 1) && session.is_due(hour));
        session.seen_ms = 99 * hour;
        assert!(session.is_alive(lifetimes, 100 * hour - 1) && !session.is_alive(lifetimes, 100 * hour));
    }
}
