//! From what a Redis server says of itself to an outcome.

use std::time::Duration;

use serde_json::{Map, Value, json};
use wellkept_config::{ByteSize, Ratio};
use wellkept_health::{Outcome, Reason};

use super::Options;
use super::info::{Info, Mode};
use crate::Role;
use crate::findings::Findings;

/// What the server said in one run.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What `PING` was answered, if that is not `PONG`.
    pub(super) refused: Option<Outcome>,
    pub(super) info: Info,
    /// What `CLUSTER INFO` was answered, on a node of a cluster.
    pub(super) cluster: Info,
    pub(super) round_trip: Duration,
}

pub(super) fn judge(options: &Options, told: Told) -> Outcome {
    let Told { refused, info, cluster, round_trip } = told;
    let mut findings = Findings::default();
    if let Some(refused) = refused {
        findings.add(refused);
    }
    add_role(&mut findings, options.role, &info);
    add_watched(&mut findings, &info);
    add_cluster(&mut findings, &cluster);
    add_link(&mut findings, &info);
    add_data(&mut findings, &info);
    add_limits(&mut findings, options, &info);
    if is_blind(options, &info) {
        findings.add(Outcome::warn(Reason::Auth, "user may not see what is to be judged"));
    }
    let outcome = describe(findings.worst(), &info, &cluster);
    if info.is_empty() {
        return outcome;
    }
    outcome.with("round_trip_ms", (round_trip.as_secs_f64() * 1e6).round() / 1e3)
}

fn add_role(findings: &mut Findings, role: Role, info: &Info) {
    let expected = match role {
        Role::Any => return,
        Role::Primary => "primary",
        Role::Replica => "replica",
    };
    if info.mode() == Some(Mode::Sentinel) {
        findings.add(Outcome::fail(Reason::Unexpected, "server is a Sentinel, which holds no data"));
    } else if info.role().is_some_and(|found| found != expected) {
        let message = match role {
            Role::Replica => "server is a primary, a replica is expected",
            _ => "server is a replica, a primary is expected",
        };
        findings.add(Outcome::fail(Reason::NotReady, message));
    }
}

fn add_watched(findings: &mut Findings, info: &Info) {
    for watched in info.watched() {
        let outcome = match watched.status.as_str() {
            "ok" => continue,
            "odown" => Outcome::fail(Reason::NotReady, "a primary is down"),
            _ => Outcome::warn(Reason::NotReady, "a primary is not reached by this Sentinel"),
        };
        findings.add(outcome.with_detail(format!("{}: {}", watched.name, watched.status)));
    }
    if info.number("sentinel_tilt") == Some(1) {
        findings.add(Outcome::warn(Reason::NotReady, "Sentinel does not trust its clock and acts on nothing"));
    }
}

fn add_cluster(findings: &mut Findings, cluster: &Info) {
    if cluster.text("cluster_state").is_some_and(|state| state != "ok") {
        let assigned = cluster.number("cluster_slots_assigned").unwrap_or_default();
        let outcome = Outcome::fail(Reason::NotReady, "cluster is down");
        findings.add(outcome.with_detail(format!("{assigned} of 16384 slots are assigned")));
        return;
    }
    let failing = ["cluster_slots_fail", "cluster_slots_pfail"].map(|name| cluster.number(name).unwrap_or_default());
    if failing != [0, 0] {
        let outcome = Outcome::warn(Reason::NotReady, "a node of the cluster is not reached");
        findings.add(outcome.with_detail(format!("{} slots down, {} perhaps", failing[0], failing[1])));
    }
}

fn add_link(findings: &mut Findings, info: &Info) {
    if info.link_is_up() != Some(false) {
        return;
    }
    let message =
        if info.is_copying() { "replica is copying its primary" } else { "replica has lost its primary" };
    findings.add(Outcome::warn(Reason::NotReady, message));
}

/// What a server that answers `PING` may still suffer from.
fn add_data(findings: &mut Findings, info: &Info) {
    if info.refuses_when_full() && info.memory_usage().is_some_and(|usage| usage >= 1.0) {
        findings.add(Outcome::warn(Reason::Exhausted, "writes are refused as the memory is full"));
    }
    if info.last_save_failed() {
        findings.add(Outcome::warn(Reason::Error, "the data could not be saved"));
    }
}

fn add_limits(findings: &mut Findings, options: &Options, info: &Info) {
    if let Some((_left, usage)) = info.connections() {
        let degraded = Some(options.connections_degraded_above.as_f64());
        let unhealthy = options.connections_unhealthy_above.map(Ratio::as_f64);
        findings.limit(usage, degraded, unhealthy, || format!("{:.1}% of connections used", usage * 100.0));
    }
    if let Some(usage) = info.memory_usage() {
        let degraded = options.memory_degraded_above.map(Ratio::as_f64);
        let unhealthy = options.memory_unhealthy_above.map(Ratio::as_f64);
        findings.limit(usage, degraded, unhealthy, || format!("{:.1}% of memory used", usage * 100.0));
    }
    if let Some(lag) = info.lag() {
        let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs_f64());
        let (degraded, unhealthy) = (seconds(options.lag_degraded_above), seconds(options.lag_unhealthy_above));
        findings.limit(lag, degraded, unhealthy, || {
            if lag.is_finite() {
                format!("replication is {lag:.0} s behind")
            } else {
                "replication has never begun".to_owned()
            }
        });
    }
    if let Some(bytes) = info.lag_bytes() {
        let degraded = options.lag_bytes_degraded_above.map(ByteSize::as_u64);
        let unhealthy = options.lag_bytes_unhealthy_above.map(ByteSize::as_u64);
        findings.limit(bytes, degraded, unhealthy, || format!("replication is {bytes} bytes behind"));
    }
}

/// Whether there is something to hold against `INFO`, and the user may not run it.
fn is_blind(options: &Options, info: &Info) -> bool {
    let is_limited = options.memory_degraded_above.is_some()
        || options.memory_unhealthy_above.is_some()
        || options.connections_unhealthy_above.is_some()
        || options.lag_degraded_above.is_some()
        || options.lag_unhealthy_above.is_some()
        || options.lag_bytes_degraded_above.is_some()
        || options.lag_bytes_unhealthy_above.is_some();
    info.is_empty() && (is_limited || options.role != Role::Any)
}

fn describe(mut outcome: Outcome, info: &Info, cluster: &Info) -> Outcome {
    let ratio = |ratio: Option<f64>| ratio.map(|ratio| json!((ratio * 1e4).round() / 1e4));
    let number = |name: &str| info.number(name).map(Value::from);
    let mode = info.mode().map(|mode| match mode {
        Mode::Standalone => "standalone",
        Mode::Cluster => "cluster",
        Mode::Sentinel => "sentinel",
    });
    let is_replicated = info.link_is_up().is_some() || info.number("connected_slaves").is_some_and(|count| count > 0);
    let loading = info.is_loading();
    let told = [
        ("product", info.product().map(Value::from)),
        ("server_version", info.version().map(Value::from)),
        ("mode", mode.map(Value::from)),
        ("role", info.role().map(Value::from)),
        ("connected_clients", number("connected_clients")),
        ("used_memory_bytes", number("used_memory")),
        ("maxmemory_bytes", info.memory_limit().map(Value::from)),
        ("memory_usage", ratio(info.memory_usage())),
        ("hit_rate", ratio(info.hit_rate())),
        ("link", info.link_is_up().map(|up| if up { "up" } else { "down" }.into())),
        ("replicas", number("connected_slaves").filter(|_| is_replicated)),
        ("lag_s", info.lag().filter(|lag| lag.is_finite()).map(Value::from)),
        ("lag_bytes", info.lag_bytes().map(Value::from)),
        ("loaded_percent", info.text("loading_loaded_perc").filter(|_| loading).and_then(|text| text.parse::<f64>().ok()).map(Value::from)),
        ("loading_eta_s", number("loading_eta_seconds").filter(|_| loading)),
        ("masters", watched(info)),
        ("cluster", of_cluster(cluster)),
    ];
    for (name, value) in told {
        if let Some(value) = value {
            outcome = outcome.with(name, value);
        }
    }
    // What runs out for good comes before what others give back.
    let memory = info.memory_left().filter(|_| info.refuses_when_full());
    let connections = info.connections().map(|(left, _usage)| left);
    match (memory, connections) {
        (Some(memory), Some(connections)) => {
            outcome.with("connections_left", connections).with_remaining("memory_left_bytes", memory)
        }
        (Some(memory), None) => outcome.with_remaining("memory_left_bytes", memory),
        (None, Some(connections)) => outcome.with_remaining("connections_left", connections),
        (None, None) => outcome,
    }
}

/// Those that a Sentinel watches over, by name.
fn watched(info: &Info) -> Option<Value> {
    let masters = info.watched().into_iter().map(|watched| {
        let counts = [("replicas", watched.replicas), ("sentinels", watched.sentinels)];
        let counts = counts.into_iter().filter_map(|(name, count)| Some((name.to_owned(), json!(count?))));
        let told: Map<_, _> = std::iter::once(("status".to_owned(), json!(watched.status))).chain(counts).collect();
        (watched.name, Value::Object(told))
    });
    let masters: Map<_, _> = masters.collect();
    (info.mode() == Some(Mode::Sentinel)).then_some(Value::Object(masters))
}

/// The state, and the figures by the names that they have there.
fn of_cluster(cluster: &Info) -> Option<Value> {
    let mut told = Map::new();
    told.insert("state".to_owned(), cluster.text("cluster_state")?.into());
    for name in ["slots_assigned", "slots_ok", "slots_pfail", "slots_fail", "known_nodes", "size"] {
        if let Some(number) = cluster.number(&format!("cluster_{name}")) {
            told.insert(name.to_owned(), number.into());
        }
    }
    Some(Value::Object(told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wellkept_health::Verdict;

    const PRIMARY: &str = "# Server\r\nredis_version:7.0.15\r\n# Clients\r\nconnected_clients:3\r\n# Memory\r\n\
        used_memory:450\r\nmaxmemory:1000\r\nmaxmemory_policy:noeviction\r\n# Stats\r\nkeyspace_hits:95\r\n\
        keyspace_misses:5\r\n# Replication\r\nrole:master\r\n# Persistence\r\nrdb_last_bgsave_status:ok\r\n";

    fn told(info: &str) -> Told {
        Told { info: Info::parse(info), ..Told::default() }
    }

    fn judged(info: &str) -> Outcome {
        judge(&Options::new("redis://host"), told(info))
    }

    #[test]
    fn the_readings_are_named_and_computed() {
        let outcome = judged(PRIMARY);
        assert_eq!(outcome.verdict(), Verdict::Pass);
        let metadata = serde_json::to_string(outcome.metadata()).unwrap();
        insta::assert_snapshot!(metadata, @r#"{"product":"redis","server_version":"7.0.15","role":"primary","connected_clients":3,"used_memory_bytes":450,"maxmemory_bytes":1000,"memory_usage":0.45,"hit_rate":0.95,"memory_left_bytes":550,"round_trip_ms":0.0}"#);
    }

    #[test]
    fn a_server_without_limit_and_reads_has_neither_ratio() {
        let outcome = judged("used_memory:450\r\nmaxmemory:0\r\nkeyspace_hits:0\r\nkeyspace_misses:0\r\n");
        let ratios = ["memory_usage", "hit_rate"];
        assert!(!ratios.iter().any(|name| outcome.metadata().contains_key(*name)), "{:?}", outcome.metadata());
    }

    #[test]
    fn without_a_limit_the_machines_memory_is_what_can_be_used_and_full_is_no_reason_to_warn() {
        let outcome = judged("used_memory:450\r\nmaxmemory:0\r\ntotal_system_memory:450\r\n");
        assert_eq!(outcome.metadata()["memory_usage"], 1.0);
        assert_eq!(outcome.verdict(), Verdict::Pass);
    }

    /// One line replaced, one claim.
    fn verdict_with(from: &str, to: &str) -> (Verdict, String) {
        assert!(PRIMARY.contains(from));
        let outcome = judged(&PRIMARY.replace(from, to));
        (outcome.verdict(), outcome.message().to_owned())
    }

    #[test]
    fn what_a_pong_does_not_tell_is_a_warning() {
        let lost = verdict_with("role:master", "role:slave\r\nmaster_link_status:down");
        assert_eq!(lost, (Verdict::Warn, "replica has lost its primary".to_owned()));
        let copying = verdict_with("role:master", "role:slave\r\nmaster_link_status:down\r\nmaster_sync_in_progress:1");
        assert_eq!(copying, (Verdict::Warn, "replica is copying its primary".to_owned()));
        let full = verdict_with("used_memory:450", "used_memory:1001");
        assert_eq!(full, (Verdict::Warn, "writes are refused as the memory is full".to_owned()));
        let unsaved = verdict_with("bgsave_status:ok", "bgsave_status:err");
        assert_eq!(unsaved, (Verdict::Warn, "the data could not be saved".to_owned()));
    }

    #[test]
    fn a_full_cache_that_evicts_is_as_it_should_be() {
        let text = PRIMARY.replace("noeviction", "allkeys-lru").replace("used_memory:450", "used_memory:1001");
        assert_eq!(judged(&text).verdict(), Verdict::Pass);
    }

    #[test]
    fn nodes_of_a_cluster_that_are_not_reached_degrade_it_while_it_is_up() {
        let cluster = |text: &str| judge(&Options::new("redis://host"), Told { cluster: Info::parse(text), ..told(PRIMARY) });
        assert_eq!(cluster("cluster_state:ok\r\ncluster_slots_pfail:0\r\n").verdict(), Verdict::Pass);
        for failing in ["cluster_slots_pfail:5461", "cluster_slots_fail:5461"] {
            let outcome = cluster(&format!("cluster_state:ok\r\n{failing}\r\n"));
            assert_eq!((outcome.verdict(), outcome.message()), (Verdict::Warn, "a node of the cluster is not reached"));
        }
    }

    #[test]
    fn what_a_sentinel_does_not_reach_degrades_and_what_they_agree_on_fails() {
        let sentinel = |status: &str, tilt: u8| {
            judged(&format!("redis_mode:sentinel\r\nsentinel_tilt:{tilt}\r\nmaster0:name=a,status=ok,slaves=1,sentinels=3\r\nmaster1:name=b,status={status}\r\n"))
        };
        for (status, tilt, verdict) in [("ok", 0, Verdict::Pass), ("sdown", 0, Verdict::Warn), ("odown", 0, Verdict::Fail), ("ok", 1, Verdict::Warn)] {
            let outcome = sentinel(status, tilt);
            assert_eq!(outcome.verdict(), verdict, "{status}: {outcome:?}");
            assert_eq!(outcome.metadata()["masters"]["b"]["status"], status);
            assert_eq!(outcome.metadata()["masters"]["a"]["sentinels"], 3);
        }
    }
}
