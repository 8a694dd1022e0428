//! `wellkept heartbeat`: reports for a job, or runs it and reports its begin, its end and how it ended.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Instant;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use wellkept::checks::fetch::Method;

use crate::arguments::Heartbeat;
use crate::ask::{AskError, Server};
use crate::exit::{Exit, Failure};
use crate::output::{error, escaped, print, print_json};

pub(crate) fn run(options: &Heartbeat) -> Result<Exit, Failure> {
    if let Some((program, arguments)) = options.command.split_first() {
        return Ok(wrap(options, Command::new(program).args(arguments)));
    }
    let (server, _) = super::find_server(&options.door)?;
    let event = match (options.start, options.fail) {
        (true, _) => "start",
        (_, true) => "fail",
        _ => "end",
    };
    let standing = report(&server, &options.name, &json!({ "event": event }))?;
    if options.door.json {
        print_json(&standing);
    } else {
        let word = |key: &str| escaped(standing[key].as_str().unwrap_or("unknown"));
        print(&format!("{}: {}, due {}\n", escaped(&options.name), word("state").replace('_', " "), word("due")));
    }
    Ok(Exit::Clean)
}

/// Runs the command whether or not the server can be told: the job matters more than its report.
fn wrap(options: &Heartbeat, command: &mut Command) -> Exit {
    let server = match super::find_server(&options.door) {
        Ok((server, _)) => Some(server),
        Err(failure) => {
            error(&format!("not reported: {}", failure.message));
            None
        }
    };
    let tell = |body: &Value| {
        let told = server.as_ref().map(|server| report(server, &options.name, body));
        if let Some(Err(failure)) = told {
            error(&format!("not reported: {}", failure.message));
        }
    };
    tell(&json!({ "event": "start" }));
    let begun = Instant::now();
    let (code, exit) = match command.status() {
        Ok(status) => {
            // As a shell has it: 128 and the signal's number.
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
            (code, u8::try_from(code).unwrap_or(1))
        }
        Err(problem) => {
            error(&format!("the command can't be started: {problem}"));
            let missing = problem.kind() == std::io::ErrorKind::NotFound;
            let code = if missing { 127 } else { 126 };
            (i32::from(code), code)
        }
    };
    tell(&json!({ "exit_code": code, "duration": format!("{}ms", begun.elapsed().as_millis()) }));
    Exit::OfCommand(exit)
}

fn report(server: &Server, name: &str, body: &Value) -> Result<Value, Failure> {
    let path = format!("/api/v1/heartbeats/{}", utf8_percent_encode(name, NON_ALPHANUMERIC));
    server.act(Method::POST, &path, Some(body)).map_err(|problem| {
        let what = if matches!(problem, AskError::Refused { .. }) { "refuses" } else { "can't be asked" };
        Failure::new(problem.exit(), format!("{} {what}: {problem}", server.address()))
    })
}
