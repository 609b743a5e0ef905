//! What waits for a second step, in memory: log-ins that need a code, and second factors that are not confirmed. Bounded in number and time;
//! a restart forgets them, and people begin again.

use std::collections::HashMap;

/// How long the second step may take.
const PATIENCE_MS: i64 = 10 * 60_000;
/// Most that wait.
const MAX_PENDING: usize = 10_000;
/// Wrong codes after which a log-in has to begin again.
const MAX_TRIES: u32 = 5;

struct Waiting {
    value: String,
    tries: u32,
    until_ms: i64,
}

/// What waits.
#[derive(Default)]
pub(super) struct Pending {
    /// Id of the member by the hash of a log-in's ticket, and secret by the id of a session.
    waiting: HashMap<String, Waiting>,
}

impl Pending {
    /// Adds something, in place of what waited under the name.
    pub(super) fn put(&mut self, name: String, value: String, now_ms: i64) {
        if self.waiting.len() >= MAX_PENDING {
            self.waiting.retain(|_, waiting| waiting.until_ms > now_ms);
        }
        if self.waiting.len() >= MAX_PENDING
            && let Some(oldest) = self.waiting.iter().min_by_key(|(_, waiting)| waiting.until_ms).map(|(name, _)| name.clone())
        {
            self.waiting.remove(&oldest);
        }
        self.waiting.insert(name, Waiting { value, tries: 0, until_ms: now_ms + PATIENCE_MS });
    }

    /// What waits under a name, for one more try.
    pub(super) fn attempt(&mut self, name: &str, now_ms: i64) -> Option<String> {
        let waiting = self.waiting.get_mut(name)?;
        waiting.tries += 1;
        if waiting.until_ms <= now_ms || waiting.tries > MAX_TRIES {
            self.waiting.remove(name);
            return None;
        }
        Some(waiting.value.clone())
    }

    /// It waits no longer.
    pub(super) fn remove(&mut self, name: &str) {
        self.waiting.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_in_tries_time_and_number() {
        let mut pending = Pending::default();
        pending.put("a".into(), "x".into(), 0);
        for _ in 0..MAX_TRIES {
            assert_eq!(pending.attempt("a", PATIENCE_MS - 1).as_deref(), Some("x"));
        }
        assert_eq!(pending.attempt("a", 0), None);
        pending.put("b".into(), "x".into(), 0);
        assert_eq!(pending.attempt("b", PATIENCE_MS), None);
        for n in 0..MAX_PENDING + 10 {
            pending.put(n.to_string(), String::new(), n as i64);
        }
        assert_eq!(pending.waiting.len(), MAX_PENDING);
    }
}
