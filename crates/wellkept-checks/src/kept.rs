//! What one run leaves to the next: a connection, a sample.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// A place for what one run leaves to the next. A run takes it out and puts it back when it ended well; a run that is
/// dropped in between drops what it had taken. No lock is held in between, so runs on top of each other are safe: the
/// second one finds the place empty.
pub(crate) struct Kept<T>(Mutex<Option<T>>);

impl<T> Kept<T> {
    pub(crate) fn nothing() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn put(&self, value: T) {
        let previous = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(value);
        // Closed outside of the lock.
        drop(previous);
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Kept")
    }
}
