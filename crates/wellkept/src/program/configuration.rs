//! The configuration as a whole, walked section by section; all that is wrong with it is collected.

use std::ffi::OsString;

use wellkept_config::{Diagnostics, Document, FromNode, Schema, Section, Settings, one_of};
use wellkept_health::WatchOptions;
use wellkept_health::trend::Retention;
use wellkept_shutdown::{Settings as ShutdownSettings, WhenLate};

use super::checks::{self, CheckDefinition, RESERVED, Timing};
use super::history;
use super::listeners::Listeners;
use super::liveness;
use super::logging::LoggingSettings;
use super::machine;
use super::maintenance::MaintenanceRules;
use super::metrics::MetricsSettings;
use super::reload::{self, ReloadSettings};
use super::store::StoreLocation;
use super::succession::HandoverPlace;

/// Everything that a configuration file says, checked.
#[derive(Debug)]
pub struct Configuration {
    /// The service's name, shown to everyone. Default: the machine's host name.
    pub service: String,
    /// The service's version, shown to everyone. Default: empty.
    pub version: String,
    /// What tells the service from others that look at it and that it looks at; replicas that are one service to the
    /// others share it. Default: a random one in each process.
    pub id: Option<String>,
    /// Where the doors are.
    pub listeners: Listeners,
    /// Where history is kept.
    pub store: StoreLocation,
    /// How long history is kept in a file, and in how many bytes. In memory it is the last day, whatever this says.
    pub history: Retention,
    /// The log's format and level.
    pub logging: LoggingSettings,
    /// Where metrics are pushed. Nowhere unless the section is there.
    #[cfg(feature = "otlp")]
    pub otlp: Option<crate::otlp::Options>,
    /// What is shown as metrics beyond the program's own figures.
    pub metrics: MetricsSettings,
    /// The checks.
    pub checks: Vec<CheckDefinition>,
    /// How the runtime that the checks run on is watched, and what happens when it stays stalled. Default: after 5 s
    /// the liveness probe fails and the log says so; the process is left alone.
    pub liveness: WatchOptions,
    /// When what is taken out.
    pub maintenance: MaintenanceRules,
    /// When it is read again, and how that goes.
    pub reload: ReloadSettings,
    /// The shutdown's times.
    pub shutdown: ShutdownSettings,
    /// Where the next process takes over. Nowhere unless the section is there.
    pub handover: Option<HandoverPlace>,
}

impl Configuration {
    /// Reads a text, as if it were a file of this name. `environment` has the variables that it names.
    pub fn parse(name: &str, text: &str, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, Diagnostics> {
        let lookup = |name: &str| environment(name).and_then(|value| value.into_string().ok());
        Document::parse_deferring(name, text)?.interpolate_deferring(&lookup).read(Self::read_root)
    }

    /// How many components there are with those of the program's own.
    pub fn components(&self) -> usize {
        self.checks.len() + RESERVED.len()
    }

    /// What is allowed and seldom meant, in words.
    pub fn warnings(&self) -> Vec<String> {
        let of_checks = self.checks.iter().flat_map(|check| check.component.warnings());
        let of_shutdown = self.shutdown.warnings();
        let of_listeners = self.listeners.warnings();
        let of_shutdown = of_shutdown.iter().map(ToString::to_string);
        of_checks.chain(of_shutdown).chain(of_listeners).chain(self.logging.warnings()).collect()
    }

    pub(super) fn read_root(root: &mut Section<'_>) -> Option<Self> {
        super::reference::describe(root);
        let identity = root.section("service", |service| {
            let name = service.optional::<String>("name");
            let version = service.optional::<String>("version");
            let id = service.optional::<String>("id");
            service.complete();
            Some((name, version, id))
        });
        let (service, version, id) = identity.unwrap_or_default();
        let listeners = Listeners::read(root);
        let store = root.section("store", |section| StoreLocation::read(section, service.as_deref()));
        let store = store.unwrap_or_else(|| StoreLocation::usual(service.as_deref()));
        let history = root.section("history", |section| Some(history::read(section)));
        let liveness = root.section("liveness", |section| Some(liveness::read(section)));
        let logging = root.section("logging", |section| Some(LoggingSettings::read(section)));
        #[cfg(feature = "otlp")]
        let otlp = root.section("otlp", |section| {
            let service = service.clone().unwrap_or_else(machine::host_name);
            super::otlp::read(section, &service, version.as_deref().unwrap_or_default())
        });
        #[cfg(not(feature = "otlp"))]
        if root.has("otlp") {
            let at = root.position_of("otlp");
            root.report(at, "config.not_built", "`otlp` is not in this build: it needs feature `otlp`");
        }
        let metrics = root.section("metrics", |section| Some(MetricsSettings::read(section)));
        let defaults = root.section("defaults", |section| Some(Timing::read_defaults(section))).unwrap_or_default();
        let (checks, names) = checks::read(root, &defaults);
        if let (Some((retention, at)), Some(checks)) = (history, &checks) {
            history::refuse(root, retention, at, checks.len() + RESERVED.len());
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let maintenance = root.section("maintenance", |section| Some(MaintenanceRules::read(section, &names)));
        let reload = root.section("reload", |section| Some(ReloadSettings::read(section)));
        let shutdown = root.section("shutdown", |section| Some(read_shutdown(section)));
        let (shutdown, handover) = shutdown.unwrap_or_default();
        if root.has("alerts") {
            let at = root.position_of("alerts");
            root.report(at, "config.not_available", "`alerts` is not a part of this version yet");
        }
        root.known(&["alerts", "otlp"]);
        root.complete();
        Some(Self {
            service: service.unwrap_or_else(machine::host_name),
            version: version.unwrap_or_default(),
            id,
            listeners,
            store,
            history: history.map(|(retention, _)| retention).unwrap_or_default(),
            logging: logging.unwrap_or_default(),
            #[cfg(feature = "otlp")]
            otlp,
            metrics: metrics.unwrap_or_default(),
            checks: checks?,
            liveness: liveness.unwrap_or_default(),
            maintenance: maintenance.unwrap_or_default(),
            reload: reload.unwrap_or_default(),
            shutdown,
            handover,
        })
    }
}

impl Settings for Configuration {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        Self::read_root(section)
    }

    fn restart_required(started: &Self, new: &Self) -> Vec<String> {
        reload::restart_required(started, new)
    }
}

fn read_shutdown(section: &mut Section<'_>) -> (ShutdownSettings, Option<HandoverPlace>) {
    let base = section.or("profile", Profile(ShutdownSettings::default())).0;
    let settings = ShutdownSettings {
        deadline: section.or("deadline", base.deadline),
        delay: section.or("delay", base.delay),
        announce: section.or("announce", base.announce),
        drain: section.or("drain", base.drain),
        resource: section.or("resource", base.resource),
        flush: section.or("flush", base.flush),
        when_late: if section.or("force_after_timeout", true) { WhenLate::Cut } else { WhenLate::Wait },
        log_progress: section.optional("log_progress").or(base.log_progress).filter(|every| !every.is_zero()),
        grace: section.optional("grace").or(base.grace),
    };
    let handover = section.section("handover", HandoverPlace::read);
    section.complete();
    if settings.deadline.is_zero() {
        let at = section.position_of("deadline");
        section.report(at, "config.range", "the deadline must be more than 0");
    }
    (settings, handover)
}

struct Profile(ShutdownSettings);

fn profiles() -> [(&'static str, ShutdownSettings); 4] {
    [
        ("kubernetes", ShutdownSettings::kubernetes()),
        ("docker", ShutdownSettings::docker()),
        ("systemd", ShutdownSettings::systemd()),
        ("plain", ShutdownSettings::default()),
    ]
}

impl FromNode for Profile {
    const EXPECTED: &'static str = "kubernetes, docker, systemd or plain";

    fn schema() -> Schema {
        Schema::words(&profiles())
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &profiles()).map(Self)
    }
}
