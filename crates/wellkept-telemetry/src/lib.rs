//! What a process says of itself: logging, metrics, system readings. Never what is healthy.

pub mod logging;
pub mod metrics;
pub mod system;
