//! Where the next process takes over, `shutdown.handover`, and what the program is started with beside its file.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use wellkept_config::Section;
use wellkept_health::trend::{Bucket, MinutePart, Tier};
use wellkept_health::{
    Checker, HistoryError, HistoryStore, MaintenanceStore as _, Record, RunResult, StatusChange, Sweep, Swept,
};
use wellkept_http::handover::HandoverOptions;
use wellkept_http::{Listener, Sockets};
use wellkept_store::SqliteStore;

use super::serve::StartError;
use super::store::StoreLocation;
use crate::service::{Role, Succession};

/// How long a store may keep somebody waiting.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// What the program is started with beside its configuration.
#[derive(Debug, Default)]
pub struct Start {
    /// The sockets of a service manager ([`activated`](wellkept_http::activated)).
    pub activated: Sockets,
    /// Whether the process that serves already is replaced.
    pub role: Role,
}

/// Where the next process takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoverPlace {
    /// The private socket.
    pub path: PathBuf,
    /// Within which time the next process must be ready. Default 30 s.
    pub within: Duration,
}

impl HandoverPlace {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        section.describe(&[
            ("path", "The private socket on which the next process takes over the listeners: an absolute path."),
            ("within", "Within which time the next process must be ready after it has asked."),
        ]);
        let path = section.required::<PathBuf>("path");
        let within = section.or("within", HandoverOptions::default().patience);
        section.complete();
        let path = path?;
        if !path.is_absolute() {
            let at = section.position_of("path");
            section.report(at, "config.range", "the path must be absolute, such as /run/wellkept/handover.sock");
            return None;
        }
        if within.is_zero() {
            let at = section.position_of("within");
            section.report(at, "config.range", "it must be more than 0");
        }
        Some(Self { path, within })
    }

    /// With the role of this process. One that shall replace another must know where that is.
    pub(super) fn with(place: Option<&Self>, role: Role) -> Result<Option<Succession>, StartError> {
        match place {
            Some(Self { path, within }) => {
                let options = HandoverOptions { patience: *within };
                Ok(Some(Succession { path: path.clone(), options, role }))
            }
            None if role == Role::Successor => Err(StartError::NoHandover),
            None => Ok(None),
        }
    }
}

/// Refuses the sockets of a service manager that no door has taken: nobody would answer those who connect to them.
/// Those that the process before had for a door that is no longer configured are closed.
pub(super) fn refuse_unclaimed(sockets: &Sockets) -> Result<(), StartError> {
    for (name, listener) in sockets.iter() {
        let address = listener.address();
        if Listener::is_managed(listener) {
            return Err(StartError::UnclaimedSocket { name: name.to_owned(), address: address.clone() });
        }
        tracing::warn!(target: "wellkept", socket = name, %address, "no door listens here any more: it is closed");
    }
    Ok(())
}

/// Whose the store is: the process before holds it until it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Before,
    Ours,
    /// This process never served, and what it has seen is not kept.
    Forgone,
}

/// Open when nobody else writes to the store any more.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    inner: Arc<(Mutex<Holder>, Condvar)>,
}

impl Gate {
    pub(super) fn new(has_predecessor: bool) -> Self {
        let holder = if has_predecessor { Holder::Before } else { Holder::Ours };
        Self { inner: Arc::new((Mutex::new(holder), Condvar::new())) }
    }

    pub(super) fn open(&self) {
        self.set(Holder::Ours);
    }

    /// Has everything that would be written forgotten.
    pub(super) fn forgo(&self) {
        self.set(Holder::Forgone);
    }

    pub(super) fn is_open(&self) -> bool {
        self.holder() == Holder::Ours
    }

    /// A store that is written to when the gate is open. `path` is the file that can be read meanwhile.
    pub(super) fn before<S>(&self, store: S, path: Option<PathBuf>) -> Guarded<S> {
        Guarded { store, gate: self.clone(), path }
    }

    fn set(&self, holder: Holder) {
        *self.inner.0.lock().unwrap_or_else(PoisonError::into_inner) = holder;
        self.inner.1.notify_all();
    }

    fn holder(&self) -> Holder {
        *self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for it to open, for as long as a store may keep somebody waiting.
    fn pass(&self) -> Result<Pass, HistoryError> {
        let (holder, changed) = &*self.inner;
        let holder = holder.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(holder, STORE_WAIT, |holder| *holder == Holder::Before);
        match *waited.unwrap_or_else(PoisonError::into_inner).0 {
            Holder::Before => Err(HistoryError::new("store.held", "the process before has not ended yet")),
            Holder::Ours => Ok(Pass::Write),
            Holder::Forgone => Ok(Pass::Forget),
        }
    }
}

enum Pass {
    Write,
    Forget,
}

/// A store behind a gate.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    store: S,
    gate: Gate,
    path: Option<PathBuf>,
}

impl<S: HistoryStore> Guarded<S> {
    /// Asks the store, or the file alone while another process writes to it.
    fn read<T>(
        &mut self,
        ask: impl FnOnce(&mut dyn HistoryStore) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        match &self.path {
            Some(path) if !self.gate.is_open() => ask(&mut SqliteStore::open_read_only(path)?),
            _ => ask(&mut self.store),
        }
    }
}

impl<S: HistoryStore> HistoryStore for Guarded<S> {
    fn append(&mut self, records: &[Record]) -> Result<(), HistoryError> {
        match self.gate.pass()? {
            Pass::Write => self.store.append(records),
            Pass::Forget => Ok(()),
        }
    }

    fn changes(&mut self, component: Option<&str>, limit: usize) -> Result<Vec<StatusChange>, HistoryError> {
        self.read(|store| store.changes(component, limit))
    }

    fn results(&mut self, component: &str, limit: usize) -> Result<Vec<RunResult>, HistoryError> {
        self.read(|store| store.results(component, limit))
    }

    fn keep_time(&mut self, over: &[MinutePart], open: &[MinutePart]) -> Result<(), HistoryError> {
        match self.gate.pass()? {
            Pass::Write => self.store.keep_time(over, open),
            Pass::Forget => Ok(()),
        }
    }

    fn buckets(
        &mut self,
        component: &str,
        tier: Tier,
        slots: RangeInclusive<i64>,
    ) -> Result<Vec<(i64, Bucket)>, HistoryError> {
        self.read(|store| store.buckets(component, tier, slots))
    }

    fn slots(&self, tier: Tier) -> i64 {
        self.store.slots(tier)
    }

    fn forget(&mut self, sweep: &Sweep) -> Result<Swept, HistoryError> {
        match self.gate.pass()? {
            Pass::Write => self.store.forget(sweep),
            Pass::Forget => Ok(Swept::Whole),
        }
    }
}

/// Takes in the maintenances that the process before keeps, which it has still open: what it has taken out must not be
/// taken in by its successor. They are read again when it has ended.
pub(super) async fn take_in_maintenances(checker: &Checker, store: StoreLocation) {
    let StoreLocation::Sqlite { path, .. } = store else { return };
    let reading = tokio::task::spawn_blocking(move || SqliteStore::open_read_only(&path)?.load());
    match tokio::time::timeout(STORE_WAIT, reading).await {
        Ok(Ok(Ok(kept))) => checker.take_in_maintenances(kept),
        Ok(Ok(Err(error))) => {
            let code = error.code;
            tracing::warn!(target: "wellkept::handover", code, %error, "maintenances can't be read yet");
        }
        _ => tracing::warn!(target: "wellkept::handover", "maintenances can't be read yet"),
    }
}
