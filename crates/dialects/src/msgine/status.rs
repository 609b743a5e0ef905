//! What became of a message, folded from its events (MsGine 4.1).
//!
//! Invariants: a recipient never steps backwards, and its first final state stays; so the message does not step backwards either.
//! Recipients named twice are two recipients that fare alike.

use std::collections::HashMap;

use posthaste_domain::message;
use serde::Serialize;

/// Where a message stands, in the order of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Scheduled, and nothing has happened.
    Queued,
    /// Accepted.
    Pending,
    /// Handed to the carrier, at least for one recipient.
    Sent,
    /// Confirmed for every recipient that did not fail.
    Delivered,
    /// Failed for all.
    Failed,
}

/// Where one recipient stands, in the order of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Pending,
    Sent,
    Delivered,
    Failed,
}

impl Step {
    fn of(type_name: &str) -> Option<Self> {
        match type_name {
            message::SENT => Some(Self::Sent),
            message::DELIVERED => Some(Self::Delivered),
            message::FAILED => Some(Self::Failed),
            _ => None,
        }
    }
}

/// What became of a message so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where it stands.
    pub status: Status,
    /// When it came there; `None` while nothing happened.
    pub updated_ms: Option<i64>,
    /// When it was first handed to a carrier.
    pub sent_ms: Option<i64>,
}

/// Folds events, oldest first.
pub struct Fold {
    scheduled: bool,
    steps: HashMap<String, (Step, usize)>,
    /// Recipients at each step.
    counts: [usize; 4],
    progress: Progress,
}

impl Fold {
    /// A message to these recipients to which nothing has happened.
    pub fn new<'a>(recipients: impl IntoIterator<Item = &'a str>, scheduled: bool) -> Self {
        let mut steps: HashMap<String, (Step, usize)> = HashMap::new();
        let mut counts = [0; 4];
        for recipient in recipients {
            steps.entry(recipient.to_owned()).or_insert((Step::Pending, 0)).1 += 1;
            counts[Step::Pending as usize] += 1;
        }
        let status = if scheduled { Status::Queued } else { Status::Pending };
        Self { scheduled, steps, counts, progress: Progress { status, updated_ms: None, sent_ms: None } }
    }

    /// One more event; those of other types and about strangers change nothing.
    pub fn event(&mut self, type_name: &str, recipient: &str, at_ms: i64) {
        let Some(step) = Step::of(type_name) else { return };
        let Some((present, count)) = self.steps.get_mut(recipient) else { return };
        if *present >= Step::Delivered || step <= *present {
            return;
        }
        self.counts[*present as usize] -= *count;
        self.counts[step as usize] += *count;
        *present = step;
        if step != Step::Failed {
            self.progress.sent_ms.get_or_insert(at_ms);
        }
        // Sent to one, then failed for that one while others wait: it stays sent.
        let status = self.status().max(self.progress.status);
        if status != self.progress.status {
            self.progress.status = status;
            self.progress.updated_ms = Some(at_ms);
        }
    }

    /// What the events so far made of it.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    fn status(&self) -> Status {
        let [pending, sent, delivered, failed] = self.counts;
        match () {
            () if pending + sent + delivered == 0 && failed > 0 => Status::Failed,
            () if pending + sent == 0 => Status::Delivered,
            () if sent + delivered > 0 => Status::Sent,
            () if self.scheduled && failed == 0 => Status::Queued,
            () => Status::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fold(recipients: &[&str], events: &[(&str, &str)]) -> Progress {
        let mut fold = Fold::new(recipients.iter().copied(), false);
        for (at, (type_name, recipient)) in events.iter().enumerate() {
            fold.event(type_name, recipient, at as i64 + 1);
        }
        fold.progress()
    }

    // MSGINE-25
    #[test]
    fn one_recipient_moves_on() {
        let (sent, delivered, failed) = ((message::SENT, "a"), (message::DELIVERED, "a"), (message::FAILED, "a"));
        let progress = |status, updated_ms, sent_ms| Progress { status, updated_ms, sent_ms };
        assert_eq!(fold(&["a"], &[]), progress(Status::Pending, None, None));
        assert_eq!(fold(&["a"], &[(message::ACCEPTED, "a"), (message::DEFERRED, "a"), (message::SENT, "b")]).updated_ms, None);
        assert_eq!(fold(&["a"], &[sent]), progress(Status::Sent, Some(1), Some(1)));
        assert_eq!(fold(&["a"], &[sent, delivered]), progress(Status::Delivered, Some(2), Some(1)));
        assert_eq!(fold(&["a"], &[delivered, sent, failed]), progress(Status::Delivered, Some(1), Some(1)));
        assert_eq!(fold(&["a"], &[failed, sent, delivered]), progress(Status::Failed, Some(1), None));
        assert_eq!(fold(&["a", "a"], &[sent, sent, delivered]), progress(Status::Delivered, Some(3), Some(1)));
        assert_eq!(Fold::new(["a"], true).progress().status, Status::Queued);
    }

    #[test]
    fn many_recipients_fail_only_together() {
        let all = ["a", "b", "c"];
        let (failed_a, failed_b, failed_c) = ((message::FAILED, "a"), (message::FAILED, "b"), (message::FAILED, "c"));
        assert_eq!(fold(&all, &[failed_a, failed_b]).status, Status::Pending);
        assert_eq!(fold(&all, &[failed_a, failed_b, failed_c]), Progress { status: Status::Failed, updated_ms: Some(3), sent_ms: None });
        assert_eq!(fold(&all, &[failed_a, (message::SENT, "b")]).status, Status::Sent);
        assert_eq!(fold(&all, &[failed_a, (message::DELIVERED, "b")]).status, Status::Sent);
        assert_eq!(fold(&all, &[(message::DELIVERED, "b"), failed_a, (message::DELIVERED, "c")]).status, Status::Delivered);
        assert_eq!(fold(&all, &[(message::DELIVERED, "b"), failed_a, failed_c]).status, Status::Delivered);
    }

    proptest! {
        /// Whatever comes in whatever order: no step back, `updatedAt` is the time of the last change.
        #[test]
        fn no_step_backwards(events in prop::collection::vec((0..5_usize, 0..4_usize), 0..60), scheduled: bool) {
            let types = [message::ACCEPTED, message::SENT, message::DELIVERED, message::FAILED, message::DEFERRED];
            let mut fold = Fold::new(["0", "1", "2"], scheduled);
            let mut before = fold.progress();
            for (at, (kind, who)) in events.into_iter().enumerate() {
                fold.event(types[kind], &who.to_string(), at as i64);
                let now = fold.progress();
                prop_assert!(now.status as u8 >= before.status as u8);
                prop_assert_eq!(now.status != before.status, now.updated_ms != before.updated_ms);
                before = now;
            }
        }
    }
}
