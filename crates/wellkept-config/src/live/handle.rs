//! How the running configuration is read: a whole at a time, within nanoseconds, whatever is being reloaded meanwhile.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache, Guard};

/// Reads one section of a configuration that may change at any moment.
///
/// Cheap to clone; outlives the [`Live`](super::Live) that it comes from, and shows that one's last value then.
pub struct Handle<T, S> {
    current: Arc<ArcSwap<T>>,
    lens: fn(&T) -> &S,
}

impl<T, S> Handle<T, S> {
    pub(super) fn new(current: Arc<ArcSwap<T>>, lens: fn(&T) -> &S) -> Self {
        Self { current, lens }
    }

    /// The section as it is now. It stays as it is for as long as the guard is held: what must agree is read from one
    /// guard. Never blocks, and costs what `ArcSwap::load` does, ten to twenty nanoseconds; [`cached`](Self::cached) has
    /// what costs less. A guard that is held for long keeps the whole of an old configuration in memory.
    ///
    /// ```
    /// use wellkept_config::{Live, LiveOptions, Section, Settings, Sources};
    ///
    /// struct App { limits: Limits }
    /// struct Limits { low: u64, high: u64 }
    ///
    /// impl Settings for App {
    ///     fn read(section: &mut Section<'_>) -> Option<Self> {
    ///         let limits = section.section("limits", |limits| {
    ///             Some(Limits { low: limits.or("low", 1), high: limits.or("high", 10) })
    ///         });
    ///         Some(Self { limits: limits? })
    ///     }
    /// }
    ///
    /// let live = Live::<App>::load(Sources::new().text("app.yaml", "limits: {high: 5}"), LiveOptions::default()).unwrap();
    /// let limits = live.handle(|app| &app.limits);
    /// let now = limits.read();
    /// assert!(now.low < now.high, "both are of one configuration");
    /// ```
    pub fn read(&self) -> Reading<T, S> {
        Reading { whole: self.current.load(), lens: self.lens }
    }

    /// For loops that read very often and may keep what they read last: a read that costs one comparison while nothing
    /// changes. It keeps the configuration that it saw last in memory.
    pub fn cached(&self) -> CachedHandle<T, S> {
        CachedHandle { cache: Cache::new(Arc::clone(&self.current)), lens: self.lens }
    }
}

impl<T, S> Clone for Handle<T, S> {
    fn clone(&self) -> Self {
        Self { current: Arc::clone(&self.current), lens: self.lens }
    }
}

impl<T, S> fmt::Debug for Handle<T, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is configured may be a secret.
        formatter.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// A section as it was when it was read; derefs to it.
pub struct Reading<T, S> {
    whole: Guard<Arc<T>>,
    lens: fn(&T) -> &S,
}

impl<T, S> Deref for Reading<T, S> {
    type Target = S;

    fn deref(&self) -> &S {
        (self.lens)(&self.whole)
    }
}

impl<T, S> fmt::Debug for Reading<T, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reading").finish_non_exhaustive()
    }
}

/// A [`Handle`] of one reader, which remembers what it read last.
pub struct CachedHandle<T, S> {
    cache: Cache<Arc<ArcSwap<T>>, Arc<T>>,
    lens: fn(&T) -> &S,
}

impl<T, S> CachedHandle<T, S> {
    /// The section as it is now. Never blocks.
    pub fn read(&mut self) -> &S {
        (self.lens)(self.cache.load())
    }
}

impl<T, S> fmt::Debug for CachedHandle<T, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CachedHandle").finish_non_exhaustive()
    }
}
