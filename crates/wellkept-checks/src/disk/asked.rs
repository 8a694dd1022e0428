//! Asking a file system, which may hang for good: on the caller's thread, and never on two threads for the same path.
//!
//! A thread that hangs in the kernel can't be ended. The engine starts no run on top of one that hangs, and counts it;
//! another component on the same path, or the same one after a reload, would hang a thread of its own. Here it waits for
//! the one that is asking already, for as long as its own run may last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Who is asking what. One entry for each path that is being asked now, so no more than there are paths.
pub(crate) struct Asked<T> {
    under_way: Mutex<BTreeMap<PathBuf, Arc<Answer<T>>>>,
}

struct Answer<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

enum State<T> {
    Asking,
    Told(T),
    /// Whoever asked panicked.
    Lost,
}

impl<T: Clone> Asked<T> {
    pub(crate) const fn nothing() -> Self {
        Self { under_way: Mutex::new(BTreeMap::new()) }
    }

    /// The answer of `ask`, or that of whoever is asking about this path already. `None` when that one does not come
    /// until `deadline`. Blocks: if it is the one to ask, for as long as that takes.
    pub(crate) fn ask(&self, path: &Path, deadline: Instant, ask: impl FnOnce(&Path) -> T) -> Option<T> {
        let mut under_way = locked(&self.under_way);
        if let Some(answer) = under_way.get(path).cloned() {
            drop(under_way);
            return answer.wait(deadline);
        }
        let answer = Arc::new(Answer { state: Mutex::new(State::Asking), changed: Condvar::new() });
        under_way.insert(path.to_owned(), Arc::clone(&answer));
        drop(under_way);
        // Also when `ask` panics, the next one can ask.
        let landing = Landing { asked: self, path, answer };
        let told = ask(path);
        landing.answer.tell(State::Told(told.clone()));
        Some(told)
    }
}

impl<T: Clone> Answer<T> {
    fn tell(&self, told: State<T>) {
        *locked(&self.state) = told;
        self.changed.notify_all();
    }

    fn wait(&self, deadline: Instant) -> Option<T> {
        let left = deadline.saturating_duration_since(Instant::now());
        let asking = |state: &mut State<T>| matches!(state, State::Asking);
        let waited = self.changed.wait_timeout_while(locked(&self.state), left, asking);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Told(told) => Some(told.clone()),
            State::Asking | State::Lost => None,
        }
    }
}

struct Landing<'a, T: Clone> {
    asked: &'a Asked<T>,
    path: &'a Path,
    answer: Arc<Answer<T>>,
}

impl<T: Clone> Drop for Landing<'_, T> {
    fn drop(&mut self) {
        locked(&self.asked.under_way).remove(self.path);
        if matches!(*locked(&self.answer.state), State::Asking) {
            self.answer.tell(State::Lost);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn while_one_asks_nobody_else_does_and_all_hear_the_answer() {
        static ASKED: Asked<u32> = Asked::nothing();
        let (asks, path) = (AtomicUsize::new(0), Path::new("/hung"));
        let (release, hold) = mpsc::channel::<()>();
        let (asking, waiting) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let asks = &asks;
            scope.spawn(move || {
                let told = ASKED.ask(path, Instant::now(), |_| {
                    asks.fetch_add(1, Ordering::Relaxed);
                    asking.send(()).unwrap();
                    hold.recv_timeout(PATIENCE).unwrap();
                    7
                });
                assert_eq!(told, Some(7), "whoever asks has its answer, however late");
            });
            waiting.recv_timeout(PATIENCE).unwrap();
            let impatient = ASKED.ask(path, Instant::now() + Duration::from_millis(20), |_| unreachable!());
            assert_eq!(impatient, None);
            assert_eq!(ASKED.ask(Path::new("/other"), Instant::now(), |_| 8), Some(8), "another path is another question");
            let patient = scope.spawn(|| ASKED.ask(path, Instant::now() + PATIENCE, |_| unreachable!()));
            release.send(()).unwrap();
            assert!(matches!(patient.join(), Ok(Some(7)) | Err(_)));
        });
        assert_eq!(asks.load(Ordering::Relaxed), 1);
        assert_eq!(ASKED.ask(path, Instant::now(), |_| 9), Some(9), "afterwards it is asked again");
        assert!(locked(&ASKED.under_way).is_empty());
    }

    #[test]
    fn a_question_that_panicked_is_asked_again() {
        static ASKED: Asked<u32> = Asked::nothing();
        let path = Path::new("/odd");
        assert!(thread::spawn(move || ASKED.ask(path, Instant::now(), |_| panic!("odd"))).join().is_err());
        assert_eq!(ASKED.ask(path, Instant::now(), |_| 1), Some(1));
    }
}
