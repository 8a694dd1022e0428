//! What the parts' figures are called as metrics. Read at each scrape; nothing is kept here.

use std::sync::Arc;

use wellkept_config::Control;
use wellkept_health::Checker;
use wellkept_shutdown::Shutdown;
use wellkept_telemetry::metrics::{Audience, Collector, Metrics};
use wellkept_telemetry::system::{ProcessCollector, SystemRoot};

mod config;
mod flags;
mod health;
mod servers;
mod shutdown;

pub(crate) use flags::FlagCollector;
pub(crate) use servers::Servers;

/// Adds the collectors of the service, its components, the shutdown and this process.
pub(crate) fn register(metrics: &Metrics, checker: &Checker, shutdown: &Shutdown) -> Servers {
    let servers = Servers::default();
    add(metrics, "servers", servers.clone(), Audience::Everyone);
    add(metrics, "service", health::ServiceCollector(checker.clone()), Audience::Everyone);
    add(metrics, "components", health::ComponentCollector(checker.clone()), Audience::Operators);
    add(metrics, "shutdown", shutdown::ShutdownCollector(shutdown.clone()), Audience::Everyone);
    add(metrics, "process", ProcessCollector::new(&SystemRoot::default()), Audience::Everyone);
    servers
}

/// Adds the collectors of the configuration.
pub(crate) fn configuration(metrics: &Metrics, control: Arc<dyn Control>) {
    add(metrics, "config", config::ConfigCollector(Arc::clone(&control)), Audience::Everyone);
    // The hash is of a content that may hold a guessable secret.
    add(metrics, "config_content", config::ContentCollector(control), Audience::Operators);
}

/// Adds one under a name that tells its failures.
pub(crate) fn add(metrics: &Metrics, name: &str, collector: impl Collector, audience: Audience) {
    if let Err(error) = metrics.collector(name, collector, audience) {
        tracing::error!(target: "wellkept::metrics", code = error.code(), "{error}");
    }
}

/// The declarations of a collector, each a constant, and the list of them.
macro_rules! families {
    ($list:ident: $($name:ident = $kind:ident $family:literal $([$($label:literal),+])?, $help:literal;)+) => {
        $(const $name: Declaration<'static> = Declaration::$kind($family, $help)$(.by(&[$($label),+]))?;)+
        const $list: &[Declaration<'static>] = &[$($name),+];
    };
}
pub(crate) use families;

/// 1 for what is so.
fn truth(so: bool) -> f64 {
    f64::from(u8::from(so))
}
