//! From what a PostgreSQL server says of itself to an outcome.

use std::time::Duration;

use serde_json::{Map, Value, json};
use wellkept_health::{Outcome, Reason};

use super::Options;
use super::session::{Connections, Readings, Replication};
use crate::Role;
use crate::findings::{Findings, unexpected_value};

pub(super) fn judge(options: &Options, readings: &Readings) -> Outcome {
    let mut findings = Findings::default();
    add_role(&mut findings, options.role, readings);
    if let Some(expected) = &options.expect
        && let Some(finding) = unexpected_value(expected, &readings.found)
    {
        findings.add(finding);
    }
    add_connections(&mut findings, options, &readings.connections);
    add_lag(&mut findings, options, &readings.replication);
    add_transactions(&mut findings, options, &readings.connections);
    if is_blind(options, readings) {
        findings.add(Outcome::warn(Reason::Auth, "user may not see what a limit is set on"));
    }
    describe(findings.worst(), options, readings)
}

fn add_role(findings: &mut Findings, role: Role, readings: &Readings) {
    let (in_recovery, read_only) = (readings.in_recovery == Some(true), readings.read_only == Some(true));
    let not_ready = match role {
        Role::Primary if in_recovery => "server is a replica, a primary is expected",
        Role::Primary if read_only => "server is read-only, a primary is expected",
        Role::Replica if !in_recovery => "server is a primary, a replica is expected",
        Role::Replica if readings.replication.receiving == Some(false) => {
            findings.add(Outcome::warn(Reason::NotReady, "replica is not connected to the server that it copies"));
            return;
        }
        _ => return,
    };
    findings.add(Outcome::fail(Reason::NotReady, not_ready));
}

/// How much of the connections that ordinary users may have is in use.
fn usage(connections: &Connections) -> Option<f64> {
    let usable = connections.max?.checked_sub(connections.reserved).filter(|usable| *usable > 0)?;
    Some(connections.total? as f64 / usable as f64)
}

fn add_connections(findings: &mut Findings, options: &Options, connections: &Connections) {
    let Some(usage) = usage(connections) else { return };
    let degraded = options.connections_degraded_above.as_f64();
    let unhealthy = options.connections_unhealthy_above.map(wellkept_config::Ratio::as_f64);
    findings.limit(usage, Some(degraded), unhealthy, || format!("{:.1}% of connections used", usage * 100.0));
}

fn add_lag(findings: &mut Findings, options: &Options, replication: &Replication) {
    if let Some(lag) = replication.lag {
        let (degraded, unhealthy) = (seconds(options.lag_degraded_above), seconds(options.lag_unhealthy_above));
        findings.limit(lag, degraded, unhealthy, || format!("replication is {lag:.1} s behind"));
    }
    if let Some(bytes) = replication.lag_bytes {
        let degraded = options.lag_bytes_degraded_above.map(wellkept_config::ByteSize::as_u64);
        let unhealthy = options.lag_bytes_unhealthy_above.map(wellkept_config::ByteSize::as_u64);
        findings.limit(bytes, degraded, unhealthy, || format!("replication is {bytes} bytes behind"));
    }
}

fn add_transactions(findings: &mut Findings, options: &Options, connections: &Connections) {
    if let Some(age) = connections.oldest_transaction {
        let message = || format!("oldest transaction is {age:.1} s old");
        findings.limit(age, seconds(options.transaction_degraded_above), None, message);
    }
    if let Some(idle) = connections.longest_idle {
        let message = || format!("a transaction has been idle for {idle:.1} s");
        findings.limit(idle, seconds(options.idle_transaction_degraded_above), None, message);
    }
}

/// Whether there is a limit on something that the server does not show to this user.
fn is_blind(options: &Options, readings: &Readings) -> bool {
    let on_transactions =
        options.transaction_degraded_above.is_some() || options.idle_transaction_degraded_above.is_some();
    let on_lag = options.lag_degraded_above.is_some()
        || options.lag_unhealthy_above.is_some()
        || options.lag_bytes_degraded_above.is_some()
        || options.lag_bytes_unhealthy_above.is_some();
    let sessions_are_hidden = readings.connections.hidden || readings.connections.total.is_none();
    let lag_is_hidden = readings.replication.hidden || readings.replication.receiving.is_none();
    (on_transactions && sessions_are_hidden) || (on_lag && lag_is_hidden)
}

fn describe(mut outcome: Outcome, options: &Options, readings: &Readings) -> Outcome {
    if let Some(version) = &readings.version {
        outcome = outcome.with("server_version", version.as_str());
    }
    let connections = &readings.connections;
    let named = [
        ("active", connections.active),
        ("idle", connections.idle),
        ("idle_in_transaction", connections.idle_in_transaction),
        ("total", connections.total),
        ("max", connections.max),
    ];
    let counts = named.into_iter().filter_map(|(name, count)| Some((name.to_owned(), json!(count?))));
    let counts: Map<_, _> = counts.collect();
    let replication = &readings.replication;
    let value = options.expect.as_ref().and_then(|_| readings.found.number());
    let told = [
        ("in_recovery", readings.in_recovery.map(Value::Bool)),
        ("read_only", readings.read_only.map(Value::Bool)),
        ("connections", (!counts.is_empty()).then_some(Value::Object(counts))),
        ("oldest_transaction_s", connections.oldest_transaction.map(rounded)),
        ("idle_transaction_s", connections.longest_idle.map(rounded)),
        ("lag_s", replication.lag.map(rounded)),
        ("lag_bytes", replication.lag_bytes.map(Value::from)),
        ("replicas", replication.replicas.map(Value::from)),
        ("receiving", replication.receiving.filter(|_| readings.in_recovery == Some(true)).map(Value::Bool)),
        ("value", value.map(Value::from)),
    ];
    for (name, value) in told {
        if let Some(value) = value {
            outcome = outcome.with(name, value);
        }
    }
    let usable = connections.max.map(|max| max.saturating_sub(connections.reserved));
    match usable.zip(connections.total) {
        Some((usable, total)) => outcome.with_remaining("connections_left", usable.saturating_sub(total)),
        None => outcome,
    }
}

fn seconds(limit: Option<Duration>) -> Option<f64> {
    limit.map(|limit| limit.as_secs_f64())
}

/// Milliseconds are what a reader can use.
fn rounded(seconds: f64) -> Value {
    json!((seconds * 1e3).round() / 1e3)
}
