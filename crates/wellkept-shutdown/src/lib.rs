//! How a process ends: signals, phases within one deadline, what is in flight, what is to be closed, and the report.
//! Usable alone, without HTTP. Installs nothing that is not asked for.
//!
//! One constructor gives a pair: [`Shutdown`], a handle to clone and pass around, and [`Sequence`], the worker that walks
//! the [phases](Phase) once something triggers it.
//!
//! ```
//! use std::time::Duration;
//! use wellkept_shutdown::{Cause, Resource, ResourceType, Settings, Shutdown, Status};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let (shutdown, sequence) = Shutdown::new(Settings { drain: Duration::from_secs(5), ..Settings::default() });
//! shutdown.register(Resource::new("pool", ResourceType::Database, || async { /* pool.close().await */ })).unwrap();
//! let worker = tokio::spawn(sequence.run());
//!
//! shutdown.trigger(Cause::requested("example"));
//! assert_eq!(shutdown.finished().await.status, Status::Successful);
//! assert_eq!(worker.await.unwrap().exit_code(), 0);
//! # }
//! ```
//!
//! A program adds [`signals::install`] before anything else in `main`, and [`watchdog::arm`] when it must leave by the
//! deadline even if its runtime hangs.

mod cause;
mod closer;
mod deadline;
mod entrance;
mod flush;
mod handle;
mod hook;
mod phase;
mod report;
mod resources;
mod sequence;
mod settings;
pub mod signals;
mod standalone;
#[cfg(target_os = "linux")]
pub mod systemd;
mod tasks;
mod tracker;
#[cfg(target_os = "linux")]
pub mod triggers;
pub mod watchdog;

use std::future::Future;
use std::pin::Pin;

pub use cause::{Cause, Signal};
pub use closer::IntoClosed;
pub use deadline::Budget;
pub use entrance::{Entrance, EntranceKind, Remaining};
pub use handle::{Shutdown, Triggered};
pub use hook::Hook;
pub use phase::Phase;
pub use report::{
    ConnectionStats, ForcedItem, NotClean, PhaseTime, Progress, Report, ResourceOutcome, ResourceReport, Stats, Status,
};
pub use resources::{RegisterError, Resource, ResourceId, ResourceType};
pub use sequence::Sequence;
pub use settings::{Settings, SettingsWarning, WhenLate};
pub use standalone::{GoOn, Standalone, run};
pub use tasks::{Restart, RestartLimits, StopAt, Task, TaskContext, TaskRefused, TaskStats, TaskStatus, Tasks};
pub use tracker::{ConnectionGuard, InFlight, InFlightKind, Left, Refused, RequestGuard, Tracker, Work};

/// A future behind a pointer, for traits that must stay usable as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
