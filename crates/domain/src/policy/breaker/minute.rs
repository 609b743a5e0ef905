//! Success and failure over the last minute, forgotten in steps of five seconds.
//!
//! Slots from after a clock that went back do not count, and are written over when their time comes.

/// Length of a slot of [`Minute`].
const SLOT_MS: i64 = 5000;

/// Outcomes of the last minute, in slots of five seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Minute {
    slots: [Slot; 12],
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    number: i64,
    failed: u32,
    total: u32,
}

impl Minute {
    /// Counts one attempt.
    pub(super) fn count(&mut self, now_ms: i64, success: bool) {
        let number = now_ms.div_euclid(SLOT_MS);
        let index = usize::try_from(number.rem_euclid(12)).expect("a remainder by 12 is 0 to 11");
        let slot = &mut self.slots[index];
        if slot.number != number {
            *slot = Slot { number, failed: 0, total: 0 };
        }
        slot.total = slot.total.saturating_add(1);
        slot.failed = slot.failed.saturating_add(u32::from(!success));
    }

    /// Failed and all attempts.
    pub(super) fn totals(&self, now_ms: i64) -> (u32, u32) {
        let newest = now_ms.div_euclid(SLOT_MS);
        self.slots
            .iter()
            .filter(|slot| (newest - 11..=newest).contains(&slot.number))
            .fold((0, 0), |(failed, total), slot| (failed.saturating_add(slot.failed), total.saturating_add(slot.total)))
    }
}
