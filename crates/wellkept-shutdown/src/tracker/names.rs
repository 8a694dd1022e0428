//! The names of what is in flight, for those who ask who holds the shutdown up.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use slab::Slab;

/// Threads beyond this many share their part with another.
const PARTS: usize = 16;

/// What something in flight is called. Names are for operators: no secrets, please.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    category: Cow<'static, str>,
    name: Cow<'static, str>,
    detail: Cow<'static, str>,
}

impl Work {
    /// Of a category with few members (`import`, `consumer`, `websocket`), with a name of its own within it.
    pub fn new(category: impl Into<Cow<'static, str>>, name: impl Into<Cow<'static, str>>) -> Self {
        Self { category: category.into(), name: name.into(), detail: Cow::Borrowed("") }
    }

    /// Adds what helps to find it: a peer, an id.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }
}

/// Which count it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InFlightKind {
    /// A connection.
    Connection,
    /// A request, or another unit of work.
    Request,
}

/// Something that is there and has a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InFlight {
    /// Which count it is in.
    pub kind: InFlightKind,
    /// The category it was begun with.
    pub category: Cow<'static, str>,
    /// Its name.
    pub name: Cow<'static, str>,
    /// What helps to find it; may be empty.
    pub detail: Cow<'static, str>,
    /// For how long it has been there, to some milliseconds.
    #[serde(rename = "age_seconds", serialize_with = "as_seconds")]
    pub age: Duration,
}

impl InFlight {
    /// What it is, without its age.
    pub(crate) fn described(&self) -> String {
        let Self { category, name, detail, .. } = self;
        if detail.is_empty() { format!("{category} {name}") } else { format!("{category} {name} ({detail})") }
    }
}

impl fmt::Display for InFlight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} for {:.1?}", self.described(), self.age)
    }
}

fn as_seconds<S: serde::Serializer>(age: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(age.as_secs_f64())
}

/// A part for each thread, so that two of them seldom want the same lock.
#[derive(Debug, Default)]
pub(super) struct Names {
    parts: [Part; PARTS],
}

/// On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part(Mutex<Slab<Entry>>);

#[derive(Debug)]
struct Entry {
    kind: InFlightKind,
    work: Work,
    since: Duration,
}

/// Where a name stands.
#[derive(Debug)]
pub(super) struct Place {
    part: usize,
    key: usize,
}

impl Names {
    pub(super) fn enter(&self, kind: InFlightKind, work: Work) -> Place {
        let part = part_of_this_thread();
        let key = self.part(part).map_or(0, |mut entries| entries.insert(Entry { kind, work, since: now() }));
        Place { part, key }
    }

    pub(super) fn leave(&self, Place { part, key }: Place) {
        // Taken out under the lock, and dropped after it.
        let _entry = self.part(part).and_then(|mut entries| entries.try_remove(key));
    }

    pub(super) fn list(&self, limit: usize) -> Vec<InFlight> {
        let now = now();
        let mut found = Vec::new();
        for part in 0..PARTS {
            let Some(entries) = self.part(part) else { continue };
            found.extend(entries.iter().map(|(_, Entry { kind, work, since })| InFlight {
                kind: *kind,
                category: work.category.clone(),
                name: work.name.clone(),
                detail: work.detail.clone(),
                age: now.saturating_sub(*since),
            }));
        }
        found.sort_by_key(|one| std::cmp::Reverse(one.age));
        found.truncate(limit);
        found
    }

    fn part(&self, part: usize) -> Option<MutexGuard<'_, Slab<Entry>>> {
        self.parts.get(part).map(|part| part.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn part_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PART: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    PART.with(|part| {
        if part.get() == usize::MAX {
            part.set(NEXT.fetch_add(1, Ordering::Relaxed) % PARTS);
        }
        part.get()
    })
}

/// A clock that is read in a few nanoseconds and steps by some milliseconds.
#[cfg(target_os = "linux")]
fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(not(target_os = "linux"))]
fn now() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed()
}
