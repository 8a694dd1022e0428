//! What operators changed at run time: how components differ from the definitions that they came with.

use std::sync::Arc;

use crate::checker::Checker;
use crate::component::Component;
use crate::snapshot::{Activity, Belonging};

/// A component that operators added, tuned, enabled or disabled while the process runs.
#[derive(Debug, Clone)]
pub struct Drift {
    /// The kind of its check, where its definition names one.
    pub kind: Option<&'static str>,
    /// An [`Addition`](Belonging::Addition) when it was added.
    pub belongs: Belonging,
    /// Its definition as it came.
    pub defined: Arc<Component>,
    /// Its definition as it is now; the same one when it was not tuned.
    pub now: Arc<Component>,
    /// How its activity was changed; `None` when it is as it was defined.
    pub switched: Option<Activity>,
}

impl Checker {
    /// What was added, tuned, enabled or disabled at run time and still is, in the order of registration: the part of
    /// what runs that no configuration has. Looks at each component once; blocks no longer than that takes.
    ///
    /// ```
    /// use wellkept_health::{Activity, AnyCheck, Checker, Component, Settings};
    ///
    /// let (checker, _engine) = Checker::new(Settings::new("orders"));
    /// checker.register(Component::new("queue", AnyCheck::from_fn(async || ())))?;
    /// assert!(checker.drift().is_empty());
    /// checker.disable("queue")?;
    /// assert_eq!(checker.drift()[0].switched, Some(Activity::Disabled));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drift(&self) -> Vec<Drift> {
        self.table().drift()
    }
}
