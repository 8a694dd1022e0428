//! `wellkept reload`: has a running server read its configuration again, and says what came of it.

use serde_json::json;

use crate::arguments::Reload;
use crate::exit::{Exit, Failure};

pub(crate) fn run(options: &Reload) -> Result<Exit, Failure> {
    super::config::change(&options.door, &options.change, "/api/v1/config/reload", json!({}))
}
