//! `wellkept config check FILE`: every mistake, with line and column.

use serde_json::json;
use wellkept::config::{Diagnostics, LoadError};
use wellkept::program::Places;

use crate::arguments::ConfigCheck;
use crate::exit::{Exit, Failure};
use crate::output::{print, print_json};

pub(crate) fn run(options: &ConfigCheck) -> Result<Exit, Failure> {
    let places = Places::find(Some(&options.path), []).map_err(|error| Failure::new(Exit::Configuration, error))?;
    match places.read() {
        Ok(configuration) => {
            let file = options.path.display().to_string();
            let warnings = configuration.warnings();
            let warnings: Vec<_> = warnings.iter().map(|warning| format!("{file}: warning: {warning}")).collect();
            let checks = configuration.checks.len();
            if options.json {
                let bytes = configuration.history.footprint(configuration.components()).bytes;
                print_json(&json!({
                    "file": file, "valid": true, "checks": checks, "history_bytes": bytes, "errors": [],
                    "warnings": warnings,
                }));
            } else {
                let plural = if checks == 1 { "" } else { "s" };
                let valid = format!("{file}: valid, {checks} check{plural}");
                print(&(warnings.into_iter().chain([valid]).collect::<Vec<_>>().join("\n") + "\n"));
            }
            Ok(Exit::Clean)
        }
        Err(LoadError::Rejected(errors)) => {
            tell(&errors, options.json);
            Ok(Exit::Configuration)
        }
        Err(error) => Err(Failure::new(Exit::Configuration, error)),
    }
}

/// The mistakes are what was asked for: they are data, and go to standard output.
fn tell(errors: &Diagnostics, as_json: bool) {
    if !as_json {
        print(&format!("{errors}\n"));
        return;
    }
    let listed: Vec<_> = errors
        .iter()
        .map(|error| {
            json!({
                "line": error.position.line, "column": error.position.column, "code": error.code,
                "message": error.message, "suggestion": error.suggestion,
            })
        })
        .collect();
    print_json(&json!({ "file": errors.file(), "valid": false, "errors": listed, "total": errors.total() }));
}
