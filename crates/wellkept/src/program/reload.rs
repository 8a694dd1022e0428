//! Reload as a transaction: read, check, prepare everything new, then commit; the old one runs until then.

use std::ffi::OsString;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::signal::unix::Signal;
use wellkept_health::{Checker, Component, RegisterError, Replaced};
use wellkept_http::{Doors, Reloaded};
use wellkept_shutdown::Shutdown;
use wellkept_shutdown::systemd::Systemd;
use wellkept_telemetry::events::SecurityEvent;
use wellkept_telemetry::logging::Logging;

use super::configuration::{Configuration, LoadError};
use super::listeners::{Door, Listeners};
use super::tls::RunningTls;

/// What came of a reload.
#[derive(Debug)]
pub enum ReloadOutcome {
    /// The new configuration runs.
    Applied {
        /// What became of the checks.
        checks: Replaced,
        /// Keys whose new value waits for a restart; the rest is applied.
        restart_required: Vec<&'static str>,
    },
    /// The file says what it said before.
    Unchanged,
    /// The old configuration runs on.
    Rejected(RejectReason),
}

impl ReloadOutcome {
    /// The stable word: `applied`, `unchanged`, `rejected`, `restart_required`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Applied { restart_required, .. } if !restart_required.is_empty() => "restart_required",
            Self::Applied { .. } => "applied",
            Self::Unchanged => "unchanged",
            Self::Rejected(_) => "rejected",
        }
    }
}

/// Why a new configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum RejectReason {
    /// It can't be read, or something in it is wrong.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its checks can't be kept together.
    #[error("{}", join(.0))]
    Checks(Vec<RegisterError>),
    /// The program was started without a file.
    #[error("there is no configuration file to read again")]
    NoFile,
    /// The one before still reads its file.
    #[error("another reload is still running: the file may be on a disk that does not answer")]
    Busy,
    /// The process is on its way out.
    #[error("the process is shutting down")]
    ShuttingDown,
}

/// What reloads so far came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReloadStats {
    /// Reloads that were applied, whole or but for a restart.
    pub applied_total: u64,
    /// Reloads that changed nothing.
    pub unchanged_total: u64,
    /// Reloads that were refused.
    pub rejected_total: u64,
    /// When the running configuration was applied, in milliseconds since the epoch.
    pub applied_at: i64,
}

/// Applies configurations to what runs. One reload at a time.
#[derive(Debug)]
pub struct Reloader {
    checker: Checker,
    doors: Doors,
    tls: RunningTls,
    logging: Option<Logging>,
    /// Checks that belong to the program itself, not to the file.
    own: Vec<Component>,
    /// What the process was started with: what needs a restart is measured against it.
    started: Arc<Configuration>,
    current: ArcSwap<Configuration>,
    /// Held by the one reload that runs.
    turn: Mutex<()>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    applied: AtomicU64,
    unchanged: AtomicU64,
    rejected: AtomicU64,
    applied_at: AtomicI64,
}

impl Reloader {
    /// Registers the checks of the first configuration.
    pub(super) fn start(
        configuration: Configuration,
        checker: Checker,
        (doors, tls): (Doors, RunningTls),
        logging: Option<Logging>,
        own: Vec<Component>,
    ) -> Result<Self, Vec<RegisterError>> {
        let configuration = Arc::new(configuration);
        let reloader = Self {
            started: Arc::clone(&configuration),
            checker,
            doors,
            tls,
            logging,
            own,
            current: ArcSwap::new(configuration),
            turn: Mutex::new(()),
            counters: Counters::default(),
        };
        let configuration = reloader.current();
        reloader.checker.replace(reloader.components(&configuration))?;
        reloader.set_windows(&configuration);
        reloader.counters.applied_at.store(Timestamp::now().as_millisecond(), Ordering::Relaxed);
        Ok(reloader)
    }

    /// The configuration that runs.
    pub fn current(&self) -> Arc<Configuration> {
        self.current.load_full()
    }

    /// What reloads so far came to.
    pub fn stats(&self) -> ReloadStats {
        ReloadStats {
            applied_total: self.counters.applied.load(Ordering::Relaxed),
            unchanged_total: self.counters.unchanged.load(Ordering::Relaxed),
            rejected_total: self.counters.rejected.load(Ordering::Relaxed),
            applied_at: self.counters.applied_at.load(Ordering::Relaxed),
        }
    }

    /// Reads the file again and applies it whole, or not at all. Never waits for a check. Blocks on the file system.
    pub fn reload(&self, environment: &dyn Fn(&str) -> Option<OsString>) -> ReloadOutcome {
        let outcome = match self.turn.try_lock() {
            Err(TryLockError::WouldBlock) => ReloadOutcome::Rejected(RejectReason::Busy),
            // Kept until the end: there is one reload at a time.
            Ok(_turn) => self.transact(environment),
            Err(TryLockError::Poisoned(_turn)) => self.transact(environment),
        };
        let counter = match &outcome {
            ReloadOutcome::Applied { .. } => {
                self.counters.applied_at.store(Timestamp::now().as_millisecond(), Ordering::Relaxed);
                &self.counters.applied
            }
            ReloadOutcome::Unchanged => &self.counters.unchanged,
            ReloadOutcome::Rejected(_) => &self.counters.rejected,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if matches!(outcome, ReloadOutcome::Applied { .. }) {
            // Whoever asked by a request is told of there; a signal says of nobody.
            let event = SecurityEvent::AuthzAdmin { user: "", action: "config_reload" };
            self.doors.events().security(event).description(outcome.as_str()).log();
        }
        log(&outcome);
        outcome
    }

    fn transact(&self, environment: &dyn Fn(&str) -> Option<OsString>) -> ReloadOutcome {
        let current = self.current();
        let Some(path) = &current.file else { return ReloadOutcome::Rejected(RejectReason::NoFile) };
        let new = match Configuration::load(path, environment) {
            Ok(new) => new.listening_on(current.listen.clone()),
            Err(error) => return ReloadOutcome::Rejected(error.into()),
        };
        // The file with the token may have changed alone.
        let access = new.listeners.access();
        let same_access = access == current.listeners.access();
        // So may those of TLS.
        let tls = |listeners: &Listeners| [listeners.http.tls.clone(), listeners.admin_tls().cloned()];
        let same_tls = tls(&new.listeners) == tls(&current.listeners);
        if new.fingerprint == current.fingerprint && same_access && same_tls {
            return ReloadOutcome::Unchanged;
        }
        // The last step that can fail is the first that changes anything, and it does so whole or not at all.
        let checks = match self.checker.replace(self.components(&new)) {
            Ok(checks) => checks,
            Err(errors) => return ReloadOutcome::Rejected(RejectReason::Checks(errors)),
        };
        self.set_windows(&new);
        if let Some(logging) = &self.logging {
            // Can't fail: the configuration refuses all that the log would.
            if let Err(error) = logging.set_levels(new.logging.level.unwrap_or_default(), &new.logging.modules) {
                tracing::error!(target: "wellkept::config", code = error.code(), %error, "the levels are as before");
            }
        }
        if !same_access {
            self.doors.set_access(access);
        }
        if !same_tls {
            self.tls.renew(&new.listeners);
        }
        let restart_required = needs_restart(&self.started, &new);
        self.current.store(Arc::new(new));
        ReloadOutcome::Applied { checks, restart_required }
    }

    /// Can't fail: the configuration refuses all that the checker would.
    fn set_windows(&self, configuration: &Configuration) {
        if let Err(error) = self.checker.set_maintenance_windows(configuration.maintenance.windows.clone()) {
            tracing::error!(target: "wellkept::config", code = error.code(), %error, "the windows are as before");
        }
    }

    fn components(&self, configuration: &Configuration) -> Vec<Component> {
        configuration.checks.iter().map(|check| check.component.clone()).chain(self.own.iter().cloned()).collect()
    }
}

/// How long a reload may take before it is said to hang.
const RELOAD: Duration = Duration::from_secs(30);

/// Reloads at each SIGHUP, and has log files opened anew, which is what whoever rotates them sends it for; once the
/// shutdown has begun it says so instead.
pub(super) async fn reload_on(
    mut hangup: Signal,
    reloader: Arc<Reloader>,
    shutdown: Shutdown,
    systemd: Option<Systemd>,
) {
    // Further signals meanwhile come to one more reload.
    while hangup.recv().await.is_some() {
        // First of all: what is logged from now on belongs into the new file.
        if let Some(logging) = &reloader.logging {
            logging.reopen();
        }
        // Whom nothing was said of being ready must not hear it because of a reload.
        let systemd = systemd.as_ref().filter(|_| reloader.checker.is_started());
        if let Some(systemd) = systemd {
            systemd.reloading();
        }
        reload_once(Arc::clone(&reloader), shutdown.clone()).await;
        if let Some(systemd) = systemd {
            // Whatever came of it: the service runs, with the new configuration or the one from before.
            systemd.ready();
        }
    }
}

/// Reloads on a thread that may block, and says what came of it. Cancel-safe: the reload ends by itself.
pub(super) async fn reload_once(reloader: Arc<Reloader>, shutdown: Shutdown) -> Reloaded {
    let outcome = if shutdown.is_shutting_down() {
        let outcome = ReloadOutcome::Rejected(RejectReason::ShuttingDown);
        log(&outcome);
        Ok(Ok(outcome))
    } else {
        let reload = tokio::task::spawn_blocking(move || reloader.reload(&|name| std::env::var_os(name)));
        tokio::time::timeout(RELOAD, reload).await
    };
    let refused = |code, message: &str| Reloaded::Refused { code, message: message.to_owned() };
    match outcome {
        Ok(Ok(outcome)) => outcome.into(),
        Ok(Err(error)) => {
            tracing::error!(target: "wellkept::config", %error, "reload ended early; the configuration from before runs on");
            refused("config.failed", "the reload ended early; the configuration from before runs on")
        }
        Err(_) => {
            tracing::error!(target: "wellkept::config", "reload hangs: the file can't be read; the configuration from before runs on until it can");
            refused(
                "config.hangs",
                "the file can't be read in time; the configuration from before runs on until it can",
            )
        }
    }
}

impl From<ReloadOutcome> for Reloaded {
    fn from(outcome: ReloadOutcome) -> Self {
        match outcome {
            ReloadOutcome::Applied { checks, restart_required } => {
                let Replaced { added, changed, removed, kept, .. } = checks;
                Self::Applied { added, changed, removed, kept, restart_required }
            }
            ReloadOutcome::Unchanged => Self::Unchanged,
            ReloadOutcome::Rejected(reason) => {
                let message = reason.to_string();
                match reason {
                    RejectReason::Load(_) | RejectReason::Checks(_) => Self::Rejected { message },
                    RejectReason::NoFile => Self::Refused { code: "config.no_file", message },
                    RejectReason::Busy => Self::Refused { code: "config.busy", message },
                    RejectReason::ShuttingDown => Self::Refused { code: "config.shutting_down", message },
                }
            }
        }
    }
}

/// The keys whose change can't be applied to a running process.
fn needs_restart(old: &Configuration, new: &Configuration) -> Vec<&'static str> {
    let http = |configuration: &Configuration| Some(configuration.listeners.http.clone());
    let admin = |configuration: &Configuration| configuration.listeners.admin.as_ref().map(|admin| admin.door.clone());
    let [http_listen, http_mode, http_tls] = moved(http(old), http(new));
    let [admin_listen, admin_mode, admin_tls] = moved(admin(old), admin(new));
    #[cfg(feature = "otlp")]
    let otlp = old.otlp != new.otlp;
    #[cfg(not(feature = "otlp"))]
    let otlp = false;
    [
        ("service.name", old.service != new.service),
        ("service.id", old.id != new.id),
        ("service.version", old.version != new.version),
        ("http.listen", http_listen),
        ("http.mode", http_mode),
        ("http.tls", http_tls),
        ("http.show_names", old.listeners.names != new.listeners.names),
        ("admin.listen", admin_listen),
        ("admin.mode", admin_mode),
        ("admin.tls", admin_tls),
        ("grpc.listen", old.listeners.grpc != new.listeners.grpc),
        ("haproxy", old.listeners.haproxy != new.listeners.haproxy),
        ("liveness", old.liveness != new.liveness),
        ("maintenance.longest", old.maintenance.longest != new.maintenance.longest),
        ("store", old.store != new.store),
        ("history", old.history != new.history),
        ("logging.format", old.logging.format != new.logging.format),
        ("logging.output", old.logging.outputs.stream != new.logging.outputs.stream),
        ("logging.file", old.logging.outputs.file != new.logging.outputs.file),
        ("logging.spill", old.logging.spill != new.logging.spill),
        ("logging.redact", old.logging.redaction != new.logging.redaction),
        ("logging.gelf", old.logging.outputs.gelf != new.logging.outputs.gelf),
        ("logging.repeats", old.logging.repeats != new.logging.repeats),
        ("otlp", otlp),
        ("metrics", old.metrics != new.metrics),
        ("shutdown", old.shutdown != new.shutdown || old.handover != new.handover),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

/// What of a door can't be changed while it is open: its address, its permissions, whether there is TLS.
fn moved(old: Option<Door>, new: Option<Door>) -> [bool; 3] {
    match (old, new) {
        (Some(old), Some(new)) => {
            [old.listen != new.listen, old.mode != new.mode, old.tls.is_some() != new.tls.is_some()]
        }
        (old, new) => [old.is_some() != new.is_some(), false, false],
    }
}

fn log(outcome: &ReloadOutcome) {
    match outcome {
        ReloadOutcome::Applied { checks, restart_required } => {
            let (added, changed, removed) = (checks.added.len(), checks.changed.len(), checks.removed.len());
            tracing::info!(
                target: "wellkept::config", outcome = outcome.as_str(), added, changed, removed, kept = checks.kept,
                "configuration reloaded"
            );
            if !restart_required.is_empty() {
                let keys = restart_required.join(", ");
                tracing::warn!(target: "wellkept::config", keys, "these keys wait for a restart; the rest is applied");
            }
        }
        ReloadOutcome::Unchanged => {
            tracing::info!(target: "wellkept::config", outcome = outcome.as_str(), "the configuration is unchanged");
        }
        ReloadOutcome::Rejected(reason) => {
            for line in reason.to_string().lines() {
                tracing::error!(target: "wellkept::config", outcome = outcome.as_str(), error = line, "reload refused");
            }
            tracing::warn!(target: "wellkept::config", "the configuration from before runs on, unchanged");
        }
    }
}

fn join(errors: &[RegisterError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
