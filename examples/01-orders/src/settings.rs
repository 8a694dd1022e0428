//! What the environment says.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `DATABASE_URL` | the database, `postgres://user:password@host/database` | required |
//! | `ORDERS_LISTEN` | where the application is served | `127.0.0.1:3000` |
//! | `ORDERS_PROBES` | where the probes are served too | nowhere |
//! | `ORDERS_ADMIN` | where details and the status page are served; a loopback address | nowhere |
//! | `ORDERS_CHECK_INTERVAL` | from one check of the database to the next, in ms | 10,000 |
//! | `ORDERS_DELAY`, `ORDERS_ANNOUNCE`, `ORDERS_DRAIN` | the shutdown's times, in ms | Wellkept's |

use std::env;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use deadpool_postgres::tokio_postgres::Config;
use wellkept::shutdown;

/// The exit code for settings that can't be used (`EX_CONFIG`).
pub(crate) const EXIT_CODE: u8 = 78;

pub(crate) struct Settings {
    pub(crate) database: Config,
    pub(crate) listen: SocketAddr,
    pub(crate) probes: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) check_interval: Duration,
    pub(crate) shutdown: shutdown::Settings,
}

impl Settings {
    pub(crate) fn from_environment() -> Result<Self, String> {
        let defaults = shutdown::Settings::default();
        Ok(Self {
            database: variable("DATABASE_URL")?.ok_or("DATABASE_URL is not set")?,
            listen: variable("ORDERS_LISTEN")?.unwrap_or((Ipv4Addr::LOCALHOST, 3000).into()),
            probes: variable("ORDERS_PROBES")?,
            admin: variable("ORDERS_ADMIN")?,
            check_interval: milliseconds("ORDERS_CHECK_INTERVAL")?.unwrap_or(Duration::from_secs(10)),
            shutdown: shutdown::Settings {
                delay: milliseconds("ORDERS_DELAY")?.unwrap_or(defaults.delay),
                announce: milliseconds("ORDERS_ANNOUNCE")?.unwrap_or(defaults.announce),
                drain: milliseconds("ORDERS_DRAIN")?.unwrap_or(defaults.drain),
                ..defaults
            },
        })
    }
}

fn milliseconds(name: &str) -> Result<Option<Duration>, String> {
    Ok(variable(name)?.map(Duration::from_millis))
}

fn variable<T: FromStr<Err: Display>>(name: &str) -> Result<Option<T>, String> {
    match env::var(name) {
        Ok(text) => text.parse().map(Some).map_err(|error| format!("{name}: {error}")),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(format!("{name}: {error}")),
    }
}
