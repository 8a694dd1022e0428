//! What of the configuration can't change while the process runs.

use super::super::configuration::Configuration;
use super::super::listeners::Door;

type Differs = fn(&Configuration, &Configuration) -> bool;

/// The keys whose change waits for a restart, each with how a change is told.
const RESTART: &[(&str, Differs)] = &[
    ("service.name", |old, new| old.service != new.service),
    ("service.id", |old, new| old.id != new.id),
    ("service.version", |old, new| old.version != new.version),
    ("http.listen", |old, new| old.listeners.http.listen != new.listeners.http.listen),
    ("http.mode", |old, new| old.listeners.http.mode != new.listeners.http.mode),
    ("http.tls", |old, new| old.listeners.http.tls.is_some() != new.listeners.http.tls.is_some()),
    ("http.show_names", |old, new| old.listeners.names != new.listeners.names),
    ("admin.listen", |old, new| match (admin(old), admin(new)) {
        (Some(old), Some(new)) => old.listen != new.listen,
        (old, new) => old.is_some() != new.is_some(),
    }),
    ("admin.mode", |old, new| admin(old).zip(admin(new)).is_some_and(|(old, new)| old.mode != new.mode)),
    ("admin.tls", |old, new| {
        admin(old).zip(admin(new)).is_some_and(|(old, new)| old.tls.is_some() != new.tls.is_some())
    }),
    ("grpc.listen", |old, new| old.listeners.grpc != new.listeners.grpc),
    ("haproxy", |old, new| old.listeners.haproxy != new.listeners.haproxy),
    ("liveness", |old, new| old.liveness != new.liveness),
    ("maintenance.longest", |old, new| old.maintenance.longest != new.maintenance.longest),
    ("store", |old, new| old.store != new.store),
    ("history", |old, new| old.history != new.history),
    ("logging.format", |old, new| old.logging.format != new.logging.format),
    ("logging.output", |old, new| old.logging.outputs.stream != new.logging.outputs.stream),
    ("logging.file", |old, new| old.logging.outputs.file != new.logging.outputs.file),
    ("logging.spill", |old, new| old.logging.spill != new.logging.spill),
    ("logging.redact", |old, new| old.logging.redaction != new.logging.redaction),
    ("logging.gelf", |old, new| old.logging.outputs.gelf != new.logging.outputs.gelf),
    ("logging.repeats", |old, new| old.logging.repeats != new.logging.repeats),
    #[cfg(feature = "otlp")]
    ("otlp", |old, new| old.otlp != new.otlp),
    ("metrics", |old, new| old.metrics != new.metrics),
    ("reload.watch", |old, new| old.reload.watch != new.reload.watch),
    ("reload.poll", |old, new| old.reload.poll != new.reload.poll),
    ("shutdown", |old, new| old.shutdown != new.shutdown || old.handover != new.handover),
];

/// The keys, by their paths, whose new value waits for a restart: a section's path stands for all that is in it.
pub fn restart_keys() -> impl Iterator<Item = &'static str> {
    RESTART.iter().map(|(key, _)| *key)
}

/// Those of them that differ.
pub(in super::super) fn needed(started: &Configuration, new: &Configuration) -> Vec<String> {
    RESTART.iter().filter(|(_, differs)| differs(started, new)).map(|(key, _)| (*key).to_owned()).collect()
}

fn admin(configuration: &Configuration) -> Option<&Door> {
    configuration.listeners.admin.as_ref().map(|admin| &admin.door)
}
