//! Large events are in memory once, however many deliveries of them are: a mail with files and a thousand recipients is read page by page,
//! and each page would bring a copy.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use posthaste_domain::event::Event;
use posthaste_domain::id::Sequence;

/// Bytes from which on sharing is worth a lookup.
const LARGE: usize = 64 << 10;

/// The large events that somebody holds. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct LargeEvents {
    held: Arc<Mutex<HashMap<Sequence, Weak<Event>>>>,
}

impl LargeEvents {
    /// Takes the copy that is there already, or remembers this one.
    pub fn share(&self, event: &mut Arc<Event>) {
        if event.payload.len() < LARGE {
            return;
        }
        let mut held = self.held.lock();
        if let Some(known) = held.get(&event.sequence).and_then(Weak::upgrade) {
            *event = known;
            return;
        }
        held.retain(|_, event| event.strong_count() > 0);
        held.insert(event.sequence, Arc::downgrade(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use posthaste_domain::event::Source;

    #[test]
    fn one_copy_is_held_as_long_as_somebody_needs_it() {
        let event = |bytes: usize| {
            let source = Arc::new(Source { via: "test".into(), key: None, ip: None });
            let payload = Bytes::from(vec![b'x'; bytes]);
            Arc::new(Event { sequence: Sequence(7), workspace: 1, type_name: None, payload, source, received_ms: 0 })
        };
        let events = LargeEvents::default();
        let (mut first, mut second) = (event(LARGE), event(LARGE));
        events.share(&mut first);
        events.share(&mut second);
        assert!(Arc::ptr_eq(&first, &second));
        drop((first, second));
        let mut third = event(LARGE);
        events.share(&mut third);
        assert_eq!((Arc::strong_count(&third), events.held.lock().len()), (1, 1));
        let mut small = event(1);
        events.share(&mut small);
        assert_eq!(small.payload.len(), 1, "small events are left alone");
    }
}
