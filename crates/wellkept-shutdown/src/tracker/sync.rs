//! What the counts are made of: the atomics, and a bell that wakes all who wait. Under the model checker its own types
//! stand in, with the same promises.

#[cfg(not(wellkept_model))]
pub(super) use earnest::{AtomicBool, AtomicU64, AtomicUsize, Bell, Ordering};
#[cfg(wellkept_model)]
pub(super) use model::{AtomicBool, AtomicU64, AtomicUsize, Bell, Ordering};

#[cfg(not(wellkept_model))]
mod earnest {
    use std::pin::Pin;
    pub(in crate::tracker) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

    use tokio::sync::Notify;
    use tokio::sync::futures::Notified;

    /// Whoever is enlisted before the bell rings is woken by it.
    #[derive(Debug)]
    pub(in crate::tracker) struct Bell(Notify);

    impl Bell {
        pub(in crate::tracker) fn new() -> Self {
            Self(Notify::new())
        }

        /// Ends with the next ring after it was enlisted.
        pub(in crate::tracker) fn rung(&self) -> Notified<'_> {
            self.0.notified()
        }

        pub(in crate::tracker) fn enlist(rung: Pin<&mut Notified<'_>>) {
            rung.enable();
        }

        pub(in crate::tracker) fn ring(&self) {
            self.0.notify_waiters();
        }
    }
}

#[cfg(wellkept_model)]
mod model;
