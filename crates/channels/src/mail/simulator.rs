//! The simulated relay: what takes the mail of clients until a relay is configured. Nothing is sent anywhere.
//!
//! The local part of the recipient's address decides: `fail…` is refused for good, `defer…` is refused for now and taken at the next try
//! (`defer3…`: at the fourth), everything else is taken.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::failure::Code;
use crate::smtp::{NotTaken, Taken};

/// How it is called in reports.
pub(crate) const NAME: &str = "the simulated relay (no mail relay is configured; nothing is sent)";

/// Deferred mails remembered at most; then the count starts anew, which means another try or two.
const REMEMBERED: usize = 10_000;
/// Tries that `defer…` may refuse.
const MAX_DEFERRALS: u32 = 100;

/// Remembers how often it deferred which mail.
#[derive(Default)]
pub(crate) struct Simulator {
    deferred: Mutex<HashMap<String, u32>>,
}

impl Simulator {
    /// What it answers to a mail: code and text, as a mail server would.
    pub(crate) fn offer(&self, delivery_id: &str, to: &str) -> Result<Taken, NotTaken> {
        let local = to.split('@').next().unwrap_or_default().to_ascii_lowercase();
        if local.starts_with("fail") {
            let text = "550 5.1.1 no such mailbox (simulated)";
            let error = Code::SmtpRejected.error(format!("{NAME} refused the mail: {text}"));
            return Err(NotTaken { error, status: Some(550) });
        }
        if let Some(rest) = local.strip_prefix("defer") {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let times = rest[..digits].parse().unwrap_or(1).min(MAX_DEFERRALS);
            let mut deferred = self.deferred.lock().unwrap_or_else(PoisonError::into_inner);
            if deferred.len() >= REMEMBERED {
                deferred.clear();
            }
            let count = deferred.entry(delivery_id.to_owned()).or_default();
            if *count < times {
                *count += 1;
                let text = "451 4.3.0 try again later (simulated)";
                let error = Code::SmtpDeferred.error(format!("{NAME} did not take the mail for now: {text}"));
                return Err(NotTaken { error, status: Some(451) });
            }
            deferred.remove(delivery_id);
        }
        Ok(Taken { status: 250, text: "2.0.0 OK (simulated)".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_part_decides() {
        let relay = Simulator::default();
        let answer = |id: &str, to: &str| relay.offer(id, to).map_or_else(|refused| refused.status.unwrap_or(0), |taken| taken.status);
        assert_eq!((answer("1", "bob@x.example"), answer("2", "Fail.ann@x.example"), answer("2", "fail@x.example")), (250, 550, 550));
        assert_eq!([answer("3", "defer@x"), answer("3", "defer@x"), answer("3", "defer@x")], [451, 250, 451]);
        assert_eq!([0; 4].map(|_| answer("4", "defer3.x@x")), [451, 451, 451, 250]);
        assert_eq!(answer("5", "fai@defer"), 250);
    }
}
