//! What the program `wellkept` is made of: its configuration as checked types, its commands' work.
//!
//! It lives here and not in the program itself so that other faces of the same engine see the same keys.

mod addition;
mod checks;
mod configuration;
mod history;
mod listeners;
mod liveness;
mod logging;
mod machine;
mod maintenance;
mod metrics;
mod once;
#[cfg(feature = "otlp")]
mod otlp;
mod places;
mod reference;
mod reload;
mod serve;
mod store;
mod succession;
mod tls;

pub use checks::CheckDefinition;
pub use configuration::Configuration;
pub use listeners::{Admin, Door, Haproxy, Listeners};
pub use logging::{LoggingSettings, Outputs, StandardStream};
pub use maintenance::MaintenanceRules;
pub use metrics::{MetricsSettings, SystemFigures};
pub use once::{Verdicts, run_all};
pub use places::Places;
pub use reload::{ReloadSettings, Watch, restart_keys};
pub use serve::{Handlers, StartError, serve};
#[cfg(feature = "postgres")]
pub use store::PostgresLocation;
pub use store::StoreLocation;
pub use succession::{HandoverPlace, Start};
pub use tls::DoorTls;
