//! What channels keep of settings they have parsed: bounded, and right by construction since the key changes with the settings.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Entries per generation; the cache holds two generations at most.
const GENERATION: usize = 16_384;

/// Values by settings key (target, version). The key `(0, 0)` is that of settings which belong to no saved target: nothing is kept.
pub(crate) struct Prepared<T> {
    generations: RwLock<Generations<T>>,
    size: usize,
}

/// An entry that was not used while a whole generation filled up is dropped with the older one.
struct Generations<T> {
    young: HashMap<i64, (i64, Arc<T>)>,
    old: HashMap<i64, (i64, Arc<T>)>,
}

impl<T> Default for Prepared<T> {
    fn default() -> Self {
        Self::of_size(GENERATION)
    }
}

impl<T> Prepared<T> {
    fn of_size(size: usize) -> Self {
        Self { generations: RwLock::new(Generations { young: HashMap::new(), old: HashMap::new() }), size }
    }

    /// The value of `key`, if it is at hand.
    pub(crate) fn peek(&self, (target, version): (i64, i64)) -> Option<Arc<T>> {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        let found = [&generations.young, &generations.old].into_iter().find_map(|kept| kept.get(&target));
        found.filter(|entry| entry.0 == version).map(|(_, value)| Arc::clone(value))
    }

    /// The value of `key`, made if it is not at hand. A newer version takes the place of an older one.
    pub(crate) fn get_or_make<E>(&self, key: (i64, i64), make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        if key == (0, 0) {
            return make().map(Arc::new);
        }
        let (target, version) = key;
        {
            let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, value)) = generations.young.get(&target).filter(|entry| entry.0 == version) {
                return Ok(Arc::clone(value));
            }
        }
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        let value = match generations.old.remove(&target) {
            Some((kept, value)) if kept == version => value,
            _ => Arc::new(make()?),
        };
        if generations.young.len() >= self.size && !generations.young.contains_key(&target) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(target, (version, Arc::clone(&value)));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_by_version_and_stays_bounded() {
        let cache = Prepared::of_size(2);
        let mut made = 0;
        let mut get = |key| {
            cache
                .get_or_make(key, || {
                    made += 1;
                    Ok::<_, ()>(made)
                })
                .map(|value| *value)
        };
        assert_eq!((get((1, 1)), get((1, 1)), get((1, 2)), get((1, 2))), (Ok(1), Ok(1), Ok(2), Ok(2)));
        assert_eq!((get((0, 0)), get((0, 0))), (Ok(3), Ok(4)));
        for target in 2..100 {
            assert!(get((target, 1)).is_ok());
            assert!(get((1, 2)) == Ok(2), "what is used stays");
        }
        let held = cache.generations.read().expect("lock");
        assert!(held.young.len() <= 2 && held.old.len() <= 2);
    }
}
