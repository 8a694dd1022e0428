//! Reaching out safely: names are resolved by a bounded pool with a deadline, addresses are judged by rules before
//! anything is sent to them, connections and TLS handshakes end when their deadline says so.
//!
//! What this crate does not know: protocols, checks, configuration. It starts nothing until it is first asked.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use tokio::time::Instant;
//! use wellkept_net::{AddressRules, Target, connect, tls};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let deadline = Instant::now() + Duration::from_secs(2);
//! let target: Target = "example.org:443".parse()?;
//! let stream = connect(&target, AddressRules::configured(), deadline).await?;
//! let encrypted = tls::connect(stream, target.host(), deadline).await?;
//! # drop(encrypted);
//! # Ok(())
//! # }
//! ```

mod address;
mod connect;
mod resolve;
mod target;
pub mod tls;

pub use address::{AddressRules, Blocked};
pub use connect::{ConnectError, connect, connect_unix};
pub use resolve::{ResolveError, Resolver, ResolverOptions, ResolverStats, resolve};
pub use target::{Target, TargetError};
