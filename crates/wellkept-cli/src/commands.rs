//! The commands, one file each.

pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod heartbeat;
pub(crate) mod log;
pub(crate) mod maintenance;
pub(crate) mod reload;
pub(crate) mod serve;
pub(crate) mod status;

use std::path::Path;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use wellkept::config::{FromNode, quoted};
use wellkept::program::{Configuration, Places};

use crate::arguments::Door;
use crate::ask::Server;
use crate::exit::{Exit, Failure};

/// The configuration that a command works with.
fn configuration(file: Option<&Path>) -> Result<Configuration, Failure> {
    let places = Places::find(file, []).map_err(|error| Failure::new(Exit::Configuration, error))?;
    places.read().map_err(|error| Failure::new(Exit::Configuration, error))
}

/// The server whose admin door is meant, and the configuration that tells of it, when one was needed.
fn find_server(door: &Door) -> Result<(Server, Option<Configuration>), Failure> {
    let configuration = match (&door.server, &door.file.config) {
        // Whoever names the server needs no configuration, not even a valid one.
        (Some(_), None) => None,
        _ => Some(configuration(door.file.config.as_deref())?),
    };
    let server = Server::find(door.server.as_deref(), door.token_file.as_deref(), configuration.as_ref())?;
    Ok((server, configuration))
}

/// A duration as the configuration writes it.
fn duration(text: &str) -> Result<Duration, Failure> {
    Duration::from_scalar(text).map_err(|hint| {
        let hint = if hint.is_empty() { hint } else { format!(" ({hint})") };
        Failure::new(Exit::Usage, format!("expected {}, found {}{hint}", Duration::EXPECTED, quoted(text)))
    })
}

/// Who asks for something: as given, or who runs the command.
fn author(given: Option<&str>) -> String {
    given.map(ToOwned::to_owned).or_else(|| std::env::var("USER").ok()).unwrap_or_default()
}

/// As a part of a path or a query.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
