//! `wellkept check`: run the checks once, or ask a running server; the exit code says what came of it.

mod one_liner;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::runtime::Builder;
use wellkept::Status;
use wellkept::config::{nearest, quoted};
use wellkept::health::wire::nagios;
use wellkept::health::{Activity, Component, Criticality, wire};
use wellkept::program::{Verdicts, run_all};

use self::one_liner::Asked;
use crate::arguments::Check;
use crate::ask::{AskError, Server};
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Colours, Table, escaped, indented, print, print_json};

/// How long all of it may take for a monitoring system, which gives up after 10 s (Monitoring Plugins Development
/// Guidelines, "Timeouts").
const NAGIOS_LIMIT: Duration = Duration::from_secs(9);

pub(crate) fn run(options: Check) -> Result<Exit, Failure> {
    let (nagios, as_json) = (options.nagios, options.json);
    let findings = match find(options) {
        Ok(Answer::Findings(findings)) => findings,
        Ok(Answer::Help(text)) => {
            print(&text);
            return Ok(Exit::Clean);
        }
        // A monitoring system that runs a plugin reads its one line and 0 to 3, whatever happened.
        Err(failure) if nagios => {
            let critical = matches!(failure.exit, Exit::Unreachable | Exit::NotHealthy);
            print(&format!(
                "WELLKEPT {} - {}\n",
                if critical { "CRITICAL" } else { "UNKNOWN" },
                first_line(&failure.message)
            ));
            return Ok(Exit::Nagios(if critical { 2 } else { 3 }));
        }
        Err(failure) => return Err(failure),
    };
    if nagios {
        print(&findings.nagios());
        return Ok(Exit::Nagios(nagios::code(findings.status)));
    }
    if as_json {
        print_json(&findings.json());
    } else {
        print(&findings.table(Colours::of_stdout()));
    }
    Ok(if findings.is_good() { Exit::Clean } else { Exit::NotHealthy })
}

enum Answer {
    /// How to use a kind.
    Help(String),
    Findings(Findings),
}

/// Finds out on a thread of its own, which is left behind when there is a limit and it has passed: neither a file nor a
/// name nor a server that hangs holds up the answer.
fn find(options: Check) -> Result<Answer, Failure> {
    let Some(limit) = limit(&options)? else { return look(&options, None) };
    let (tell, told) = sync_channel(1);
    let looking = std::thread::Builder::new().spawn(move || drop(tell.send(look(&options, Some(limit)))));
    looking.map_err(|error| Failure::new(Exit::Failed, format!("a thread can't be started: {error}")))?;
    match told.recv_timeout(limit) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => Err(Failure::new(Exit::NotHealthy, format!("no answer within {limit:?}"))),
        Err(RecvTimeoutError::Disconnected) => Err(Failure::new(Exit::Failed, "the checks could not be run")),
    }
}

/// How long all of it may take. A check of one kind has this time for itself, and no other.
fn limit(options: &Check) -> Result<Option<Duration>, Failure> {
    match &options.timeout {
        Some(timeout) => super::duration(timeout).map(Some),
        None if options.nagios && options.one_liner.is_none() => Ok(Some(NAGIOS_LIMIT)),
        None => Ok(None),
    }
}

fn look(options: &Check, limit: Option<Duration>) -> Result<Answer, Failure> {
    let findings = match (&options.one_liner, &options.server) {
        (Some(words), _) => match one_liner::read(words, &|name| std::env::var_os(name))? {
            Asked::Help(text) => return Ok(Answer::Help(text)),
            Asked::Check(component) => Findings::of(&run_all_once(vec![*component])?),
        },
        (None, Some(address)) => ask(options, address)?,
        (None, None) => run_configured(options, limit)?,
    };
    Ok(Answer::Findings(findings))
}

/// What was found, whoever ran the checks.
struct Findings {
    status: Status,
    ready: Ready,
    checks: Vec<Finding>,
}

/// What is known of readiness.
enum Ready {
    /// What a server says of itself, which is what counts then.
    Server(bool),
    /// What it would be by these checks, which count all by themselves.
    Of(Status),
    /// Nothing: only some checks were asked for.
    Unasked,
}

struct Finding {
    name: String,
    status: Status,
    reason: Option<String>,
    message: String,
    detail: String,
    milliseconds: Option<f64>,
    required: Option<bool>,
    metadata: Map<String, Value>,
    /// What it consists of when it is another service.
    components: BTreeMap<String, wire::Part>,
}

impl Finding {
    /// What a server tells of a check; without details only its status.
    fn of(name: &str, status: Status, details: Option<&wire::Component>) -> Self {
        Self {
            name: name.to_owned(),
            status,
            reason: details.and_then(|details| details.reason.clone()),
            message: details.map(|details| details.message.clone()).unwrap_or_default(),
            detail: details.map(|details| details.detail.clone()).unwrap_or_default(),
            milliseconds: details.and_then(|details| details.response_time_ms),
            required: details.map(|details| details.required),
            metadata: details.map(|details| details.metadata.clone()).unwrap_or_default(),
            components: details.map(|details| details.components.clone()).unwrap_or_default(),
        }
    }

    /// What it adds to all: as much when a server tells of it as when it is run here.
    fn counts(&self) -> Option<Status> {
        let weight = if self.required == Some(false) { Criticality::Optional } else { Criticality::Required };
        weight.weigh(self.status)
    }
}

fn run_configured(options: &Check, limit: Option<Duration>) -> Result<Findings, Failure> {
    let configuration = super::configuration(options.file.config.as_deref())?;
    let components: Vec<Component> = configuration.checks.into_iter().map(|check| check.component).collect();
    let mut wanted = select(components, &options.names)?;
    // One that is named is wanted, also when it is disabled.
    wanted.retain(|one| !options.names.is_empty() || one.first_activity() == Activity::Enabled);
    // A check is cut a little before the whole, so that the others' results are told.
    let most = limit.map_or(Duration::MAX, |limit| limit.saturating_sub((limit / 10).min(Duration::from_millis(500))));
    let wanted = wanted.into_iter().map(|component| {
        let timeout = component.run_timeout().min(most);
        component.timeout(timeout)
    });
    let verdicts = run_all_once(wanted.collect())?;
    let findings = Findings::of(&verdicts);
    let ready = if options.names.is_empty() { Ready::Of(verdicts.readiness()) } else { Ready::Unasked };
    Ok(Findings { ready, ..findings })
}

fn run_all_once(wanted: Vec<Component>) -> Result<Verdicts, Failure> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("the runtime can't be started: {error}")))?;
    let verdicts = runtime.block_on(run_all(wanted));
    runtime.shutdown_background();
    Ok(verdicts)
}

fn select(components: Vec<Component>, names: &[String]) -> Result<Vec<Component>, Failure> {
    refuse_unknown(names, components.iter().map(Component::name))?;
    let wanted = |component: &Component| names.is_empty() || names.iter().any(|name| name == component.name());
    Ok(components.into_iter().filter(wanted).collect())
}

fn refuse_unknown<'k>(names: &[String], known: impl Iterator<Item = &'k str> + Clone) -> Result<(), Failure> {
    match names.iter().find(|name| !known.clone().any(|known| known == name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let nearest = nearest(name, known);
            let hint = nearest.map(|nearest| format!(", did you mean {}?", quoted(nearest))).unwrap_or_default();
            Err(Failure::new(Exit::Usage, format!("there is no check {}{hint}", quoted(name))))
        }
    }
}

fn ask(options: &Check, address: &str) -> Result<Findings, Failure> {
    let server = Server::new(address, options.token_file.as_deref())?;
    let answer = server.get_json::<wire::Ready>("/health/ready?detailed=true");
    let (_, ready) = answer.map_err(|error| {
        let exit = if matches!(error, AskError::Unauthorized) { Exit::Usage } else { Exit::Unreachable };
        Failure::new(exit, format!("{} can't be asked: {error}", server.address()))
    })?;
    if options.names.is_empty() {
        return Ok(Findings::of_server(ready));
    }
    // A check that readiness does not see is shown to operators only.
    let detailed = server.get_json::<wire::Detailed>("/health/detailed").map(|(_, detailed)| detailed.components);
    let details = detailed.or_else(|_| ready.components.ok_or(())).unwrap_or_default();
    let known = details.keys().chain(ready.dependencies.keys()).map(String::as_str);
    refuse_unknown(&options.names, known)?;
    let wanted = |name: &&String| options.names.contains(name);
    let mut checks: Vec<_> = details
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, component)| Finding::of(name, component.status, Some(component)))
        .collect();
    let bare = ready.dependencies.iter().filter(|(name, _)| wanted(name) && !details.contains_key(*name));
    checks.extend(bare.map(|(name, status)| Finding::of(name, *status, None)));
    let status = checks.iter().filter_map(Finding::counts).fold(Status::Healthy, Status::worse);
    Ok(Findings { status, ready: Ready::Unasked, checks })
}

impl Findings {
    fn of(verdicts: &Verdicts) -> Self {
        let checks = verdicts.checks.iter().map(|(component, finished)| Finding {
            name: component.name().to_owned(),
            status: finished.outcome.verdict().into(),
            reason: finished.outcome.reason().map(ToString::to_string),
            message: finished.outcome.message().to_owned(),
            detail: finished.outcome.detail().to_owned(),
            milliseconds: Some(finished.elapsed.as_secs_f64() * 1000.0),
            required: Some(component.weight() == Criticality::Required),
            metadata: finished.outcome.metadata().clone(),
            components: finished.outcome.parts().map(|parts| wire::Part::all(parts.list())).unwrap_or_default(),
        });
        Self { status: verdicts.status(), ready: Ready::Unasked, checks: checks.collect() }
    }

    fn of_server(ready: wire::Ready) -> Self {
        let details = ready.components.unwrap_or_default();
        let checks = ready.dependencies.iter().map(|(name, status)| Finding::of(name, *status, details.get(name)));
        let checks: Vec<_> = checks.collect();
        // A server that is not ready although all that it needs is well is starting, or on its way out.
        let status = match ready.reason.as_deref() {
            Some("draining") if ready.status.is_ready() => Status::Degraded,
            Some(_) if ready.status.is_ready() => Status::Unknown,
            _ => ready.status,
        };
        Self { status, ready: Ready::Server(ready.ready), checks }
    }

    /// Whether it is good enough: a server is ready, or checks are not worse than degraded.
    fn is_good(&self) -> bool {
        match self.ready {
            Ready::Server(ready) => ready,
            Ready::Of(_) | Ready::Unasked => self.status.is_ready(),
        }
    }

    /// The last line: what the exit code follows, in words.
    fn verdict(&self) -> String {
        match self.ready {
            Ready::Server(true) => format!("ready: {}", self.status),
            Ready::Server(false) => format!("not ready: {}", self.status),
            Ready::Of(readiness) => format!("checks: {}; for readiness: {readiness}", self.status),
            Ready::Unasked => format!("checks: {}", self.status),
        }
    }

    fn table(&self, colours: Colours) -> String {
        let mut table = Table::new(&["CHECK", "STATUS", "TOOK", "REASON", "WHAT IT FOUND"]);
        for check in &self.checks {
            let optional = if check.required == Some(false) { " (optional)" } else { "" };
            let found = [check.message.as_str(), check.detail.as_str()].into_iter().filter(|text| !text.is_empty());
            table.row([
                Cell::from(format!("{}{optional}", check.name)),
                Cell::status(check.status),
                Cell::from(check.milliseconds.map(|time| format!("{time:.1} ms")).unwrap_or_default()),
                Cell::from(check.reason.as_deref().unwrap_or_default()),
                Cell::from(found.collect::<Vec<_>>().join(": ")),
            ]);
            for (name, part) in indented(&check.components, 1) {
                table.row([
                    Cell::from(name),
                    Cell::status(part.status),
                    Cell::from(part.response_time_ms.map(|time| format!("{time:.1} ms")).unwrap_or_default()),
                    Cell::from(part.reason.as_deref().unwrap_or_default()),
                    Cell::from(&part.message),
                ]);
            }
        }
        let mut text = if self.checks.is_empty() { String::new() } else { table.render(colours) + "\n" };
        // Writing to a String can't fail.
        let _ = writeln!(text, "{}", self.verdict());
        text
    }

    fn json(&self) -> Value {
        let checks = self.checks.iter().map(|check| {
            let mut value = json!({
                "status": check.status, "reason": check.reason, "message": check.message, "detail": check.detail,
                "response_time_ms": check.milliseconds.map(|time| (time * 1000.0).round() / 1000.0),
                "required": check.required, "metadata": check.metadata,
            });
            if !check.components.is_empty() {
                value["components"] = json!(check.components);
            }
            (check.name.clone(), value)
        });
        let ready = match self.ready {
            Ready::Of(readiness) => readiness.is_ready(),
            Ready::Server(_) | Ready::Unasked => self.is_good(),
        };
        json!({ "status": self.status, "ready": ready, "components": checks.collect::<Map<_, _>>() })
    }

    fn nagios(&self) -> String {
        let parts = self.checks.iter().map(|check| nagios::Part {
            name: &check.name,
            status: check.status,
            reason: check.reason.as_deref(),
            milliseconds: check.milliseconds,
        });
        nagios::line(self.status, parts)
    }
}

fn first_line(message: &str) -> String {
    escaped(message.lines().next().unwrap_or_default()).replace('|', "/")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::arguments::{Arguments, Command};

    #[test]
    fn a_monitoring_system_is_answered_before_it_gives_up() {
        let limit_of = |line: &str| {
            let words = ["wellkept", "check"].into_iter().chain(line.split_whitespace());
            let arguments = Arguments::try_parse_from(words).map_err(|error| error.to_string());
            match arguments.unwrap().command {
                Command::Check(options) => limit(&options).map_err(|failure| failure.message),
                _ => panic!("{line}"),
            }
        };
        assert_eq!(limit_of("--nagios"), Ok(Some(Duration::from_secs(9))));
        assert_eq!(limit_of("--nagios --server http://h --timeout 20s"), Ok(Some(Duration::from_secs(20))));
        assert_eq!(limit_of("--timeout 500ms"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(limit_of(""), Ok(None));
        limit_of("--timeout 5").unwrap_err();
    }
}
