//! From what a cluster tells to an outcome.

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use wellkept_health::{Outcome, Reason};

use super::Limits;
use super::cluster::{Asked, Found, Group};
use super::link::Failure;
use super::messages::{Code, Replicas, Topic};
use super::progress::{Progress, Standing};
use crate::findings::Findings;
use crate::reach::timed_out;

/// The partitions that are named, of those that a group is behind most in.
const MOST_NAMED: usize = 10;

pub(super) fn outcome(
    limits: &Limits,
    asked: &Asked,
    found: &Found,
    progress: &mut Progress,
    now: Instant,
) -> Outcome {
    let mut findings = Findings::default();
    let cluster = &found.cluster;
    for (target, failure) in &found.failures {
        findings.add(at(&target.to_string(), failure));
    }
    if found.is_cut_short {
        findings.add(timed_out("asking those that the first answers named"));
    }
    if cluster.brokers.len() < limits.min_brokers {
        let detail = format!("{} of {}", cluster.brokers.len(), limits.min_brokers);
        findings.add(Outcome::fail(Reason::NotReady, "the cluster has too few brokers").with_detail(detail));
    }
    for topic in found.topics.values() {
        add_topic(&mut findings, limits, asked, topic);
    }
    let told = asked.group.as_ref().map(|_| add_group(&mut findings, limits, found, progress, now));
    if cluster.controller < 0 {
        findings.add(Outcome::warn(Reason::NotReady, "the cluster has no controller"));
    }
    if found.has_too_many {
        findings.add(Outcome::warn(Reason::Internal, "more brokers lead the partitions than are asked"));
    }
    let mut outcome = findings.worst().with("brokers", cluster.brokers.len());
    if !cluster.id.is_empty() {
        outcome = outcome.with("cluster", cluster.id.as_str());
    }
    if cluster.controller >= 0 {
        outcome = outcome.with("controller", cluster.controller);
    }
    if !asked.topics.is_empty() {
        let topics = asked.topics.iter().filter_map(|name| Some((name.clone(), described(found.topics.get(name)?))));
        outcome = outcome.with("topics", topics.collect::<Map<_, _>>());
    }
    match told {
        Some(told) => outcome.with("group", told),
        None => outcome,
    }
}

/// Nobody could tell of the cluster: what each of those who were asked said.
pub(super) fn unreachable(failures: &[(wellkept_net::Target, Failure)]) -> Outcome {
    let mut findings = Findings::default();
    for (target, failure) in failures {
        findings.add(at(&target.to_string(), failure));
    }
    if failures.is_empty() {
        findings.add(timed_out("connecting"));
    }
    findings.worst()
}

fn at(target: &str, failure: &Failure) -> Outcome {
    let outcome = failure.outcome();
    // A connection's error names the address already.
    let detail = match outcome.detail() {
        detail if detail.contains(target) => detail.to_owned(),
        detail => format!("{target}: {detail}"),
    };
    outcome.with_detail(detail)
}

impl Code {
    /// What it means for who asked.
    pub(super) fn outcome(self) -> Outcome {
        let outcome = match self {
            Self::UNKNOWN_TOPIC => Outcome::fail(Reason::Unexpected, "a topic does not exist"),
            Self::INVALID_TOPIC => Outcome::fail(Reason::Unexpected, "no topic can have this name"),
            Self::LEADER_NOT_AVAILABLE => Outcome::fail(Reason::NotReady, "a topic has no leader yet"),
            Self::TOPIC_AUTHORIZATION => Outcome::fail(Reason::Auth, "user may not see a topic"),
            Self::GROUP_AUTHORIZATION => Outcome::fail(Reason::Auth, "user may not see the group"),
            Self::CLUSTER_AUTHORIZATION => Outcome::fail(Reason::Auth, "user is not permitted"),
            Self::COORDINATOR_LOADS => Outcome::fail(Reason::NotReady, "the group's coordinator is loading"),
            Self::COORDINATOR_NOT_AVAILABLE | Self::NOT_COORDINATOR => {
                Outcome::fail(Reason::NotReady, "the group has no coordinator")
            }
            Self::GROUP_NOT_FOUND => Outcome::fail(Reason::Unexpected, "the group does not exist"),
            Self::INVALID_GROUP => Outcome::fail(Reason::Unexpected, "no group can have this name"),
            _ => Outcome::fail(Reason::Error, "refused by the broker"),
        };
        outcome.with_detail(format!("error {}", self.0))
    }
}

fn add_topic(findings: &mut Findings, limits: &Limits, asked: &Asked, topic: &Topic) {
    // A group may have committed to what is long gone.
    if topic.code == Code::UNKNOWN_TOPIC && !asked.topics.contains(&topic.name) {
        return;
    }
    if !topic.code.is_none() {
        let outcome = topic.code.outcome();
        let detail = format!("{}: {}", topic.name, outcome.detail());
        findings.add(outcome.with_detail(detail));
        return;
    }
    let (mut leaderless, mut too_few, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    for replicas in &topic.partitions {
        if replicas.leader < 0 {
            leaderless.push(replicas);
        } else if replicas.in_sync < limits.min_in_sync {
            too_few.push(replicas);
        } else if replicas.in_sync < replicas.all {
            behind.push(replicas);
        }
    }
    let named = |partitions: &[&Replicas]| {
        let numbers: Vec<_> = partitions.iter().take(MOST_NAMED).map(|known| known.partition.to_string()).collect();
        format!("{}: {} of {} partitions, {}", topic.name, partitions.len(), topic.partitions.len(), numbers.join(", "))
    };
    if !leaderless.is_empty() {
        let finding = Outcome::fail(Reason::NotReady, "a partition has no leader");
        findings.add(finding.with_detail(named(&leaderless)));
    }
    if !too_few.is_empty() {
        let finding = Outcome::fail(Reason::NotReady, "a partition has too few replicas in sync");
        findings.add(finding.with_detail(named(&too_few)));
    }
    if !behind.is_empty() {
        let finding = Outcome::warn(Reason::NotReady, "a partition has replicas that are not in sync");
        findings.add(finding.with_detail(named(&behind)));
    }
}

fn described(topic: &Topic) -> Value {
    let count = |wanted: fn(&Replicas) -> bool| topic.partitions.iter().filter(|known| wanted(known)).count();
    json!({
        "partitions": topic.partitions.len(),
        "without_leader": count(|known| known.leader < 0),
        "under_replicated": count(|known| known.in_sync < known.all),
    })
}

fn add_group(findings: &mut Findings, limits: &Limits, found: &Found, progress: &mut Progress, now: Instant) -> Value {
    let Some(group) = &found.group else {
        // Why it can't be told of is among the failures.
        progress.interrupted();
        if found.failures.is_empty() && !found.is_cut_short {
            findings.add(Outcome::fail(Reason::NotReady, "the group has no coordinator"));
        }
        return json!({});
    };
    if !group.code.is_none() {
        progress.interrupted();
        findings.add(group.code.outcome());
        return json!({});
    }
    let standings = progress.note(&found.readings, group.members() != Some(0), now);
    let lag = standings.iter().map(|standing| standing.lag).fold(0, u64::saturating_add);
    let before = progress.replace_lag(lag);
    let stuck: Vec<_> = found
        .readings
        .iter()
        .zip(&standings)
        .filter(|(_, standing)| standing.still >= limits.lag.stuck_after)
        .map(|(reading, standing)| format!("{}/{} for {}s", reading.partition.0, reading.partition.1, standing.still.as_secs()))
        .collect();
    let pace = match before {
        _ if !stuck.is_empty() => "stuck",
        _ if lag == 0 => "idle",
        Some(before) if lag < before => "catching_up",
        Some(before) if lag > before => "falling_behind",
        _ => "keeping_up",
    };
    add_members(findings, limits, group);
    if !stuck.is_empty() {
        let detail = format!("{} of {} partitions: {}", stuck.len(), standings.len(), first(&stuck).join(", "));
        findings.add(Outcome::fail(Reason::Custom("stuck"), "the group takes none of its messages").with_detail(detail));
    }
    findings.limit(lag, limits.lag.degraded_above, limits.lag.unhealthy_above, || match pace {
        "catching_up" => format!("the group is {} behind, and catching up", messages(lag)),
        _ => format!("the group is {} behind", messages(lag)),
    });
    let mut most: Vec<(&Standing, String)> = standings
        .iter()
        .zip(&found.readings)
        .filter(|(standing, _)| standing.lag > 0)
        .map(|(standing, reading)| (standing, format!("{}/{}", reading.partition.0, reading.partition.1)))
        .collect();
    most.sort_by_key(|(standing, _)| std::cmp::Reverse(standing.lag));
    let most: Map<_, _> = most.into_iter().take(MOST_NAMED).map(|(standing, name)| (name, standing.lag.into())).collect();
    json!({
        "state": group.state,
        "members": group.members(),
        "lag": lag,
        "pace": pace,
        "partitions": standings.len(),
        "stuck": stuck.len(),
        "behind": most,
    })
}

fn add_members(findings: &mut Findings, limits: &Limits, group: &Group) {
    if !group.exists() {
        findings.add(Code::GROUP_NOT_FOUND.outcome().with_detail(""));
    } else if let Some(members) = group.members().filter(|members| *members < limits.min_members) {
        let message = match members {
            0 => "the group has no members",
            _ => "the group has too few members",
        };
        let detail = format!("{members} of {}, state {}", limits.min_members, group.state);
        findings.add(Outcome::fail(Reason::NotReady, message).with_detail(detail));
    }
}

fn messages(count: u64) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}

fn first(all: &[String]) -> &[String] {
    all.get(..MOST_NAMED).unwrap_or(all)
}
