//! What the shutdown closes: typed, with a priority, what stands on it, a closer and a time limit.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::closer::{Closer, IntoClosed};

const DEFAULT_PRIORITY: i32 = 100;
const MAX_RESOURCES: usize = 10_000;
/// A blocking closer takes a thread.
const MAX_AT_ONCE: usize = 64;

/// What kind of thing is closed; for reports and metrics only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceType {
    /// A database pool or connection.
    Database,
    /// A Redis client.
    Redis,
    /// An HTTP client or its pool.
    HttpClient,
    /// An open file.
    FileHandle,
    /// Anything else.
    Custom,
}

impl ResourceType {
    /// The stable word used in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Redis => "redis",
            Self::HttpClient => "http_client",
            Self::FileHandle => "file_handle",
            Self::Custom => "custom",
        }
    }
}

/// Something to close when the work is over. Lower priorities close first; within one priority, what was registered
/// last closes first, because it may stand on what came before. One closes at a time, unless it is
/// [`parallel`](Self::parallel).
///
/// ```
/// # use wellkept_shutdown::{Resource, ResourceType, Settings, Shutdown};
/// # struct Pool;
/// # impl Pool { async fn close(self) {} }
/// # let (pool, client) = (Pool, ());
/// # let (shutdown, _sequence) = Shutdown::new(Settings::default());
/// // As pools of sqlx close; one whose connections are not given back is left behind after 5 s.
/// let pool = Resource::new("pool", ResourceType::Database, async move || pool.close().await);
/// let pool = shutdown.register(pool)?;
/// // A client of redis or reqwest closes by being dropped.
/// shutdown.register(Resource::dropped("cache", ResourceType::Redis, client).stands_on(pool))?;
/// shutdown.register(Resource::temporary("uploads", std::env::temp_dir().join("orders-uploads")))?;
/// # Ok::<(), wellkept_shutdown::RegisterError>(())
/// ```
pub struct Resource {
    pub(crate) name: String,
    pub(crate) kind: ResourceType,
    pub(crate) priority: i32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) closer: Closer,
    company: Company,
    stands_on: Vec<ResourceId>,
}

/// Who may be closing at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    Nobody,
    /// Those of the same priority that may have company too.
    SamePriority,
}

impl Resource {
    /// A resource closed by a future, which is dropped when its time is over. It may return nothing or a result.
    pub fn new<F, Fut>(name: impl Into<String>, kind: ResourceType, close: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: IntoClosed> + Send + 'static,
    {
        Self::with(name.into(), kind, Closer::future(close))
    }

    /// A resource closed by a function that blocks. It runs on a thread of its own, which is left behind when its time
    /// is over.
    pub fn blocking<F, T>(name: impl Into<String>, kind: ResourceType, close: F) -> Self
    where
        F: FnOnce() -> T + Send + 'static,
        T: IntoClosed,
    {
        Self::with(name.into(), kind, Closer::blocking(close))
    }

    /// A resource that is closed by being dropped, on a thread of its own: a client, a connection, a lock. What others still
    /// hold of it stays open.
    pub fn dropped<T: Send + 'static>(name: impl Into<String>, kind: ResourceType, value: T) -> Self {
        Self::blocking(name, kind, move || drop(value))
    }

    /// A file whose content is brought to the disk before it is closed (`fsync`).
    pub fn file(name: impl Into<String>, file: File) -> Self {
        Self::blocking(name, ResourceType::FileHandle, move || file.sync_all())
    }

    /// A file or folder, with all that is in it, that is removed. One that is gone already is as good; a link is removed and
    /// not followed.
    pub fn temporary(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self::blocking(name, ResourceType::FileHandle, move || {
            let removed = match std::fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => std::fs::remove_dir_all(&path),
                Ok(_) => std::fs::remove_file(&path),
                Err(error) => Err(error),
            };
            removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        })
    }

    /// Sets the priority, 100 by default. Lower closes first.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the time limit, [`Settings::resource`](crate::Settings::resource) by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Lets it close at the same time as others of its priority that are parallel too, at most 64 at once. Those that are
    /// not wait until these are closed, in the order of their turn.
    #[must_use]
    pub fn parallel(mut self) -> Self {
        self.company = Company::SamePriority;
        self
    }

    /// Has `base` closed only when this one is closed (or has failed to), whatever their priorities are. As a base has to
    /// be registered before, there can be no cycle. One that was taken back meanwhile is no base any more.
    #[must_use]
    pub fn stands_on(mut self, base: ResourceId) -> Self {
        self.stands_on.push(base);
        self
    }

    fn with(name: String, kind: ResourceType, closer: Closer) -> Self {
        let (company, stands_on) = (Company::Nobody, Vec::new());
        Self { name, kind, priority: DEFAULT_PRIORITY, timeout: None, closer, company, stands_on }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Resource")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("priority", &self.priority)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Names a registered resource, to take it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResourceId(u64);

/// Why a resource was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RegisterError {
    /// The resources are being closed already.
    #[error("the resources are being closed already")]
    Closing,
    /// 10,000 resources are registered: most likely each request registers one and nothing takes it back.
    #[error("too many resources are registered")]
    TooMany,
}

impl RegisterError {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Closing => "shutdown.closing",
            Self::TooMany => "shutdown.too_many_resources",
        }
    }
}

/// The registered resources, in the order of registration, and which of them are closing.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    next: u64,
    entries: Vec<(ResourceId, Resource)>,
    running: Vec<Running>,
    /// How many wait that stand on it, for each base.
    carried: HashMap<ResourceId, usize>,
    closing: bool,
}

/// One whose closer runs.
#[derive(Debug)]
struct Running {
    id: ResourceId,
    priority: i32,
    company: Company,
    stands_on: Vec<ResourceId>,
}

impl Registry {
    /// Gives a refused resource back: what is dropped under the caller's lock might come back to it.
    pub(crate) fn register(&mut self, mut resource: Resource) -> Result<ResourceId, (RegisterError, Box<Resource>)> {
        if self.closing {
            return Err((RegisterError::Closing, Box::new(resource)));
        }
        if self.entries.len() >= MAX_RESOURCES {
            return Err((RegisterError::TooMany, Box::new(resource)));
        }
        let id = ResourceId(self.next);
        self.next += 1;
        // Another shutdown's id might be one that comes later here, and then there could be a cycle.
        resource.stands_on.retain(|base| base.0 < id.0);
        for base in &resource.stands_on {
            *self.carried.entry(*base).or_default() += 1;
        }
        self.entries.push((id, resource));
        Ok(id)
    }

    /// Gives the resource back, for the same reason.
    pub(crate) fn unregister(&mut self, id: ResourceId) -> Option<Resource> {
        let index = self.entries.iter().position(|(other, _)| *other == id)?;
        let (_, resource) = self.entries.remove(index);
        self.lift(&resource.stands_on);
        Some(resource)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// From now on nothing is registered. Tells how many there are.
    pub(crate) fn close(&mut self) -> usize {
        if !self.closing {
            self.closing = true;
            // From the back, in the order in which they close if nothing stands in the way.
            self.entries.sort_by_key(|(id, resource)| (std::cmp::Reverse(resource.priority), id.0));
        }
        self.entries.len()
    }

    /// One that may begin to close now, beside those that are closing. None left, or the turn of the next has not come:
    /// ask again when one [has ended](Self::ended). To be called after [`close`](Self::close).
    pub(crate) fn begin_next(&mut self) -> Option<(ResourceId, Resource)> {
        let free = |(id, _): &(ResourceId, Resource)| self.carried.get(id).is_none_or(|count| *count == 0);
        let index = self.entries.iter().rposition(free)?;
        let (_, next) = self.entries.get(index)?;
        let fits = |running: &Running| {
            (running.company, next.company) == (Company::SamePriority, Company::SamePriority)
                && running.priority == next.priority
        };
        if self.running.len() >= MAX_AT_ONCE || !self.running.iter().all(fits) {
            return None;
        }
        let (id, mut resource) = self.entries.remove(index);
        let stands_on = std::mem::take(&mut resource.stands_on);
        self.running.push(Running { id, priority: resource.priority, company: resource.company, stands_on });
        Some((id, resource))
    }

    /// The closer of this one has ended, in whatever way.
    pub(crate) fn ended(&mut self, id: ResourceId) {
        if let Some(index) = self.running.iter().position(|running| running.id == id) {
            let running = self.running.swap_remove(index);
            self.lift(&running.stands_on);
        }
    }

    /// Takes out the next of those that will not be closed.
    pub(crate) fn skip_next(&mut self) -> Option<(ResourceId, Resource)> {
        self.entries.pop()
    }

    /// What stood on these does so no more.
    fn lift(&mut self, bases: &[ResourceId]) {
        for base in bases {
            if let Some(count) = self.carried.get_mut(base) {
                *count = count.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resource(name: &str, priority: i32) -> Resource {
        Resource::new(name, ResourceType::Custom, || async {}).priority(priority)
    }

    /// Closes everything, each time the one that has been closing for the longest. Tells which were closing together.
    fn rounds(registry: &mut Registry) -> Vec<Vec<String>> {
        registry.close();
        let mut closing = std::collections::VecDeque::new();
        let mut rounds = Vec::new();
        loop {
            let before = closing.len();
            closing.extend(std::iter::from_fn(|| registry.begin_next()).map(|(id, resource)| (id, resource.name)));
            if closing.len() > before {
                rounds.push(closing.iter().map(|(_, name)| name.clone()).collect());
            }
            let Some((id, _)) = closing.pop_front() else { return rounds };
            registry.ended(id);
        }
    }

    fn order(registry: &mut Registry) -> Vec<String> {
        rounds(registry).into_iter().map(|mut round| round.pop().unwrap()).collect()
    }

    proptest! {
        #[test]
        fn lower_priorities_come_first_and_the_last_registered_first_within_one(
            priorities in proptest::collection::vec(-3..3_i32, 0..40)
        ) {
            let mut registry = Registry::default();
            for (index, priority) in priorities.iter().enumerate() {
                registry.register(resource(&index.to_string(), *priority)).unwrap();
            }
            let order: Vec<_> = order(&mut registry)
                .into_iter()
                .map(|name| name.parse::<usize>().unwrap())
                .map(|index| (priorities[index], std::cmp::Reverse(index)))
                .collect();
            prop_assert_eq!(order.len(), priorities.len());
            prop_assert!(order.is_sorted());
        }

        #[test]
        fn each_closes_once_and_never_before_what_stands_on_it(
            shape in proptest::collection::vec(
                (-3..3_i32, any::<bool>(), proptest::collection::vec(any::<proptest::sample::Index>(), 0..3)), 0..30,
            ),
            choices in proptest::collection::vec(any::<proptest::sample::Index>(), 30),
        ) {
            let mut registry = Registry::default();
            let mut known = Vec::new();
            let mut edges = Vec::new();
            for (priority, parallel, bases) in &shape {
                let mut new = resource(&known.len().to_string(), *priority);
                if *parallel {
                    new = new.parallel();
                }
                for base in bases {
                    if !known.is_empty() {
                        let base = base.get(&known);
                        edges.push((known.len(), known.iter().position(|id| id == base).unwrap()));
                        new = new.stands_on(*base);
                    }
                }
                known.push(registry.register(new).unwrap());
            }
            prop_assert_eq!(registry.close(), shape.len());
            let (mut closing, mut ended) = (Vec::new(), Vec::new());
            let mut choices = choices.iter();
            loop {
                while let Some((id, _)) = registry.begin_next() {
                    let index = known.iter().position(|known| *known == id).unwrap();
                    prop_assert!(!ended.contains(&index) && !closing.contains(&index));
                    for (above, base) in &edges {
                        prop_assert!(*base != index || ended.contains(above), "{above} stands on {base}");
                    }
                    closing.push(index);
                    let alone = closing.len() == 1;
                    prop_assert!(alone || closing.iter().all(|one| shape[*one].1 && shape[*one].0 == shape[index].0));
                }
                if closing.is_empty() {
                    break;
                }
                let index = choices.next().unwrap().index(closing.len());
                let one = closing.swap_remove(index);
                registry.ended(known[one]);
                ended.push(one);
            }
            prop_assert_eq!(ended.len(), shape.len(), "nothing is left behind");
        }
    }

    #[test]
    fn what_is_parallel_closes_with_its_own_priority_and_the_others_alone() {
        let mut registry = Registry::default();
        for (name, priority, parallel) in
            [("alone", 1, false), ("a", 1, true), ("b", 1, true), ("later", 2, true), ("first", 0, true)]
        {
            let one = resource(name, priority);
            registry.register(if parallel { one.parallel() } else { one }).unwrap();
        }
        assert_eq!(rounds(&mut registry), [vec!["first"], vec!["b", "a"], vec!["alone"], vec!["later"]]);
    }

    #[test]
    fn what_stands_on_another_closes_before_it_whatever_the_priorities_say() {
        let mut registry = Registry::default();
        let pool = registry.register(resource("pool", 1)).unwrap();
        registry.register(resource("cache", 50).stands_on(pool)).unwrap();
        let gone = registry.register(resource("taken back", 80).stands_on(pool)).unwrap();
        registry.register(resource("other", 20)).unwrap();
        assert!(registry.unregister(gone).is_some());
        assert_eq!(order(&mut registry), ["other", "cache", "pool"]);
    }

    #[test]
    fn no_more_than_64_close_at_once() {
        let mut registry = Registry::default();
        for number in 0..100 {
            registry.register(resource(&number.to_string(), 1).parallel()).unwrap();
        }
        registry.close();
        assert_eq!(std::iter::from_fn(|| registry.begin_next()).count(), MAX_AT_ONCE);
    }

    #[test]
    fn a_resource_taken_back_is_not_closed_and_none_is_taken_while_closing() {
        let mut registry = Registry::default();
        let id = registry.register(resource("a", 1)).unwrap();
        registry.register(resource("b", 1)).unwrap();
        assert!(registry.unregister(id).is_some());
        assert!(registry.unregister(id).is_none());
        assert_eq!(registry.close(), 1);
        assert_eq!(registry.register(resource("c", 1)).unwrap_err().0, RegisterError::Closing);
        assert_eq!(registry.begin_next().unwrap().1.name, "b");
    }

    #[test]
    fn a_leak_of_registrations_is_refused() {
        let mut registry = Registry::default();
        for _ in 0..MAX_RESOURCES {
            registry.register(resource("a", 1)).unwrap();
        }
        assert_eq!(registry.register(resource("a", 1)).unwrap_err().0, RegisterError::TooMany);
    }
}
