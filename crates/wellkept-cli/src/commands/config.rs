//! `wellkept config`: files are checked here; the configuration of a running server is shown and changed by its door.

pub(crate) mod check;
pub(crate) mod diff;
pub(crate) mod history;
pub(crate) mod show;

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wellkept::checks::fetch::{FetchError, Method};
use wellkept::config::quoted;
use wellkept::program::Configuration;

use crate::arguments::{Change, ConfigRollback, ConfigSchema, Door};
use crate::ask::{AskError, Server, Wish};
use crate::exit::{Exit, Failure};
use crate::output::{error, escaped, print, print_json};

const PATH: &str = "/api/v1/config";
/// How long a view may take. The server gives it up earlier.
const PATIENCE: Duration = Duration::from_secs(15);
/// How much of a hash is shown, and how much of one names it at least.
const DIGITS: usize = 12;
const LEAST_DIGITS: usize = 8;

/// `wellkept config schema`
pub(crate) fn schema(options: &ConfigSchema) -> Exit {
    if options.markdown {
        print(&Configuration::markdown());
    } else {
        print(&(Configuration::json_schema() + "\n"));
    }
    Exit::Clean
}

/// `wellkept config rollback N`
pub(crate) fn rollback(options: &ConfigRollback) -> Result<Exit, Failure> {
    let wish = json!({ "to": options.version });
    change(&options.door, &options.change, "/api/v1/config/rollback", wish)
}

/// Has a server change its configuration, waits for the outcome, and tells it.
pub(crate) fn change(door: &Door, change: &Change, path: &str, mut wish: Value) -> Result<Exit, Failure> {
    let patience = super::duration(&change.timeout)?;
    let (server, _) = super::find_server(door)?;
    let author = super::author(change.author.as_deref());
    if !author.is_empty() {
        wish["author"] = json!(author);
    }
    let wanted = change.if_match.as_deref().map(|wanted| etag(&server, wanted)).transpose()?;
    let path = if change.dry_run { format!("{path}?dry_run=true") } else { path.to_owned() };
    let header = wanted.map(|etag| ("if-match", etag));
    let wish = Wish { method: Method::POST, path: &path, body: Some(&wish), header };
    match server.act_within::<Value>(&wish, patience) {
        Ok(answer) if door.json => print_json(&answer),
        Ok(answer) => tell(&answer),
        Err(problem) => return Err(refused(&server, door, &problem)),
    }
    Ok(Exit::Clean)
}

/// What came of it, for people. What waits for a restart is told where it is not overlooked.
fn tell(answer: &Value) {
    let dry = answer["dry_run"] == true;
    let number = |key: &str| answer[key].as_u64().map(|number| number.to_string()).unwrap_or_default();
    let said = match (answer["outcome"].as_str().unwrap_or_default(), dry) {
        ("unchanged", _) => "The configuration is unchanged.".to_owned(),
        ("rolled_back", false) => format!("Version {} runs again.", number("returned_to")),
        ("rolled_back", true) => format!("Version {} would run again.", number("returned_to")),
        (_, false) => "The new configuration runs.".to_owned(),
        (_, true) => "The new configuration would run.".to_owned(),
    };
    let mut text = said + "\n";
    for (key, word) in [("added", "added"), ("changed", "changed"), ("removed", "removed")] {
        let names = words(&answer[key]);
        if !names.is_empty() {
            text.push_str(&["  ", word, ": ", &names.join(", "), "\n"].concat());
        }
    }
    for line in words(&answer["changes"]) {
        text.push_str(&["  ", &line, "\n"].concat());
    }
    print(&text);
    let waiting = words(&answer["restart_required"]);
    if !waiting.is_empty() {
        let verb = if dry { "would wait" } else { "wait" };
        error(&format!("warning: these keys {verb} for a restart, the rest is applied: {}", waiting.join(", ")));
    }
}

/// The strings of a list, fit for a terminal.
fn words(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(escaped)).collect()
}

/// Why a change was not made. The exit code tells a configuration that is wrong from a moment that is.
fn refused(server: &Server, door: &Door, problem: &AskError) -> Failure {
    let (status, code, message) = match problem {
        AskError::Refused { status, code, message } => (status, code, message),
        AskError::Unreachable(FetchError::Timeout(_)) => {
            let problem = format!(
                "{} has not told the outcome in time: it may still come, see `wellkept config history`",
                server.address()
            );
            return Failure::new(Exit::Late, problem);
        }
        _ => return Failure::new(problem.exit(), format!("{} can't be asked: {problem}", server.address())),
    };
    if door.json {
        print_json(&json!({ "error": { "code": code, "message": message } }));
    }
    let exit = match code.as_str() {
        "config.rejected" | "config.refused" | "config.pinned" | "config.no_file" => Exit::Configuration,
        "config.timed_out" => Exit::Late,
        "config.unknown_version" | "config.author" => Exit::Usage,
        _ if *status == 400 => Exit::Usage,
        _ => Exit::Failed,
    };
    let message = message.lines().map(escaped).collect::<Vec<_>>().join("\n");
    Failure::new(exit, format!("{} runs on as before ({})\n{message}", server.address(), escaped(code)))
}

/// What runs, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Running {
    version: Option<u64>,
    hash: String,
}

/// The `ETag` of what the caller names, which must run now. The server compares it again.
fn etag(server: &Server, wanted: &str) -> Result<String, Failure> {
    let is_hash = wanted.len() >= LEAST_DIGITS && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    let version = wanted.parse::<u64>().ok().filter(|_| wanted.len() < LEAST_DIGITS);
    if !is_hash && version.is_none() {
        let problem = format!(
            "{} is neither the number of a version nor {LEAST_DIGITS} digits of a hash: see `wellkept config history`",
            quoted(wanted)
        );
        return Err(Failure::new(Exit::Usage, problem));
    }
    let running: Running = view(server, PATH)?;
    let is_it = match version {
        Some(_) => version == running.version,
        None => running.hash.starts_with(&wanted.to_ascii_lowercase()),
    };
    if is_it {
        return Ok(format!("\"{}\"", running.hash));
    }
    let number = running.version.map(|version| format!("version {version}, ")).unwrap_or_default();
    let runs = format!("{number}{}", short(&running.hash));
    Err(Failure::new(Exit::Failed, format!("{} runs {runs}, not {wanted}: nothing is done", server.address())))
}

/// Asks for something to look at.
fn view<T: DeserializeOwned>(server: &Server, path: &str) -> Result<T, Failure> {
    server.act_within(&Wish::get(path), PATIENCE).map_err(|problem| {
        let what = if matches!(problem, AskError::Refused { .. }) { "refuses" } else { "can't be asked" };
        let exit = match &problem {
            AskError::Refused { code, .. } if code == "config.rejected" => Exit::Configuration,
            AskError::Refused { code, .. } if code == "config.timed_out" => Exit::Late,
            problem => problem.exit(),
        };
        Failure::new(exit, format!("{} {what}: {problem}", server.address()))
    })
}

/// As much of a hash as people compare.
fn short(hash: &str) -> String {
    escaped(hash.get(..DIGITS).unwrap_or(hash))
}

/// Who or what brought a version: the way it came, and who asked.
fn by(trigger: &str, author: &str) -> String {
    let author = if author.is_empty() { String::new() } else { format!(" ({author})") };
    escaped(&format!("{trigger}{author}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_brought_a_version_is_told_with_the_way_it_came() {
        assert_eq!(by("signal", ""), "signal");
        assert_eq!(by("api", "ann\u{1b}"), "api (ann\\u{1b})");
        assert_eq!(short("0123456789abcdef"), "0123456789ab");
        assert_eq!(short("é"), "é", "an answer that is none breaks nothing");
    }
}
