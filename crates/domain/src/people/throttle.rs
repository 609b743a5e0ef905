//! How often somebody may guess: failed sign-ins per address of mail and per network address.
//!
//! The first few failures cost nothing; each one after that doubles the wait, up to a quarter of an hour. A success forgets the failures of
//! the e-mail address, not those of the network address, since somebody who knows one password may guess another. Memory is bounded: when it
//! is full, what failed longest ago is forgotten.

use std::collections::HashMap;
use std::net::IpAddr;

/// Failures that cost nothing, per e-mail address.
pub const FREE_PER_EMAIL: u32 = 5;
/// Failures that cost nothing, per network address: many people may share one.
pub const FREE_PER_ADDRESS: u32 = 20;
/// Longest wait.
pub const MAX_WAIT_MS: i64 = 15 * 60_000;
/// A failure is forgotten after this time without another.
pub const MEMORY_MS: i64 = 60 * 60_000;
/// Most names that are remembered.
pub const MAX_NAMES: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    /// Folded, and cut: of a longer one there is no member.
    Email(String),
    /// The address, of IPv6 the network of 64 bits.
    Address([u8; 8]),
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last_ms: i64,
}

/// The failures of late.
#[derive(Debug, Default)]
pub struct Throttle {
    failures: HashMap<Name, Failures>,
}

fn names(email: &str, ip: Option<IpAddr>) -> impl Iterator<Item = (Name, u32)> {
    let email = (Name::Email(email.chars().take(254).collect()), FREE_PER_EMAIL);
    let address = ip.map(|ip| {
        let mut bytes = [0; 8];
        match ip.to_canonical() {
            IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => bytes.copy_from_slice(&ip.octets()[..8]),
        }
        (Name::Address(bytes), FREE_PER_ADDRESS)
    });
    std::iter::once(email).chain(address)
}

fn wait_ms(count: u32, free: u32) -> i64 {
    match count.checked_sub(free) {
        None => 0,
        Some(over) => (1_000_i64 << over.min(20)).min(MAX_WAIT_MS),
    }
}

impl Throttle {
    /// Whether somebody may try now, with a folded e-mail address. A try counts as failed until [`Self::succeeded`] is told otherwise, so that
    /// many at once gain nothing.
    ///
    /// # Errors
    /// The milliseconds until the next try.
    pub fn attempt(&mut self, email: &str, ip: Option<IpAddr>, now_ms: i64) -> Result<(), i64> {
        let mut left = 0;
        for (name, free) in names(email, ip) {
            if let Some(known) = self.failures.get(&name).filter(|known| now_ms - known.last_ms < MEMORY_MS) {
                left = left.max(known.last_ms.saturating_add(wait_ms(known.count, free)) - now_ms);
            }
        }
        if left > 0 {
            return Err(left);
        }
        for (name, _) in names(email, ip) {
            if self.failures.len() >= MAX_NAMES && !self.failures.contains_key(&name) {
                self.make_room(now_ms);
            }
            let known = self.failures.entry(name).or_insert(Failures { count: 0, last_ms: now_ms });
            let count = if now_ms - known.last_ms >= MEMORY_MS { 0 } else { known.count };
            *known = Failures { count: count.saturating_add(1), last_ms: now_ms };
        }
        Ok(())
    }

    /// The try was good.
    pub fn succeeded(&mut self, email: &str, ip: Option<IpAddr>) {
        for (name, _) in names(email, ip) {
            match &name {
                Name::Email(_) => drop(self.failures.remove(&name)),
                Name::Address(_) => {
                    if let Some(known) = self.failures.get_mut(&name) {
                        known.count = known.count.saturating_sub(1);
                    }
                }
            }
        }
    }

    /// Names that are remembered.
    pub fn len(&self) -> usize {
        self.failures.len()
    }

    /// Whether nothing failed of late.
    pub fn is_empty(&self) -> bool {
        self.failures.is_empty()
    }

    fn make_room(&mut self, now_ms: i64) {
        self.failures.retain(|_, known| now_ms - known.last_ms < MEMORY_MS);
        if self.failures.len() < MAX_NAMES {
            return;
        }
        // A tenth at once, so that a flood does not look through all of them each time.
        let mut times: Vec<i64> = self.failures.values().map(|known| known.last_ms).collect();
        let (_, oldest, _) = times.select_nth_unstable(MAX_NAMES / 10);
        let limit = *oldest;
        let mut room = MAX_NAMES / 10;
        self.failures.retain(|_, known| {
            let goes = known.last_ms <= limit && room > 0;
            room -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    #[test]
    fn guessing_gets_slower_and_slower() {
        let mut throttle = Throttle::default();
        let mut now_ms = 0;
        for _ in 0..FREE_PER_EMAIL {
            assert_eq!(throttle.attempt("ann@x.example", HOME, now_ms), Ok(()));
        }
        assert_eq!(throttle.attempt("ann@x.example", HOME, now_ms), Err(1000));
        let mut waits = Vec::new();
        for _ in 0..14 {
            let wait = throttle.attempt("ann@x.example", None, now_ms).expect_err("too soon");
            waits.push(wait);
            now_ms += wait;
            assert_eq!(throttle.attempt("ann@x.example", None, now_ms), Ok(()));
        }
        assert_eq!(waits[..4], [1000, 2000, 4000, 8000]);
        assert_eq!(waits[13], MAX_WAIT_MS);
        assert_eq!(throttle.attempt("bob@x.example", HOME, now_ms), Ok(()), "another person from there may try");
        assert_eq!(throttle.attempt("ann@x.example", None, now_ms + MEMORY_MS), Ok(()));
        assert_eq!(throttle.attempt("ann@x.example", None, now_ms + MEMORY_MS), Ok(()), "it was forgotten");
    }

    #[test]
    fn one_address_cannot_guess_for_many() {
        let mut throttle = Throttle::default();
        let tried = (0..100).filter(|n| throttle.attempt(&format!("{n}@x.example"), HOME, 0).is_ok()).count();
        assert_eq!(tried, FREE_PER_ADDRESS as usize);
    }

    #[test]
    fn a_success_forgets_the_failures_of_the_person_only() {
        let mut throttle = Throttle::default();
        for _ in 0..FREE_PER_EMAIL {
            throttle.attempt("ann@x.example", HOME, 0).expect("free");
        }
        throttle.succeeded("ann@x.example", HOME);
        assert_eq!(throttle.attempt("ann@x.example", HOME, 0), Ok(()));
        for n in 0..FREE_PER_ADDRESS {
            let _ = throttle.attempt(&format!("{n}@x.example"), HOME, 0);
        }
        assert!(throttle.attempt("zed@x.example", HOME, 0).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        for n in 0..3 * MAX_NAMES {
            let _ = throttle.attempt(&format!("{n}@x.example"), None, n as i64);
        }
        assert!(throttle.len() <= MAX_NAMES && !throttle.is_empty());
    }
}
