//! Ranges of keys, and the two directions in which lists go through them.

use crate::Order;

/// Keys from `low` to `high`, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

impl Span {
    /// What follows `key` in an order.
    pub(crate) fn after(self, order: Order, key: Option<i64>) -> Self {
        match (order, key) {
            (_, None) => self,
            (Order::Asc, Some(key)) => Self { low: self.low.max(key.saturating_add(1)), ..self },
            (Order::Desc, Some(key)) => Self { high: self.high.min(key.saturating_sub(1)), ..self },
        }
    }

    /// What does not come after `key` in an order.
    pub(crate) fn until(self, order: Order, key: Option<i64>) -> Self {
        match (order, key) {
            (_, None) => self,
            (Order::Asc, Some(key)) => Self { high: self.high.min(key), ..self },
            (Order::Desc, Some(key)) => Self { low: self.low.max(key), ..self },
        }
    }

    /// What lies from `low` to `high`.
    pub(crate) fn within(self, low: i64, high: i64) -> Self {
        Self { low: self.low.max(low), high: self.high.min(high) }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.low > self.high
    }

    pub(crate) fn contains(self, key: i64) -> bool {
        self.low <= key && key <= self.high
    }

    /// Its last key in an order.
    pub(crate) fn end(self, order: Order) -> i64 {
        match order {
            Order::Asc => self.high,
            Order::Desc => self.low,
        }
    }
}

/// The key before one in an order.
pub(crate) fn before(order: Order, key: i64) -> i64 {
    match order {
        Order::Asc => key.saturating_sub(1),
        Order::Desc => key.saturating_add(1),
    }
}

/// Puts keys in order.
pub(crate) fn sort(keys: &mut [i64], order: Order) {
    match order {
        Order::Asc => keys.sort_unstable(),
        Order::Desc => keys.sort_unstable_by(|a, b| b.cmp(a)),
    }
}
