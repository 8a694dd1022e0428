//! What the shutdown closes: typed, with a priority, a closer and a time limit.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::closer::{Closer, IntoClosed};

const DEFAULT_PRIORITY: i32 = 100;
const MAX_RESOURCES: usize = 10_000;

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
/// last closes first, because it may stand on what came before.
pub struct Resource {
    pub(crate) name: String,
    pub(crate) kind: ResourceType,
    pub(crate) priority: i32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) closer: Closer,
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

    fn with(name: String, kind: ResourceType, closer: Closer) -> Self {
        Self { name, kind, priority: DEFAULT_PRIORITY, timeout: None, closer }
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

/// The registered resources, in the order of registration.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    next: u64,
    entries: Vec<(ResourceId, Resource)>,
    closing: bool,
}

impl Registry {
    pub(crate) fn register(&mut self, resource: Resource) -> Result<ResourceId, RegisterError> {
        if self.closing {
            return Err(RegisterError::Closing);
        }
        if self.entries.len() >= MAX_RESOURCES {
            return Err(RegisterError::TooMany);
        }
        let id = ResourceId(self.next);
        self.next += 1;
        self.entries.push((id, resource));
        Ok(id)
    }

    pub(crate) fn unregister(&mut self, id: ResourceId) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(other, _)| *other != id);
        self.entries.len() != before
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// From now on nothing is registered. Tells how many there are.
    pub(crate) fn close(&mut self) -> usize {
        self.closing = true;
        self.entries.len()
    }

    /// The next one to close.
    pub(crate) fn take_next(&mut self) -> Option<Resource> {
        let (index, _) = self
            .entries
            .iter()
            .enumerate()
            .min_by_key(|(index, (_, resource))| (resource.priority, std::cmp::Reverse(*index)))?;
        Some(self.entries.remove(index).1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resource(name: &str, priority: i32) -> Resource {
        Resource::new(name, ResourceType::Custom, || async {}).priority(priority)
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
            prop_assert_eq!(registry.close(), priorities.len());
            let order: Vec<_> = std::iter::from_fn(|| registry.take_next())
                .map(|taken| (taken.priority, std::cmp::Reverse(taken.name.parse::<usize>().unwrap())))
                .collect();
            prop_assert_eq!(order.len(), priorities.len());
            prop_assert!(order.is_sorted());
        }
    }

    #[test]
    fn a_resource_taken_back_is_not_closed_and_none_is_taken_while_closing() {
        let mut registry = Registry::default();
        let id = registry.register(resource("a", 1)).unwrap();
        registry.register(resource("b", 1)).unwrap();
        assert!(registry.unregister(id));
        assert!(!registry.unregister(id));
        assert_eq!(registry.close(), 1);
        assert_eq!(registry.register(resource("c", 1)), Err(RegisterError::Closing));
        assert_eq!(registry.take_next().unwrap().name, "b");
    }

    #[test]
    fn a_leak_of_registrations_is_refused() {
        let mut registry = Registry::default();
        for _ in 0..MAX_RESOURCES {
            registry.register(resource("a", 1)).unwrap();
        }
        assert_eq!(registry.register(resource("a", 1)), Err(RegisterError::TooMany));
    }
}
