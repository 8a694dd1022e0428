//! What comes in during one run, and what it comes to.

use std::collections::{BTreeMap, BTreeSet};

use wellkept_net::Target;

use super::super::link::Failure;
use super::super::messages::{Cluster, Code, Partition, Topic};
use super::super::progress::Reading;
use super::Place;

/// What a look found.
#[derive(Debug, Default)]
pub(in super::super) struct Found {
    pub(in super::super) cluster: Cluster,
    pub(in super::super) topics: BTreeMap<String, Topic>,
    pub(in super::super) group: Option<Group>,
    /// Of the partitions whose end is known.
    pub(in super::super) readings: Vec<Reading>,
    /// Those that had to be asked for the rest and did not answer.
    pub(in super::super) failures: Vec<(Target, Failure)>,
    /// The time was over before all could be asked.
    pub(in super::super) is_cut_short: bool,
    /// More brokers lead the partitions than are asked.
    pub(in super::super) has_too_many: bool,
}

/// A consumer group, or why it can't be told of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Group {
    pub(in super::super) code: Code,
    pub(in super::super) state: String,
    pub(in super::super) members: usize,
}

impl Group {
    /// What nobody has heard of is dead.
    pub(in super::super) fn exists(&self) -> bool {
        self.code.is_none() && self.state != "Dead"
    }

    /// How many members it has; nothing when nobody tells. In any state but these there is one at least, also where a
    /// broker names none.
    pub(in super::super) fn members(&self) -> Option<usize> {
        match self.state.as_str() {
            "" | "Unknown" => (self.members > 0).then_some(self.members),
            "Empty" | "Dead" => Some(self.members),
            _ => Some(self.members.max(1)),
        }
    }
}

/// How far what was told of the cluster can be gone by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Freshness {
    #[default]
    Told,
    /// Something has moved: the cluster is asked for once more.
    Stale,
    /// It was, and is not asked for again in this run.
    Renewed,
}

/// What has come in so far.
#[derive(Default)]
pub(super) struct Look {
    pub(super) cluster: Option<Cluster>,
    pub(super) topics: BTreeMap<String, Topic>,
    freshness: Freshness,
    pub(super) searches: u8,
    pub(super) coordinator_code: Code,
    pub(super) group: Option<Group>,
    pub(super) committed: Option<(Code, BTreeMap<Partition, i64>)>,
    pub(super) ends: BTreeMap<Partition, (Code, i64)>,
    pub(super) failures: Vec<(Target, Failure)>,
    pub(super) used: BTreeSet<Place>,
    pub(super) has_too_many: bool,
    pub(super) is_cut_short: bool,
}

impl Look {
    /// Has the cluster asked for again, but once.
    pub(super) fn renew(&mut self) {
        if self.freshness == Freshness::Told {
            self.freshness = Freshness::Stale;
        }
    }

    pub(super) fn is_stale(&self) -> bool {
        self.freshness == Freshness::Stale
    }

    pub(super) fn take_cluster(&mut self, mut cluster: Cluster, asked: &[String]) {
        let told = std::mem::take(&mut cluster.topics);
        self.topics.extend(told.into_iter().map(|topic| (topic.name.clone(), topic)));
        for name in asked {
            // One that is not told of is not asked for again in this run.
            let missing = || Topic { code: Code::UNKNOWN_TOPIC, name: name.clone(), partitions: Vec::new() };
            self.topics.entry(name.clone()).or_insert_with(missing);
        }
        self.cluster = Some(cluster);
        if self.is_stale() {
            self.freshness = Freshness::Renewed;
        }
    }

    /// Of two answers the one that has heard of the group.
    pub(super) fn take_group(&mut self, told: Group) {
        if self.group.as_ref().is_none_or(|known| !known.exists() && told.exists()) {
            self.group = Some(told);
        }
    }

    pub(super) fn take_ends(&mut self, ends: Vec<(Partition, Code, i64)>) {
        for (partition, code, end) in ends {
            if code == Code::NOT_LEADER && self.freshness != Freshness::Renewed {
                self.renew();
            } else {
                self.ends.insert(partition, (code, end));
            }
        }
    }

    /// The partitions of all topics that were told of.
    pub(super) fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.leaders().map(|(partition, _)| partition)
    }

    /// Those who lead them; -1 is nobody.
    pub(super) fn leaders(&self) -> impl Iterator<Item = (Partition, i32)> {
        let all = self.topics.values().flat_map(|topic| topic.partitions.iter().map(move |known| (topic, known)));
        all.map(|(topic, known)| ((topic.name.clone(), known.partition), known.leader))
    }

    pub(super) fn into_found(
        self,
        of_group: bool,
        partitions: &BTreeSet<Partition>,
        awaited: &[&Target],
    ) -> Result<Found, Vec<(Target, Failure)>> {
        let Some(cluster) = self.cluster else { return Err(self.failures) };
        let failures = self.failures.into_iter().filter(|(target, _)| awaited.contains(&target)).collect();
        let (code, committed) = self.committed.unwrap_or_default();
        // Without a coordinator nobody tells of the group but whoever was asked where it is.
        let mut group = self.group.or_else(|| {
            let unknown = || Group { code: self.coordinator_code, ..Group::default() };
            (!self.coordinator_code.is_none()).then(unknown)
        });
        if let Some(group) = group.as_mut().filter(|group| group.code.is_none()) {
            group.code = code;
        }
        let end = |partition: &Partition| self.ends.get(partition).filter(|(code, _)| code.is_none()).map(|(_, end)| *end);
        let reading = |partition: &Partition| {
            let committed = committed.get(partition).copied();
            Some(Reading { partition: partition.clone(), committed, end: end(partition)? })
        };
        Ok(Found {
            readings: partitions.iter().filter(|_| of_group).filter_map(reading).collect(),
            cluster,
            topics: self.topics,
            group,
            failures,
            is_cut_short: self.is_cut_short,
            has_too_many: self.has_too_many,
        })
    }
}
