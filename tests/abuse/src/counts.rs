//! What was done, and what came of it, by name.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts(Arc<Mutex<BTreeMap<String, u64>>>);

impl Counts {
    pub(crate) fn add(&self, name: &str, count: u64) {
        let mut counts = self.lock();
        match counts.get_mut(name) {
            Some(so_far) => *so_far += count,
            None => drop(counts.insert(name.to_owned(), count)),
        }
    }

    pub(crate) fn one(&self, name: &str) {
        self.add(name, 1);
    }

    /// Says all of it, in one line. Nobody may be left who listens: then it is about to end.
    pub(crate) fn say(&self) {
        let line = serde_json::to_string(&*self.lock()).unwrap_or_default();
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }

    /// Nothing panics while it holds this lock.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
