//! The configuration of a service: who may have it read again, who is told, and what is shown of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use wellkept_config::{
    Control, FlagBoard, Intent, Live, Outcome, Probation, Request, Settings, Trigger, WatchOptions, Watching,
};
use wellkept_health::Checker;
use wellkept_http::{Doors, RequestLayer};
use wellkept_shutdown::systemd::Systemd;
use wellkept_shutdown::{Hook, Shutdown};
use wellkept_telemetry::events::{Events, SecurityEvent};
use wellkept_telemetry::logging::Logging;

use super::Service;
use crate::probation::Health;

/// What was said of it before the service is served.
#[derive(Debug, Default)]
pub(super) struct Configured {
    flags: Option<FlagBoard>,
    configuration: Option<Arc<dyn Running>>,
    /// How long a change is on probation.
    probation: Option<Duration>,
}

impl Service {
    /// Has this configuration be read again at SIGHUP, by `POST /api/v1/config/reload`, and when its files change; shows
    /// it on the admin door with its versions, and in the metrics (`wellkept_config_…`); records each change as an event
    /// of security; refuses changes once the shutdown has begun; and tells systemd of reloads by SIGHUP
    /// (`Type=notify-reload`). A log given to [`Service::logging`] has its files opened anew at SIGHUP, too.
    ///
    /// ```no_run
    /// # #[tokio::main]
    /// # async fn main() -> Result<wellkept::shutdown::Report, Box<dyn std::error::Error>> {
    /// use wellkept::config::{Live, LiveOptions, Settings, Sources};
    ///
    /// #[derive(Settings)]
    /// struct Orders {
    ///     /// The most items of one order.
    ///     #[setting(default = 100)]
    ///     items: u32,
    /// }
    ///
    /// let sources = Sources::new().file("orders.yaml").environment("ORDERS_");
    /// let live = Live::<Orders>::load(sources, LiveOptions::default())?;
    /// let orders = live.handle(|orders| orders);
    /// let app = axum::Router::new().route("/items", axum::routing::get(async move || orders.read().items.to_string()));
    /// Ok(wellkept::Service::new("orders", "1.4.2").configuration(&live).serve(app, ([127, 0, 0, 1], 8080)).await?)
    /// # }
    /// ```
    #[must_use]
    pub fn configuration<T: Settings>(mut self, live: &Live<T>) -> Self {
        self.configured.configuration = Some(Arc::new(live.clone()));
        self
    }

    /// Puts each change of [`Service::configuration`] on probation for so long, at most 30 days: it goes back by itself
    /// when within that time readiness that was there is lost for 5 s, a check panics that did not, or of at least 50
    /// requests one in twenty fails with a status from 500 on, and twice as many as before. Default: what the options of
    /// the configuration say.
    #[must_use]
    pub fn probation(mut self, lasts: Duration) -> Self {
        self.configured.probation = Some(lasts);
        self
    }

    /// Shows feature flags in the metrics (`wellkept_feature_flag_…`), to whoever may see names, and to operators in
    /// `/health/detailed`.
    ///
    /// ```
    /// let board = wellkept::config::FlagBoard::new();
    /// // Here the board begins to follow a configuration: see `FlagBoard::follow`.
    /// let service = wellkept::Service::new("orders", "1.4.2").flags(&board);
    /// # drop(service);
    /// ```
    #[must_use]
    pub fn flags(mut self, board: &FlagBoard) -> Self {
        self.configured.flags = Some(board.clone());
        self
    }
}

impl Configured {
    /// Listens to SIGHUP from now on, where there is something to read again: it would end the process otherwise.
    pub(super) fn hangup(&self) -> io::Result<Option<Signal>> {
        self.configuration.as_ref().map(|_| signal(SignalKind::hangup())).transpose()
    }

    /// Shows it on the doors, and has it end with the process.
    pub(super) fn show(&self, doors: &Doors, shutdown: &Shutdown) {
        if let Some(flags) = &self.flags {
            doors.show_flags(flags);
        }
        if let Some(running) = &self.configuration {
            running.run_here();
            running.audit(doors.events().clone());
            doors.show_configuration(Arc::clone(running) as Arc<dyn Control>);
            let closing = Arc::clone(running);
            close_at_the_end(move || closing.close(), shutdown);
            running.write_at_the_end(shutdown);
        }
    }

    /// Has each change judged by what becomes of the service, where it is on probation.
    pub(super) fn judge(&self, checker: &Checker, requests: Option<RequestLayer>) {
        if let (Some(running), Some(lasts)) = (&self.configuration, self.probation) {
            running.put_on(Probation { lasts, judge: Arc::new(Health::new(checker.clone(), requests)) });
        }
    }

    /// Has it be read again at each signal, and when its files change, as long as the answer is kept.
    pub(super) fn follow(
        self,
        hangup: Option<Signal>,
        checker: Checker,
        logging: Option<Logging>,
        systemd: Option<Systemd>,
    ) -> Option<Watching> {
        let running = self.configuration?;
        let watching = running.watch();
        let control = running as Arc<dyn Control>;
        tokio::spawn(reload_on(hangup?, control, checker, logging, systemd));
        Some(watching)
    }
}

/// A configuration of any type that runs.
trait Running: Control {
    fn run_here(&self);
    fn audit(&self, events: Events);
    fn watch(&self) -> Watching;
    fn close(&self);
    fn write_at_the_end(&self, shutdown: &Shutdown);
    fn put_on(&self, probation: Probation);
}

impl<T: Settings> Running for Live<T> {
    fn run_here(&self) {
        self.run_on(Handle::current());
    }

    fn audit(&self, events: Events) {
        audit(self, events);
    }

    fn watch(&self) -> Watching {
        self.watch(WatchOptions::default())
    }

    fn close(&self) {
        self.close();
    }

    fn write_at_the_end(&self, shutdown: &Shutdown) {
        write_versions_at_the_end(self, shutdown);
    }

    fn put_on(&self, probation: Probation) {
        self.adjust(|options| options.probation = Some(probation));
    }
}

/// Records each change as what it is for security: somebody changed what the process does.
pub(crate) fn audit<T: Settings>(live: &Live<T>, events: Events) {
    live.observe(move |request, report| {
        let action = match &report.outcome {
            _ if request.intent == Intent::DryRun => return,
            Outcome::Applied | Outcome::RestartRequired { .. } => "config_reload",
            Outcome::RolledBack { .. } => "config_rollback",
            Outcome::Unchanged | Outcome::Rejected(_) => return,
        };
        let (outcome, trigger) = (report.outcome.kind().as_str(), request.trigger.as_str());
        let version = report.version.map(|version| format!(", version {version}")).unwrap_or_default();
        let description = format!("{outcome} by {trigger}{version}, {} values differ", report.changes.len());
        let event = SecurityEvent::AuthzAdmin { user: &request.author, action };
        events.security(event).description(&description).log();
    });
}

/// Refuses changes of the configuration once the process is on its way out.
pub(crate) fn close_at_the_end(close: impl Fn() + Send + Sync + 'static, shutdown: &Shutdown) {
    let close = Arc::new(close);
    let closing = Arc::clone(&close);
    shutdown.on_phase(move |_| closing());
    // It may have begun before anyone followed it.
    if shutdown.is_shutting_down() {
        close();
    }
}

/// Has the store of versions take in the flush what it did not take so far.
pub(crate) fn write_versions_at_the_end<T: Settings>(live: &Live<T>, shutdown: &Shutdown) {
    let live = live.clone();
    shutdown.on_flush(Hook::new("configuration", move || async move {
        match live.flush().await {
            0 => Ok(()),
            _ => Err("versions of the configuration are left that the store has not taken"),
        }
    }));
}

/// Reloads at each SIGHUP, and has log files opened anew, which is what whoever rotates them sends it for.
pub(crate) async fn reload_on(
    mut hangup: Signal,
    control: Arc<dyn Control>,
    checker: Checker,
    logging: Option<Logging>,
    systemd: Option<Systemd>,
) {
    // Further signals meanwhile come to one more reload.
    while hangup.recv().await.is_some() {
        // First of all: what is logged from now on belongs into the new file.
        if let Some(logging) = &logging {
            logging.reopen();
        }
        // Whom nothing was said of being ready must not hear it because of a reload.
        let systemd = systemd.as_ref().filter(|_| checker.is_started());
        if let Some(systemd) = systemd {
            systemd.reloading();
        }
        let request =
            Request { trigger: Trigger::Signal, author: String::new(), intent: Intent::Apply, expected: None };
        control.reload(request).await;
        if let Some(systemd) = systemd {
            // Whatever came of it: the service runs, with the new configuration or the one from before.
            systemd.ready();
        }
    }
}
