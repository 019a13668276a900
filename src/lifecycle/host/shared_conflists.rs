//! Equal conflists are one in memory: a thousand attachments of a network share one conflist.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::cni::NetworkConfigList;

/// The conflists that some attachment has.
#[derive(Debug, Default)]
pub(crate) struct SharedConflists {
    known: Mutex<Vec<Weak<NetworkConfigList>>>,
}

impl SharedConflists {
    /// The conflist that is equal to `list`, or `list` itself if there is none.
    pub(crate) fn share(&self, list: impl Into<Arc<NetworkConfigList>>) -> Arc<NetworkConfigList> {
        let list = list.into();
        // Whole even if a holder panicked: every change is one step.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|list| list.strong_count() > 0);
        if let Some(equal) = known.iter().filter_map(Weak::upgrade).find(|it| *it == list) {
            return equal;
        }
        known.push(Arc::downgrade(&list));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::embedded;

    #[test]
    fn equal_lists_are_one_as_long_as_somebody_has_it() {
        let lists = SharedConflists::default();
        let first = lists.share(embedded().unwrap());
        assert!(Arc::ptr_eq(&first, &lists.share(embedded().unwrap())));
        let other = lists.share(embedded().unwrap().without("portmap"));
        assert!(!Arc::ptr_eq(&first, &other));
        drop((first, other));
        lists.share(embedded().unwrap());
        assert_eq!(lists.known.lock().unwrap().len(), 1);
    }
}
