//! What an application protects its calls with, as components: circuit breakers, bulkheads, retry budgets. Those it has
//! already report themselves by a small trait; for those it has not, there is one of each.

mod budget;
mod bulkhead;
mod call;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

pub use self::budget::{RetryBudget, RetryRefused};
pub use self::bulkhead::{Bulkhead, BulkheadPlace};
pub use self::call::{CallCircuit, CallError, CallPermit};
use crate::check::{AnyCheck, Scope};
use crate::circuit::CircuitStanding;
use crate::component::Component;
use crate::hysteresis::Thresholds;
use crate::outcome::{Outcome, Reason};

/// What protects calls and can say how it stands: implement it for those that the application has already.
///
/// ```
/// use std::sync::Arc;
/// use wellkept_health::{Component, Protection, ProtectionState};
///
/// struct OwnPool { connections: u32 }
///
/// impl Protection for OwnPool {
///     fn state(&self) -> ProtectionState {
///         ProtectionState::Bulkhead { in_use: self.connections, limit: 20, waiting: 0, refused: 0 }
///     }
/// }
///
/// let component = Component::protection("payments-pool", Arc::new(OwnPool { connections: 3 }));
/// # drop(component);
/// ```
pub trait Protection: Send + Sync + 'static {
    /// How it stands now. Called once a second, on a thread of the runtime: must not block.
    fn state(&self) -> ProtectionState;
}

/// How a protection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtectionState {
    /// A circuit breaker: unhealthy while it is open, degraded while one call decides.
    Circuit(CircuitStanding),
    /// A bulkhead: degraded while no place is left.
    Bulkhead {
        /// Calls under way.
        in_use: u32,
        /// Most that may be.
        limit: u32,
        /// Calls that wait for a place.
        waiting: u32,
        /// Calls that were refused, since the beginning.
        refused: u64,
    },
    /// A retry budget: degraded while it is used up.
    RetryBudget {
        /// Retries that may be made now.
        left: u32,
        /// Most that can be saved.
        most: u32,
        /// Retries that were refused, since the beginning.
        refused: u64,
    },
}

impl ProtectionState {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Circuit(standing) => standing.reported(),
            Self::Bulkhead { in_use, limit, waiting, refused } => {
                let outcome = if in_use < limit {
                    Outcome::pass()
                } else {
                    Outcome::warn(Reason::Exhausted, "all places are taken")
                };
                let told = json!({ "in_use": in_use, "limit": limit, "waiting": waiting, "refused": refused });
                outcome.with("bulkhead", told)
            }
            Self::RetryBudget { left, most, refused } => {
                let outcome = if *left > 0 {
                    Outcome::pass()
                } else {
                    Outcome::warn(Reason::Exhausted, "the retries are used up")
                };
                outcome.with("retry_budget", json!({ "left": left, "most": most, "refused": refused }))
            }
        }
    }
}

impl Component {
    /// A component that says how a protection stands, once a second, as it stands then: one result decides. It looks at
    /// this process only, so that no probe sees it unless a group is named.
    pub fn protection(name: impl Into<Arc<str>>, protection: Arc<impl Protection>) -> Self {
        let check = AnyCheck::from_fn(move || std::future::ready(protection.state().outcome()));
        Self::new(name, check).scope(Scope::Process).interval(Duration::from_secs(1)).thresholds(Thresholds {
            fall: 1,
            rise: 1,
            ..Thresholds::default()
        })
    }
}

#[cfg(test)]
mod tests;
