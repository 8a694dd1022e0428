//! A store that may hang, such as one on a disk that is gone: nobody waits for it for longer than a while.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::{StoreFault, Version, VersionId, VersionStore};
use crate::content::Content;

/// A store whose calls each run on a thread of their own and are given up after a while. One that hangs holds that one
/// thread; until it returns, every call fails at once.
#[derive(Debug)]
pub(crate) struct Patient {
    patience: Duration,
    /// Absent while a call has it, be it one that was given up.
    store: Arc<Mutex<Option<Store>>>,
}

type Store = Box<dyn VersionStore>;

impl Patient {
    pub(crate) fn new(store: Store, patience: Duration) -> Self {
        Self { patience, store: Arc::new(Mutex::new(Some(store))) }
    }

    fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn VersionStore) -> Result<R, StoreFault> + Send + 'static,
    ) -> Result<R, StoreFault> {
        // Taken here and not on the thread, which may begin late: whoever calls meanwhile is told that one is under way.
        let Some(store) = lock(&self.store).take() else { return Err(away()) };
        // Not the thread's before it runs: where none can be started the store comes back.
        let handed = Arc::new(Mutex::new(Some(store)));
        let (told, answer) = sync_channel(1);
        let (place, taken) = (Arc::clone(&self.store), Arc::clone(&handed));
        let run = move || {
            let Some(mut store) = lock(&taken).take() else { return };
            // It may be the application's own: it comes back whatever it does.
            let result = catch_unwind(AssertUnwindSafe(|| work(store.as_mut())));
            *lock(&place) = Some(store);
            // Who gave up hears nothing.
            let _ = told.send(result.unwrap_or_else(|_| Err(fault("store.panicked", "it panicked"))));
        };
        if let Err(error) = thread::Builder::new().name("wk-versions".to_owned()).spawn(run) {
            *lock(&self.store) = lock(&handed).take();
            return Err(fault("store.io", format!("a thread can't be started: {error}")));
        }
        answer.recv_timeout(self.patience).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => {
                Err(fault("store.slow", format!("it does not answer within {:?}", self.patience)))
            }
            RecvTimeoutError::Disconnected => Err(fault("store.gone", "its thread was ended")),
        })
    }
}

impl VersionStore for Patient {
    fn append(&mut self, version: &Version, content: Option<&Content>, keep: usize) -> Result<VersionId, StoreFault> {
        let (version, content) = (version.clone(), content.cloned());
        self.call(move |store| store.append(&version, content.as_ref(), keep))
    }

    fn versions(&mut self) -> Result<Vec<Version>, StoreFault> {
        self.call(<dyn VersionStore>::versions)
    }

    fn content(&mut self, id: VersionId) -> Result<Option<Content>, StoreFault> {
        self.call(move |store| store.content(id))
    }
}

fn lock(place: &Mutex<Option<Store>>) -> MutexGuard<'_, Option<Store>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

fn away() -> StoreFault {
    fault("store.slow", "a call before has not ended yet")
}

fn fault(code: &'static str, detail: impl Into<String>) -> StoreFault {
    StoreFault { code, detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::versions::MemoryVersions;

    /// A store that does nothing until it is told to.
    #[derive(Debug)]
    struct Held(MemoryVersions, Receiver<Action>);

    #[derive(Debug)]
    enum Action {
        Answer,
        Panic,
    }

    impl Held {
        fn new() -> (Self, Sender<Action>) {
            let (sender, receiver) = channel();
            (Self(MemoryVersions::default(), receiver), sender)
        }
    }

    impl VersionStore for Held {
        fn append(&mut self, _: &Version, _: Option<&Content>, _: usize) -> Result<VersionId, StoreFault> {
            unreachable!("nobody asks for it")
        }

        fn versions(&mut self) -> Result<Vec<Version>, StoreFault> {
            match self.1.recv().expect("the test goes on") {
                Action::Answer => self.0.versions(),
                Action::Panic => panic!("as the test wants it"),
            }
        }

        fn content(&mut self, id: VersionId) -> Result<Option<Content>, StoreFault> {
            self.0.content(id)
        }
    }

    #[test]
    fn a_store_that_hangs_is_given_up_and_used_again_once_it_answers() {
        let (store, tell) = Held::new();
        let mut patient = Patient::new(Box::new(store), Duration::from_millis(1));
        assert_eq!(patient.versions().unwrap_err().code, "store.slow");
        for _ in 0..100 {
            let fault = patient.content(VersionId(1)).unwrap_err();
            assert_eq!(fault.detail, "a call before has not ended yet", "and no further thread is held");
        }
        tell.send(Action::Answer).unwrap();
        patient.patience = Duration::from_secs(30);
        // It comes back in its own time.
        while patient.content(VersionId(1)).is_err() {
            thread::yield_now();
        }
        tell.send(Action::Answer).unwrap();
        assert_eq!(patient.versions().unwrap(), []);
    }

    #[test]
    fn a_store_that_panics_is_kept() {
        let (store, tell) = Held::new();
        let mut patient = Patient::new(Box::new(store), Duration::from_secs(30));
        tell.send(Action::Panic).unwrap();
        assert_eq!(patient.versions().unwrap_err().code, "store.panicked");
        tell.send(Action::Answer).unwrap();
        assert_eq!(patient.versions().unwrap(), []);
    }
}
