//! Equal values are one in memory: attachments of one network have the same settings, mostly.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The values that some attachment has.
pub(super) struct Equal<T>(Mutex<BTreeSet<Arc<T>>>);

impl<T: Ord> Equal<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(BTreeSet::new()))
    }

    /// The value that is equal to this one, or this one if nobody has such a value.
    pub(super) fn share(&self, value: T) -> Arc<T> {
        // Whole even if a holder panicked: every change is one step.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(equal) = known.get(&value) {
            return Arc::clone(equal);
        }
        known.retain(|value| Arc::strong_count(value) > 1);
        let value = Arc::new(value);
        known.insert(Arc::clone(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_as_long_as_somebody_has_it() {
        let values = Equal::new();
        let first = values.share("one");
        assert!(Arc::ptr_eq(&first, &values.share("one")));
        let other = values.share("two");
        assert!(!Arc::ptr_eq(&first, &other));
        drop((first, other));
        values.share("three");
        assert_eq!(values.0.lock().unwrap().len(), 1);
    }
}
