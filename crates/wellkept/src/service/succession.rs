//! How a service takes the place of the process before it, and gives way to the next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wellkept_health::Checker;
use wellkept_http::handover::{Before, Handover, HandoverError, HandoverOptions, News, TakeOver, TakeOverError};
use wellkept_http::{Listening, Sockets};
use wellkept_shutdown::Shutdown;

use super::Service;

/// How often it is looked whether the start is complete, besides at each snapshot.
const LOOK: Duration = Duration::from_millis(100);
/// How long after the patience of the process before this one waits to be told that it is over.
const GRACE: Duration = Duration::from_secs(5);

/// Where the sockets come from and go to.
#[derive(Debug, Clone)]
pub(crate) struct Succession {
    /// The private socket.
    pub(crate) path: PathBuf,
    /// Within which time the next process must be ready.
    pub(crate) options: HandoverOptions,
    pub(crate) role: Role,
}

/// Whether a process replaces another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// It opens its own sockets.
    #[default]
    First,
    /// It takes the sockets of the process that is there; where none is, it opens its own.
    Successor,
}

/// Why a service can't take the place of the process before it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuccessionError {
    /// Nobody could take over from this one.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The process before goes on, or can't be understood.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
}

impl SuccessionError {
    /// The stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Handover(error) => error.code(),
            Self::TakeOver(error) => error.code(),
        }
    }
}

impl Service {
    /// Lets the next process take over without a lost connection: it asks at this Unix socket, gets the listening sockets,
    /// and once it is ready this one ends with [`Cause::HandedOver`](wellkept_shutdown::Cause::HandedOver). Until then
    /// everything is served as before. The folder is made where it is missing and must be writable by this user alone.
    /// Linux only.
    ///
    /// ```
    /// # use wellkept::Service;
    /// let service = Service::new("orders", "1.4.2");
    /// let takes_over = std::env::args().any(|word| word == "--take-over");
    /// let path = "/run/orders/handover.sock";
    /// let service = if takes_over { service.take_over(path) } else { service.handover(path) };
    /// # drop(service);
    /// ```
    #[must_use]
    pub fn handover(mut self, path: impl Into<PathBuf>) -> Self {
        let options = self.succession.map(|succession| succession.options).unwrap_or_default();
        self.succession = Some(Succession { path: path.into(), options, role: Role::First });
        self
    }

    /// As [`Service::handover`], and takes over from the process that is there now, if there is one. Its sockets are used
    /// for the addresses that they listen on; any other address is bound. Nothing is accepted before the start is complete
    /// ([`Checker::is_started`]) and, if the process before is ready, this one is, too. Otherwise
    /// [`ServeError::Succession`](super::ServeError::Succession) says why, and the process before goes on.
    #[must_use]
    pub fn take_over(mut self, path: impl Into<PathBuf>) -> Self {
        self = self.handover(path);
        if let Some(succession) = &mut self.succession {
            succession.role = Role::Successor;
        }
        self
    }

    /// Within which time the next process must be ready after it has asked. Default 30 s. Does nothing without
    /// [`Service::handover`] or [`Service::take_over`] before.
    #[must_use]
    pub fn handover_within(mut self, patience: Duration) -> Self {
        if let Some(succession) = &mut self.succession {
            succession.options.patience = patience;
        }
        self
    }
}

/// What became of the wait for the process before.
#[derive(Debug)]
pub(crate) enum Settled {
    /// This process serves from now on, while that one ends.
    Serves(Before),
    /// It was told to end before.
    Ends,
}

impl Settled {
    /// The process before, which ends.
    pub(crate) fn before(self) -> Option<Before> {
        match self {
            Self::Serves(before) => Some(before),
            Self::Ends => None,
        }
    }
}

/// Asks the process before for its sockets, where one is to be replaced.
pub(crate) async fn begin(succession: Option<&Succession>) -> Result<Option<(TakeOver, Sockets)>, SuccessionError> {
    let Some(Succession { path, role, .. }) = succession else { return Ok(None) };
    Handover::check(path)?;
    if *role == Role::First {
        return Ok(None);
    }
    let asked = TakeOver::ask(path).await?;
    if let Some((_, sockets)) = &asked {
        let names = sockets.iter().map(|(name, socket)| format!("{name} on {}", socket.address()));
        let sockets = names.collect::<Vec<_>>().join(", ");
        tracing::info!(target: "wellkept::handover", sockets, "taking over");
    } else {
        tracing::info!(target: "wellkept::handover", "there is no process to take over from");
    }
    Ok(asked)
}

/// Waits until this process is ready, and then until the sockets are its own. The engine must be running.
pub(crate) async fn settle(
    mut taking: TakeOver,
    checker: &Checker,
    shutdown: &Shutdown,
) -> Result<Settled, TakeOverError> {
    let (must_be_ready, gives_up) = (taking.must_be_ready(), taking.ends() + GRACE);
    tokio::select! {
        biased;
        () = shutdown.begun() => {
            taking.give_up("it was told to end").await;
            return Ok(Settled::Ends);
        }
        news = taking.news() => return match news {
            News::Alone => {
                tracing::warn!(target: "wellkept::handover", "the process before ends: this one serves alone");
                Ok(Settled::Serves(taking.alone()))
            }
            News::Withdrawn { reason } => Err(TakeOverError::Withdrawn { reason }),
        },
        () = tokio::time::sleep_until(gives_up) => {
            let reason = "this one was not ready in time".to_owned();
            return Err(TakeOverError::Withdrawn { reason });
        }
        () = complete(checker, must_be_ready) => {}
    }
    let before = taking.ready().await?;
    tracing::info!(target: "wellkept::handover", "taken over");
    Ok(Settled::Serves(before))
}

async fn complete(checker: &Checker, must_be_ready: bool) {
    let mut published = checker.subscribe();
    while !(checker.is_started() && (!must_be_ready || checker.readiness().ready)) {
        // The last thing that held the start may publish nothing when it goes.
        drop(tokio::time::timeout(LOOK, published.changed()).await);
    }
}

/// Waits for the next process on the current runtime, once the one before has ended.
pub(crate) fn offer(
    succession: &Succession,
    before: Option<Before>,
    shutdown: &Shutdown,
    checker: &Checker,
    doors: Vec<Arc<dyn Listening>>,
) {
    match Handover::bind(&succession.path, succession.options) {
        Ok(handover) => {
            let handover = match before {
                Some(before) => handover.after(before),
                None => handover,
            };
            let (shutdown, checker) = (shutdown.clone(), checker.clone());
            tokio::spawn(async move { handover.run(shutdown, doors, || checker.readiness().ready).await });
        }
        // What is served is worth more than what comes after it.
        Err(error) => tracing::error!(target: "wellkept::handover", code = error.code(), "{error}"),
    }
}
