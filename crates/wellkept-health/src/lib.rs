//! What is true of each component of a service: checks, schedule, thresholds, snapshot, history.
//!
//! A [`Component`] is registered with a [`Checker`]; the [`Engine`] runs its check on its own schedule; thresholds
//! turn outcomes into the status that is served; a new [`Snapshot`] replaces the old one atomically. Readers read the
//! snapshot and never wait for a check. A result has an age, and past its `max_age` a component is unknown.

mod announce;
mod changes;
mod check;
mod checker;
mod circuit;
mod clock;
mod component;
mod control;
mod default;
mod dependencies;
mod drift;
mod engine;
mod exporter;
mod heartbeat;
mod history;
mod hysteresis;
mod job;
mod lag;
mod liveness;
mod maintenance;
mod memory;
mod origin;
mod outcome;
mod part;
mod recorder;
mod resilience;
mod run;
mod schedule;
mod snapshot;
mod status;
mod table;
pub mod trend;
pub mod wire;

pub use changes::{ChangeCount, Changes};
pub use check::{AnyCheck, Check, Context, Scope};
pub use checker::{Checker, CheckerStats, Lifecycle, PreparedReplace, Readiness, Retired, Settings, StartupHold};
pub use circuit::{CircuitBreaker, CircuitStanding, CircuitState};
pub use clock::{Clock, SystemClock, TokioClock};
pub use component::{Component, Group, RegisterError};
pub use control::{Change, Checked, CheckedAll, ControlError, Origin, Switched, Tuning, Which};
pub use default::{AlreadyInstalled, default_checker, install_default};
pub use dependencies::circle;
pub use drift::Drift;
pub use engine::Engine;
pub use exporter::{ExportError, ExportSettings, ExportStats, Exporter, ExporterError};
pub use heartbeat::{Heartbeat, HeartbeatStats};
pub use history::{HistoryError, HistoryStore, Record, RunResult, StatusChange, Sweep, Swept};
pub use hysteresis::{Thresholds, Window};
pub use job::{Job, JobEnd, JobRecord, JobReport, JobSchedule, JobStanding, JobState, JobStore};
pub use lag::Lags;
pub use liveness::{Life, Liveness, LivenessWatch, OnStall, STALLED_EXIT_CODE, WatchOptions};
pub use maintenance::{
    End, EndedMaintenance, Kept, Maintenance, MaintenanceBooks, MaintenanceError, MaintenanceOrigin, MaintenanceStore,
    MaintenanceWindow, MonthDay, NewMaintenance, Recurrence, SharedMaintenanceStore, Target,
};
pub use memory::Memory;
pub use origin::{Hop, Identity, InvalidOrigins, Origins, StatusPath};
pub use outcome::{IntoOutcome, Outcome, Reason, Verdict};
pub use part::{Part, Parts};
pub use recorder::{History, HistoryStats};
pub use resilience::{
    Bulkhead, BulkheadPlace, CallCircuit, CallError, CallPermit, Protection, ProtectionState, RetryBudget, RetryRefused,
};
pub use run::{Finished, run_once};
pub use schedule::Schedule;
pub use snapshot::{Activity, Belonging, ComponentHealth, Moment, RunTotals, Served, Snapshot, Standing};
pub use status::{Criticality, Status};
pub use table::Replaced;
