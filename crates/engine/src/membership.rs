//! Where a node stands among the others, and until when it may act for what it holds.
//!
//! Invariant: a tenure ends before others may take the node for gone, and is renewed from the moment in which an answered heartbeat was sent.
//! Once the node is lost it has ended for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The part of the time for which silence is forgiven that is left when a tenure ends: an attempt begins, and clocks drift.
const MARGIN: u32 = 7;

/// Until when what this node holds is surely its own.
#[derive(Clone, Debug)]
pub(crate) struct Tenure {
    since: Instant,
    /// Milliseconds after `since`; the largest for a node alone, the smallest once it is lost.
    until_ms: Arc<AtomicI64>,
}

impl Tenure {
    /// For a node alone: for ever.
    pub fn alone() -> Self {
        Self { since: Instant::now(), until_ms: Arc::new(AtomicI64::new(i64::MAX)) }
    }

    /// Whether this node may begin to send what it holds.
    pub fn holds(&self) -> bool {
        let until_ms = self.until_ms.load(Ordering::Acquire);
        until_ms == i64::MAX || self.ms(Instant::now()) < until_ms
    }

    /// Goes on until then; answers whether it had ended.
    fn renew(&self, until: Instant) -> bool {
        let (had_ended, until_ms) = (!self.holds(), self.ms(until));
        let renewed = self.until_ms.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old_ms| (old_ms != i64::MIN).then_some(until_ms));
        had_ended && renewed.is_ok()
    }

    /// Ends for good.
    fn end(&self) {
        self.until_ms.store(i64::MIN, Ordering::Release);
    }

    fn ms(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.since).as_millis()).unwrap_or(i64::MAX - 1)
    }
}

/// Where this node stands among the others.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    nodes: Arc<AtomicU32>,
    is_away: Arc<AtomicBool>,
    is_lost: Arc<watch::Sender<bool>>,
    tenure: Tenure,
    /// For how long a tenure is renewed from the moment in which a heartbeat is sent.
    term: Duration,
}

impl Membership {
    /// Of a node among `nodes` whose silence is forgiven for this long; `None`: it is alone.
    pub fn new(nodes: u32, lapse: Option<Duration>) -> Self {
        let term = lapse.map_or(Duration::MAX, |lapse| lapse - lapse / MARGIN);
        let tenure = Tenure::alone();
        if lapse.is_some() {
            tenure.until_ms.store(tenure.ms(tenure.since + term), Ordering::Release);
        }
        Self {
            nodes: Arc::new(AtomicU32::new(nodes.max(1))),
            is_away: Arc::default(),
            is_lost: Arc::new(watch::channel(false).0),
            tenure,
            term,
        }
    }

    /// Until when this node may send.
    pub fn tenure(&self) -> Tenure {
        self.tenure.clone()
    }

    /// Whether others took this node for gone.
    pub fn is_lost(&self) -> bool {
        *self.is_lost.borrow()
    }

    /// A heartbeat that was sent at this time was answered: so many nodes live. Answers whether the tenure had ended, and goes on.
    pub fn heard(&self, sent: Instant, nodes: u32) -> bool {
        self.nodes.store(nodes.max(1), Ordering::Relaxed);
        self.tenure.renew(sent + self.term)
    }

    /// The database does not answer, or does again.
    pub fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// Resolves when others took this node for gone.
    pub async fn lost(&self) {
        let mut is_lost = self.is_lost.subscribe();
        if is_lost.wait_for(|is_lost| *is_lost).await.is_err() {
            std::future::pending().await
        }
    }

    /// Others took this node for gone: nothing that it does is stored any more.
    pub fn lose(&self) {
        self.tenure.end();
        if !self.is_lost.send_replace(true) {
            tracing::error!("other nodes took this one for gone, and its work over: it begins anew");
        }
    }

    /// Nodes that live, this one included.
    pub fn nodes(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.nodes)
    }

    /// Whether the database did not answer the last heartbeat, or has not in time.
    pub fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A node that slept, or was cut off, begins nothing before a heartbeat is answered again; one that is lost never does.
    #[tokio::test(start_paused = true)]
    async fn a_tenure_ends_before_others_take_over() {
        let lapse = Duration::from_millis(3_500);
        let membership = Membership::new(3, Some(lapse));
        let tenure = membership.tenure();
        assert!(tenure.holds());
        for _ in 0..5 {
            tokio::time::advance(SECOND).await;
            assert!(tenure.holds());
            assert!(!tenure.renew(Instant::now() + membership.term), "it had not ended");
        }
        tokio::time::advance(lapse - lapse / MARGIN).await;
        assert!(!tenure.holds(), "half a second before others may think so");
        let sent = Instant::now();
        tokio::time::advance(SECOND).await;
        assert!(tenure.renew(sent + membership.term), "lanes are to be woken");
        assert!(tenure.holds());
        membership.lose();
        assert!(!tenure.holds() && membership.is_lost());
        assert!(!tenure.renew(Instant::now() + membership.term), "what is lost stays so");
        assert!(!tenure.holds());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_alone_holds_what_it_has_for_ever() {
        let tenure = Membership::new(0, None).tenure();
        tokio::time::advance(SECOND * 86_400 * 365).await;
        assert!(tenure.holds());
    }
}
