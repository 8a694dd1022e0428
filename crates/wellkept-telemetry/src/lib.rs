//! What a process says of itself: logging, correlation, metrics, system readings. Never what is healthy.

pub mod correlation;
pub mod events;
pub mod logging;
pub mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod recorders;
pub mod system;

#[cfg(test)]
mod memory;
