//! Room in memory for answers: a bound in bytes on those that are kept or on their way. Where it is short, readers that
//! take long go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::server::Arrival;

/// How long a reader may take when others wait for room.
const PATIENCE: Duration = Duration::from_secs(1);
const KIB: usize = 1024;

/// Room for answers. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Room {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    free: Arc<Semaphore>,
    kibibytes: u32,
    /// Those who are reading, by the order of their coming.
    readers: Mutex<BTreeMap<u64, Reader>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Reader {
    since: Instant,
    arrival: Option<Arrival>,
}

/// An answer that has its room until nobody has it any more.
#[derive(Debug, Clone)]
pub(super) struct Held {
    body: Bytes,
    _room: Arc<OwnedSemaphorePermit>,
}

impl Room {
    /// Room for so much.
    pub(super) fn of_mebibytes(mebibytes: u32) -> Self {
        let kibibytes = mebibytes * 1024;
        let free = Arc::new(Semaphore::new(kibibytes as usize));
        let inner = Inner { free, kibibytes, readers: Mutex::default(), next: AtomicU64::new(0) };
        Self { inner: Arc::new(inner) }
    }

    /// Takes room for an answer, or has those go that keep it for long. One that is larger than all the room there is
    /// takes all of it.
    pub(super) fn hold(&self, body: Bytes) -> Option<Held> {
        let needed = u32::try_from(body.len() / KIB + 1).unwrap_or(u32::MAX).min(self.inner.kibibytes);
        let permit = Arc::clone(&self.inner.free).try_acquire_many_owned(needed);
        permit.map(|permit| Held { body, _room: Arc::new(permit) }).inspect_err(|_| self.end_slow_readers()).ok()
    }

    /// The answer for one reader.
    pub(super) fn body_for(&self, held: &Held, arrival: Option<&Arrival>) -> Bytes {
        let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let reader = Reader { since: Instant::now(), arrival: arrival.cloned() };
        self.inner.readers().insert(number, reader);
        Bytes::from_owner(BeingRead { held: held.clone(), number, room: Arc::clone(&self.inner) })
    }

    fn end_slow_readers(&self) {
        let slow: Vec<Arrival> = {
            let readers = self.inner.readers();
            let slow = readers.values().take_while(|reader| reader.since.elapsed() > PATIENCE);
            slow.filter_map(|reader| reader.arrival.clone()).collect()
        };
        // Ending one drops what it reads, which is no longer under the lock here.
        for arrival in slow {
            arrival.end_slow_connection();
        }
    }
}

#[cfg(test)]
impl Room {
    /// KiB that are free.
    pub(super) fn free(&self) -> usize {
        self.inner.free.available_permits()
    }

    pub(super) fn take_all(&self) -> OwnedSemaphorePermit {
        let all = u32::try_from(self.free()).unwrap();
        Arc::clone(&self.inner.free).try_acquire_many_owned(all).unwrap()
    }
}

impl Inner {
    /// Nothing that panics leaves anything half-done under this lock.
    fn readers(&self) -> MutexGuard<'_, BTreeMap<u64, Reader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that one reader has not taken yet.
struct BeingRead {
    held: Held,
    number: u64,
    room: Arc<Inner>,
}

impl AsRef<[u8]> for BeingRead {
    fn as_ref(&self) -> &[u8] {
        &self.held.body
    }
}

impl Drop for BeingRead {
    fn drop(&mut self) {
        self.room.readers().remove(&self.number);
    }
}

#[cfg(test)]
mod tests;
