//! The limit of public keys: five events a minute from one address, then five minutes of silence
//! (MSGGO-44, MSGGO-45). Numbers are settings.
//!
//! A block has a fixed length from the refusal that began it; knocking does not lengthen it. An
//! IPv6 host owns a whole /64, so that is what is counted; an IPv4 address written as IPv6 is the
//! IPv4 address.
//!
//! Memory is bounded by [`IpSettings::entries`]. An address that is forgotten because it is over
//! costs nothing; when the table is full of live ones, the one not seen for longest is forgotten,
//! its block with it. The other way (refusing strangers) would let one botnet close a form to everyone.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::RateLimiter;
use crate::policy::Rate;
use crate::policy::units::millis;

/// The numbers of an [`IpLimiter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpSettings {
    /// Events of one address within a rolling window.
    pub rate: Rate,
    /// How long an address is blocked after the first event too many.
    pub block: Duration,
    /// Most pairs of key and address that are remembered; at least 1.
    pub entries: usize,
}

impl Default for IpSettings {
    fn default() -> Self {
        Self { rate: Rate { limit: 5, per: Duration::from_secs(60) }, block: Duration::from_secs(300), entries: 100_000 }
    }
}

/// Counts events per key and address. See the module page.
#[derive(Debug)]
pub struct IpLimiter {
    settings: IpSettings,
    entries: BTreeMap<Who, Entry>,
    /// Every entry once, by when it was last seen.
    seen: BTreeMap<u64, Who>,
    next_seen: u64,
}

type Who = (u64, IpAddr);

#[derive(Debug)]
struct Entry {
    seen: u64,
    limiter: RateLimiter,
    blocked_until_ms: Option<i64>,
}

impl Entry {
    fn over(&self, now_ms: i64) -> bool {
        self.blocked_until_ms.is_none_or(|end_ms| end_ms <= now_ms) && self.limiter.idle_at_ms() <= now_ms
    }
}

impl IpLimiter {
    /// A limiter that has seen nobody.
    #[must_use]
    pub fn new(settings: IpSettings) -> Self {
        Self { settings, entries: BTreeMap::new(), seen: BTreeMap::new(), next_seen: 0 }
    }

    /// Counts one event posted with `key` from `ip`.
    ///
    /// # Errors
    /// How long that address remains blocked, for `Retry-After`: never zero.
    pub fn check(&mut self, key: u64, ip: IpAddr, now_ms: i64) -> Result<(), Duration> {
        let who = (key, host(ip));
        self.forget_some(now_ms);
        if !self.entries.contains_key(&who) {
            self.make_room();
        }
        let seen = self.next_seen;
        self.next_seen += 1;
        let entry = self.entries.entry(who).or_insert_with(|| Entry {
            seen,
            limiter: RateLimiter::new(self.settings.rate),
            blocked_until_ms: None,
        });
        self.seen.remove(&entry.seen);
        self.seen.insert(seen, who);
        entry.seen = seen;

        let block_ms = millis(self.settings.block).max(1);
        if let Some(end_ms) = entry.blocked_until_ms {
            // After a clock went back, a block is at most what a new one would be.
            let end_ms = end_ms.min(now_ms.saturating_add(block_ms));
            entry.blocked_until_ms = Some(end_ms);
            if end_ms > now_ms {
                return Err(positive(end_ms.saturating_sub(now_ms)));
            }
            entry.blocked_until_ms = None;
            entry.limiter = RateLimiter::new(self.settings.rate);
        }
        entry.limiter.take(now_ms).map_err(|_| {
            entry.blocked_until_ms = Some(now_ms.saturating_add(block_ms));
            positive(block_ms)
        })
    }

    /// How many pairs of key and address are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets what is over, from the oldest on. Two for each event that adds at most one: the
    /// table shrinks while it is used.
    fn forget_some(&mut self, now_ms: i64) {
        for _ in 0..2 {
            match self.seen.first_key_value() {
                Some((_, who)) if self.entries.get(who).is_none_or(|entry| entry.over(now_ms)) => {
                    self.forget_oldest();
                }
                _ => return,
            }
        }
    }

    fn make_room(&mut self) {
        while self.entries.len() >= self.settings.entries.max(1) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, who)) = self.seen.pop_first() {
            self.entries.remove(&who);
        }
    }
}

fn positive(ms: i64) -> Duration {
    Duration::from_millis(ms.max(1).unsigned_abs())
}

/// The address that is counted for `ip`: of an IPv6 address its network of 64 bits.
pub fn host(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}
