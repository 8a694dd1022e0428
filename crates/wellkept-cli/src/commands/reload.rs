//! `wellkept reload`: has a running server read its configuration again, and says what came of it.

use std::time::Duration;

use serde_json::Value;

use crate::arguments::Reload;
use crate::exit::{Exit, Failure};
use crate::output::{escaped, print, print_json};

/// How long a reload may take. The server gives it up earlier.
const PATIENCE: Duration = Duration::from_secs(35);

pub(crate) fn run(options: &Reload) -> Result<Exit, Failure> {
    let (server, _) = super::find_server(&options.door)?;
    let (status, answer) = server.post_json::<Value>("/api/v1/config/reload", PATIENCE).map_err(|problem| {
        Failure::new(Exit::Unreachable, format!("{} can't be asked: {problem}", server.address()))
    })?;
    if options.door.json {
        print_json(&answer);
    }
    if status == 200 {
        if !options.door.json {
            print(&told(&answer));
        }
        return Ok(Exit::Clean);
    }
    let error = &answer["error"];
    let message = error["message"].as_str().unwrap_or("the server refused and did not say why");
    let message = message.lines().map(escaped).collect::<Vec<_>>().join("\n");
    let exit = match error["code"].as_str() {
        Some("config.rejected" | "config.no_file") => Exit::Configuration,
        _ => Exit::Failed,
    };
    Err(Failure::new(exit, format!("{} runs on as before\n{message}", server.address())))
}

fn told(answer: &Value) -> String {
    if answer["outcome"] != "applied" {
        return "The configuration is unchanged.\n".to_owned();
    }
    let names = |key: &str| -> Vec<String> {
        answer[key].as_array().into_iter().flatten().filter_map(|name| name.as_str().map(escaped)).collect()
    };
    let mut text = "The new configuration runs.\n".to_owned();
    for (key, word) in [
        ("added", "added"),
        ("changed", "changed"),
        ("removed", "removed"),
        ("restart_required", "waits for a restart"),
    ] {
        let names = names(key);
        if !names.is_empty() {
            text.push_str(&["  ", word, ": ", &names.join(", "), "\n"].concat());
        }
    }
    text
}
