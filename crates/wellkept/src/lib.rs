//! Operational hardening for services: health checks, probes, graceful shutdown, reload.
//!
//! What an axum user writes is a [`Service`] around the application; the parts can be used alone through the modules
//! [`health`], [`checks`], [`shutdown`], [`http`], [`telemetry`], [`net`] and [`config`].
#![cfg_attr(feature = "program", doc = "\nThe program `wellkept` stands on the module [`program`].")]

#[cfg(feature = "otlp")]
pub mod otlp;
mod pools;
mod probation;
mod service;

#[cfg(feature = "program")]
pub mod program;

/// What the process is told: all of `wellkept_config`, with its derives for who imports this crate alone.
pub mod config {
    pub use wellkept_config::derived::{SettingsOfWellkept as Settings, WordsOfWellkept as Words};
    pub use wellkept_config::*;
}

pub use service::{ApplicationDoors, Overdue, Role, ServeError, Service, ServiceOptions, SuccessionError};
pub use wellkept_health::{
    AnyCheck, Check, Component, Context, Group, Heartbeat, OnStall, Outcome, Reason, Status, WatchOptions,
};

pub use wellkept_checks as checks;
pub use wellkept_health as health;
pub use wellkept_http as http;
pub use wellkept_net as net;
pub use wellkept_shutdown as shutdown;
#[cfg(feature = "sqlite")]
pub use wellkept_store as store;
pub use wellkept_telemetry as telemetry;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}

/// Those of its longer sister too.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../../../docs/library.md")]
mod library {}

/// Those of the export.
#[cfg(all(doctest, feature = "otlp"))]
#[doc = include_str!("../../../docs/otlp.md")]
mod export {}

/// And those of the configuration.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/configuration.md")]
mod configuration {}

/// And those of metrics.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/metrics.md")]
mod metrics {}

/// And those of feature flags.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/flags.md")]
mod flags {}

/// And those of what is said about where to listen.
#[cfg(all(doctest, feature = "tls"))]
#[doc = include_str!("../../../docs/listening.md")]
mod listening {}
