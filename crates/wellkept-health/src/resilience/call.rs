//! A circuit breaker around calls: the one that stands in front of checks, for the application's own.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::{Protection, ProtectionState};
use crate::circuit::{Circuit, CircuitBreaker, CircuitStanding, Permit};
use crate::component::RegisterError;

/// A circuit breaker that calls are wrapped in. Cheap to clone: clones are the same circuit.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use wellkept_health::{CallCircuit, CallError, Checker, CircuitBreaker, Component, Settings};
///
/// let (checker, _engine) = Checker::new(Settings::new("orders"));
/// let payments = CallCircuit::new("payments", CircuitBreaker::new().failures(2))?;
/// checker.register(Component::protection("payments-circuit", Arc::new(payments.clone())))?;
///
/// for _ in 0..2 {
///     let paid = payments.call(async { Err::<(), _>("refused") }).await;
///     assert!(matches!(paid, Err(CallError::Failed("refused"))));
/// }
/// let paid = payments.call(async { Ok::<_, &str>(()) }).await;
/// assert!(matches!(paid, Err(CallError::Open(_))), "it was not even tried");
/// # Ok::<(), wellkept_health::RegisterError>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct CallCircuit {
    circuit: Arc<Circuit>,
}

impl CallCircuit {
    /// Named in the log when it opens and closes. Refuses settings that can't be kept.
    pub fn new(name: impl Into<Arc<str>>, breaker: CircuitBreaker) -> Result<Self, RegisterError> {
        let name = name.into();
        match breaker.problem() {
            Some(problem) => Err(RegisterError::Setting { name: name.chars().take(80).collect(), problem }),
            None => Ok(Self { circuit: Circuit::new(name, breaker) }),
        }
    }

    /// Makes a call, unless the circuit is open. An `Err` of the call is a failure; one that says that the caller was
    /// wrong should not be counted as one: use [`CallCircuit::admit`] then.
    ///
    /// Cancel-safe as far as the call is: one that is dropped says nothing about what it called.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, CallError<E>> {
        let permit = self.admit().map_err(CallError::Open)?;
        let result = call.await;
        match &result {
            Ok(_) => permit.worked(),
            Err(_) => permit.failed(),
        }
        result.map_err(CallError::Failed)
    }

    /// Leave to make one call, whose end is told by hand; or how the circuit stands, when there is none. Never waits.
    pub fn admit(&self) -> Result<CallPermit, CircuitStanding> {
        self.circuit.admit().map(CallPermit)
    }

    /// How it stands.
    pub fn standing(&self) -> CircuitStanding {
        self.circuit.standing()
    }

    /// Its name in the log.
    pub fn name(&self) -> &str {
        self.circuit.name()
    }
}

impl Protection for CallCircuit {
    fn state(&self) -> ProtectionState {
        ProtectionState::Circuit(self.standing())
    }
}

/// Leave to make one call. Dropped without a word, it says nothing about what was called.
#[derive(Debug)]
#[must_use = "dropped, it says nothing about how the call went"]
pub struct CallPermit(Permit);

impl CallPermit {
    /// What was called works.
    pub fn worked(self) {
        self.0.worked();
    }

    /// What was called does not work.
    pub fn failed(self) {
        self.0.failed(None);
    }
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError<E> {
    /// The circuit is open: the call was not made.
    Open(CircuitStanding),
    /// The call's own error.
    Failed(E),
}

impl<E> CallError<E> {
    /// The stable code: `circuit.open` or `circuit.failed`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Open(_) => "circuit.open",
            Self::Failed(_) => "circuit.failed",
        }
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(_) => formatter.write_str("not called: it failed too often in a row"),
            Self::Failed(error) => error.fmt(formatter),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(_) => None,
            Self::Failed(error) => error.source(),
        }
    }
}
