//! From what a MySQL server says of itself to an outcome.

use std::time::Duration;

use serde_json::{Map, Value, json};
use wellkept_config::Ratio;
use wellkept_health::{Outcome, Reason};

use super::Options;
use super::session::{Connections, Copy, Readings, Receiving};
use crate::Role;
use crate::findings::{Findings, unexpected_value};

/// `lag` is in seconds.
pub(super) fn judge(options: &Options, readings: &Readings, lag: Option<f64>) -> Outcome {
    let mut findings = Findings::default();
    add_role(&mut findings, options.role, readings);
    if let Some(expected) = &options.expect
        && let Some(finding) = unexpected_value(expected, &readings.found)
    {
        findings.add(finding);
    }
    add_connections(&mut findings, options, readings);
    add_replication(&mut findings, options, readings, lag);
    add_transactions(&mut findings, options, readings);
    if is_blind(options, readings) {
        findings.add(Outcome::warn(Reason::Auth, "user may not see what a role or limit is set on"));
    }
    describe(findings.worst(), options, readings, lag)
}

/// Whether there is a role or a limit, and what it is about is not shown to this user.
pub(super) fn is_blind(options: &Options, readings: &Readings) -> bool {
    let on_transactions =
        options.transaction_degraded_above.is_some() || options.idle_transaction_degraded_above.is_some();
    let on_role = options.role != Role::Any;
    (on_transactions && readings.transactions.is_none())
        || ((on_role || is_lag_limited(options)) && readings.copies.is_none())
        || (on_role && readings.state.is_none())
        || (options.connections_unhealthy_above.is_some() && usage(readings).is_none())
}

fn is_lag_limited(options: &Options) -> bool {
    options.lag_degraded_above.is_some() || options.lag_unhealthy_above.is_some()
}

fn is_read_only(readings: &Readings) -> bool {
    readings.state.as_ref().is_some_and(|state| state.read_only || state.shares_storage)
}

fn add_role(findings: &mut Findings, role: Role, readings: &Readings) {
    let shares_storage = readings.state.as_ref().is_some_and(|state| state.shares_storage);
    let copies = readings.copies.as_deref();
    // One that was a replica, and was stopped for good to take the writes, still knows whom it copied.
    let is_copying = |copy: &Copy| copy.applying || copy.receiving != Receiving::Stopped;
    let finding = match role {
        Role::Primary if copies.is_some_and(|copies| copies.iter().any(is_copying)) => {
            Outcome::fail(Reason::NotReady, "server is a replica, a primary is expected")
        }
        Role::Primary if is_read_only(readings) => {
            Outcome::fail(Reason::NotReady, "server is read-only, a primary is expected")
        }
        Role::Replica if copies.is_some_and(<[_]>::is_empty) && !shares_storage => {
            Outcome::fail(Reason::NotReady, "server copies no other, a replica is expected")
        }
        Role::Replica if readings.state.is_some() && !is_read_only(readings) => {
            Outcome::warn(Reason::NotReady, "replica accepts writes")
        }
        _ => return,
    };
    findings.add(finding);
}

/// How much of the connections is in use.
fn usage(readings: &Readings) -> Option<f64> {
    let max = readings.state.as_ref().map(|state| state.max_connections).filter(|max| *max > 0)?;
    Some(readings.connections.as_ref()?.total as f64 / max as f64)
}

fn add_connections(findings: &mut Findings, options: &Options, readings: &Readings) {
    let Some(usage) = usage(readings) else { return };
    let degraded = options.connections_degraded_above.as_f64();
    let unhealthy = options.connections_unhealthy_above.map(Ratio::as_f64);
    findings.limit(usage, Some(degraded), unhealthy, || format!("{:.1}% of connections used", usage * 100.0));
}

fn add_replication(findings: &mut Findings, options: &Options, readings: &Readings, lag: Option<f64>) {
    if let Some(lag) = lag {
        let (degraded, unhealthy) = (seconds(options.lag_degraded_above), seconds(options.lag_unhealthy_above));
        findings.limit(lag, degraded, unhealthy, || format!("replication is {lag:.1} s behind"));
    }
    if options.role != Role::Replica && !is_lag_limited(options) {
        return;
    }
    let copies = readings.copies.as_deref().unwrap_or_default();
    if let Some(stopped) = copies.iter().find(|copy| !copy.applying) {
        let finding = Outcome::warn(Reason::NotReady, "replication has stopped");
        findings.add(finding.with_detail(stopped.errors.clone()));
    } else if let Some(cut_off) = copies.iter().find(|copy| copy.receiving != Receiving::Connected) {
        let finding = Outcome::warn(Reason::NotReady, "replica is not connected to the server that it copies");
        findings.add(finding.with_detail(cut_off.errors.clone()));
    }
}

fn add_transactions(findings: &mut Findings, options: &Options, readings: &Readings) {
    let Some(transactions) = &readings.transactions else { return };
    if let Some(age) = transactions.oldest {
        let message = || format!("oldest transaction is {age:.1} s old");
        findings.limit(age, seconds(options.transaction_degraded_above), None, message);
    }
    if let Some((_, Some(idle))) = transactions.idle {
        let message = || format!("a transaction has been idle for {idle:.1} s");
        findings.limit(idle, seconds(options.idle_transaction_degraded_above), None, message);
    }
}

fn describe(outcome: Outcome, options: &Options, readings: &Readings, lag: Option<f64>) -> Outcome {
    let mut outcome = outcome.with("server_version", readings.version.as_str());
    let max = readings.state.as_ref().map(|state| state.max_connections);
    let total = readings.connections.as_ref().map(|connections| connections.total);
    let idle = |connections: &Connections| connections.total.saturating_sub(connections.active);
    let named = [
        ("active", readings.connections.as_ref().map(|connections| connections.active)),
        ("idle", readings.connections.as_ref().map(idle)),
        ("total", total),
        ("max", max),
    ];
    let counts = named.into_iter().filter_map(|(name, count)| Some((name.to_owned(), json!(count?))));
    let counts: Map<_, _> = counts.collect();
    let transactions = readings.transactions.as_ref();
    let idle = transactions.and_then(|transactions| transactions.idle);
    let copies = readings.copies.as_deref();
    let all = |is_well: fn(&Copy) -> bool| {
        copies.filter(|copies| !copies.is_empty()).map(|copies| Value::Bool(copies.iter().all(is_well)))
    };
    let value = options.expect.as_ref().and_then(|_| readings.found.number());
    let told = [
        ("read_only", readings.state.as_ref().map(|_| Value::Bool(is_read_only(readings)))),
        ("connections", (!counts.is_empty()).then_some(Value::Object(counts))),
        ("oldest_transaction_s", transactions.and_then(|transactions| transactions.oldest).map(rounded)),
        ("idle_in_transaction", idle.map(|(count, _)| Value::from(count))),
        ("idle_transaction_s", idle.and_then(|(_, longest)| longest).map(rounded)),
        ("replica", copies.map(|copies| Value::Bool(!copies.is_empty()))),
        ("receiving", all(|copy| copy.receiving == Receiving::Connected)),
        ("applying", all(|copy| copy.applying)),
        ("lag_s", lag.map(rounded)),
        ("value", value.map(Value::from)),
    ];
    for (name, value) in told {
        if let Some(value) = value {
            outcome = outcome.with(name, value);
        }
    }
    match max.zip(total) {
        Some((max, total)) => outcome.with_remaining("connections_left", max.saturating_sub(total)),
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
