//! The parts of the running program that a new configuration changes: each makes ready what is new, and puts it to use
//! once all of them have.

use std::sync::{Arc, Mutex, PoisonError};

use wellkept_config::{Effect, Live, Prepared, Probation, Refusal, Subscriber};
use wellkept_health::{Checker, Component, RegisterError, Replaced};
use wellkept_http::Doors;
use wellkept_telemetry::logging::Logging;

use super::configuration::Configuration;
use super::listeners::Listeners;
use super::tls::RunningTls;
use crate::probation::Health;
use crate::service::audit;

mod restart;
mod settings;

pub(super) use restart::needed as restart_required;
pub use restart::restart_keys;
pub use settings::{ReloadSettings, Watch};

/// What of the program a reload changes.
pub(super) struct Parts {
    pub(super) checker: Checker,
    /// Checks that belong to the program itself, not to the configuration.
    pub(super) own: Vec<Component>,
    pub(super) doors: Doors,
    pub(super) tls: RunningTls,
    pub(super) logging: Option<Logging>,
}

impl Parts {
    /// Registers the checks of the configuration that runs, and has everything follow it from now on.
    pub(super) fn follow(self, live: &Live<Configuration>) -> Result<(), Vec<RegisterError>> {
        let Self { checker, own, doors, tls, logging } = self;
        let checks = Checks { checker: checker.clone(), own: own.into() };
        let first = live.current();
        checks.checker.replace(checks.of(&first))?;
        set_windows(&checker, &first);
        audit(live, doors.events().clone());
        // Only now there is something to judge a change by.
        let judge = Arc::new(Health::new(checker.clone(), None));
        live.adjust(|options| options.probation = Some(Probation { lasts: first.reload.probation, judge }));
        let following = live.clone();
        live.subscribe("reload", move |_, new: Arc<Configuration>| {
            let live = following.clone();
            async move { Ok(adjusting(live, new)) }
        })
        .forget();
        live.subscribe("checks", checks).forget();
        live.subscribe("maintenance", WindowsOf(checker)).forget();
        live.subscribe("doors", OpenDoors { doors, tls: Arc::new(tls) }).forget();
        if let Some(logging) = logging {
            live.subscribe("logging", Levels(logging)).forget();
        }
        Ok(())
    }
}

/// The components: those whose definition is the same keep their state.
struct Checks {
    checker: Checker,
    own: Arc<[Component]>,
}

impl Checks {
    fn of(&self, configuration: &Configuration) -> Vec<Component> {
        configuration.checks.iter().map(|check| check.component.clone()).chain(self.own.iter().cloned()).collect()
    }
}

impl Subscriber<Configuration> for Checks {
    async fn prepare(&self, _: &Arc<Configuration>, new: &Arc<Configuration>) -> Result<Prepared, Refusal> {
        let prepared = self.checker.prepare_replace(self.of(new)).map_err(|errors| Refusal::new(lines(&errors)))?;
        // Between the commit and the end of what it replaced.
        let left = Arc::new(Mutex::new(None));
        let ending = Arc::clone(&left);
        let commit = move || {
            let (replaced, retired) = prepared.commit();
            *left.lock().unwrap_or_else(PoisonError::into_inner) = Some(retired);
            let Replaced { added, changed, removed, taken_over, kept } = replaced;
            let mut effects = vec![
                ("added", Effect::Names(added)),
                ("changed", Effect::Names(changed)),
                ("removed", Effect::Names(removed)),
                ("kept", Effect::Count(kept)),
            ];
            if !taken_over.is_empty() {
                // The file wins over what was added while the process ran.
                effects.push(("taken_over", Effect::Names(taken_over)));
            }
            effects
        };
        let retire = move || async move {
            let retired = ending.lock().unwrap_or_else(PoisonError::into_inner).take();
            // What a check does when it is dropped may block. How it ends is nobody's concern.
            drop(tokio::task::spawn_blocking(move || drop(retired)).await);
        };
        Ok(Prepared::new(commit).retire(retire))
    }
}

/// The windows of maintenance.
struct WindowsOf(Checker);

impl Subscriber<Configuration> for WindowsOf {
    async fn prepare(&self, _: &Arc<Configuration>, new: &Arc<Configuration>) -> Result<Prepared, Refusal> {
        let (checker, new) = (self.0.clone(), Arc::clone(new));
        Ok(Prepared::new(move || {
            set_windows(&checker, &new);
            Vec::new()
        }))
    }
}

/// Can't fail: the configuration refuses all that the checker would.
fn set_windows(checker: &Checker, configuration: &Configuration) {
    if let Err(error) = checker.set_maintenance_windows(configuration.maintenance.windows.clone()) {
        tracing::error!(target: "wellkept::config", code = error.code(), %error, "the windows are as before");
    }
}

/// Who is an operator, and what new connections shake hands with. Both come from files that may have changed alone.
struct OpenDoors {
    doors: Doors,
    tls: Arc<RunningTls>,
}

impl Subscriber<Configuration> for OpenDoors {
    async fn prepare(&self, old: &Arc<Configuration>, new: &Arc<Configuration>) -> Result<Prepared, Refusal> {
        let access = new.listeners.access();
        let access = (access != old.listeners.access()).then_some(access);
        let (doors, tls, new) = (self.doors.clone(), Arc::clone(&self.tls), Arc::clone(new));
        Ok(Prepared::new(move || {
            if let Some(access) = access {
                doors.set_access(access);
            }
            tls.renew(&new.listeners);
            Vec::new()
        }))
    }

    fn is_stale(&self, running: &Arc<Configuration>, read_again: &Arc<Configuration>) -> bool {
        let tls = |listeners: &Listeners| [listeners.http.tls.clone(), listeners.admin_tls().cloned()];
        let (old, new) = (&running.listeners, &read_again.listeners);
        old.access() != new.access() || tls(old) != tls(new)
    }
}

/// How the configuration itself is changed from the next time on.
fn adjusting(live: Live<Configuration>, new: Arc<Configuration>) -> Prepared {
    Prepared::new(move || {
        live.adjust(|options| new.reload.set(options));
        Vec::new()
    })
}

/// The levels of the log.
struct Levels(Logging);

impl Subscriber<Configuration> for Levels {
    async fn prepare(&self, _: &Arc<Configuration>, new: &Arc<Configuration>) -> Result<Prepared, Refusal> {
        let (logging, new) = (self.0.clone(), Arc::clone(new));
        Ok(Prepared::new(move || {
            // Can't fail: the configuration refuses all that the log would.
            if let Err(error) = logging.set_levels(new.logging.level.unwrap_or_default(), &new.logging.modules) {
                tracing::error!(target: "wellkept::config", code = error.code(), %error, "the levels are as before");
            }
            Vec::new()
        }))
    }
}

fn lines(errors: &[RegisterError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
