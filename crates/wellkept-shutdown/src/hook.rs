//! What is called around the shutdown, by name: before it, after the resources, and in the flush.

use std::fmt;

use crate::closer::{Closer, IntoClosed};

/// Something to be called in its turn, once. A panic or an error there is noted in the report and stops nothing else.
///
/// ```
/// # use wellkept_shutdown::{Hook, Settings, Shutdown};
/// # let (shutdown, _sequence) = Shutdown::new(Settings::default());
/// shutdown.before(Hook::new("deregister", async || { /* registry.remove(me).await */ }));
/// shutdown.on_flush(Hook::blocking("audit log", || std::io::Write::flush(&mut std::io::stderr())));
/// ```
pub struct Hook {
    pub(crate) name: String,
    pub(crate) call: Closer,
}

impl Hook {
    /// A hook that is a future. It may return nothing, or a result whose error can be shown. Dropped when its time is over.
    pub fn new<F, Fut>(name: impl Into<String>, call: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: IntoClosed> + Send + 'static,
    {
        Self { name: name.into(), call: Closer::future(call) }
    }

    /// A hook that blocks. It gets a thread of its own, which is left behind when its time is over.
    pub fn blocking<F, T>(name: impl Into<String>, call: F) -> Self
    where
        F: FnOnce() -> T + Send + 'static,
        T: IntoClosed,
    {
        Self { name: name.into(), call: Closer::blocking(call) }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hook").field("name", &self.name).finish_non_exhaustive()
    }
}
