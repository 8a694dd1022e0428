//! The commands, one file each.

pub(crate) mod check;
pub(crate) mod config_check;
pub(crate) mod reload;
pub(crate) mod serve;
pub(crate) mod status;

use std::path::Path;

use wellkept::program::Configuration;

use crate::exit::{Exit, Failure};

/// The configuration that a command works with.
fn configuration(file: Option<&Path>) -> Result<Configuration, Failure> {
    Configuration::find(file, &|name| std::env::var_os(name)).map_err(|error| Failure::new(Exit::Configuration, error))
}
