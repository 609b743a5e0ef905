//! Up to where those who follow events as they come may see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::watch;

use crate::membership::Membership;

/// Up to which sequence the events of all nodes are there, for those who follow them as they come.
///
/// Alone, that is the last one that was stored. Among others it is what was leased to anybody [`SETTLED`](crate::cluster::SETTLED) ago: blocks are used for a second, so
/// nothing is stored below it any more, unless the database stalls. A node that joins is met before a heartbeat tells of it: the blocks that this node is
/// given do not follow each other then.
#[derive(Clone)]
pub(crate) struct Visible {
    last: Arc<watch::Sender<i64>>,
    nodes: Arc<AtomicU32>,
    /// How often others were met, and how often that had been when a heartbeat was sent that told of nobody else.
    met: Arc<AtomicU32>,
    heeded: Arc<AtomicU32>,
}

impl Visible {
    pub fn new(last: i64, membership: &Membership) -> (Self, watch::Receiver<i64>) {
        let (sender, receiver) = watch::channel(last);
        (Self { last: Arc::new(sender), nodes: membership.nodes(), met: Arc::default(), heeded: Arc::default() }, receiver)
    }

    /// This node stored something.
    pub fn stored(&self, last: i64) {
        if self.is_alone() {
            self.raise(last);
        }
    }

    fn is_alone(&self) -> bool {
        self.nodes.load(Ordering::Relaxed) <= 1 && self.met.load(Ordering::Acquire) == self.heeded.load(Ordering::Acquire)
    }

    /// Another node was given sequences.
    pub fn met_others(&self) {
        self.met.fetch_add(1, Ordering::AcqRel);
    }

    /// To be asked before a heartbeat is sent, for [`Self::heard`].
    pub fn met(&self) -> u32 {
        self.met.load(Ordering::Acquire)
    }

    /// A heartbeat was answered that was sent when others had been met so often.
    pub fn heard(&self, met: u32) {
        self.heeded.store(met, Ordering::Release);
    }

    pub fn raise(&self, last: i64) {
        self.last.send_if_modified(|known| {
            let is_news = last > *known;
            *known = last.max(*known);
            is_news
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    /// Followers of a node see nothing of it while another one may be storing events below.
    #[test]
    fn who_joins_is_met_before_a_heartbeat_tells() {
        let membership = Membership::new(1, Some(Duration::from_secs(5)));
        let (visible, seen) = Visible::new(0, &membership);
        visible.stored(1);
        assert_eq!(*seen.borrow(), 1);
        // A heartbeat that was sent before another node came is answered after it.
        let before = visible.met();
        visible.met_others();
        visible.stored(201);
        visible.heard(before);
        visible.stored(202);
        assert_eq!(*seen.borrow(), 1);
        let after = visible.met();
        membership.heard(Instant::now(), 2);
        visible.heard(after);
        visible.stored(203);
        assert_eq!(*seen.borrow(), 1);
        membership.heard(Instant::now(), 1);
        visible.stored(204);
        assert_eq!(*seen.borrow(), 204);
    }
}
