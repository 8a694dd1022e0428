//! Claims about the program, each shown on the real process and on real servers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acting;
mod activation;
mod changes;
mod checks;
mod commands;
mod configuration;
mod disturbed;
mod ending;
mod faults;
mod grpc;
mod handover;
mod haproxy;
mod jobs;
mod levels;
mod listening;
mod local;
mod logging;
mod maintenance;
mod metrics;
mod names;
mod one_liners;
mod openapi;
mod peers;
mod platforms;
mod served;
mod serving;
mod shared;
mod stalled;
mod start;
mod store;
mod system;
mod systemd;
mod trends;
mod upstreams;
mod versions;
