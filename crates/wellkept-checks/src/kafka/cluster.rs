//! What is kept of a cluster from run to run, and a look at it: who has to be asked for what, all of them at once.

mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;
use wellkept_net::Target;

use self::look::Look;
pub(super) use self::look::{Found, Group};
use super::link::{Access, Failure, Link};
use super::messages::{Answer, Api, Broker, ByTopic, Code, Partition, Request};

/// The most brokers that are asked in one round for where their partitions end.
const MOST_BROKERS: usize = 64;
/// Rounds of questions in one run, beside one for each address that does not answer: who is there, where the group is,
/// what it has committed, in which topics, where these end; and two for what has moved since the last run.
const MOST_ROUNDS: usize = 7;
/// How often a group's coordinator is looked for in one run: it may have moved.
const MOST_SEARCHES: u8 = 2;

/// What is looked at.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) bootstrap: Vec<Target>,
    pub(super) topics: Vec<String>,
    pub(super) group: Option<String>,
}

/// What is known of a cluster, and the connections to it.
#[derive(Default)]
pub(super) struct Session {
    links: BTreeMap<Place, Link>,
    /// Which of the addresses answered last.
    first: usize,
    brokers: BTreeMap<i32, Target>,
    coordinator: Option<i32>,
    leaders: BTreeMap<Partition, i32>,
    /// The partitions that the group's lag was told of last.
    partitions: BTreeSet<Partition>,
}

/// Where a connection leads: to an address as it was configured, or to a broker by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Address(usize),
    Broker(i32),
}

type Questions = BTreeMap<Place, Vec<Request>>;

impl Session {
    /// Asks for everything, within the deadline. Fails when nobody could tell of the cluster. Cancel-safe: connections
    /// that are in use are closed.
    pub(super) async fn look(
        &mut self,
        access: &Arc<Access>,
        asked: &Asked,
        deadline: Instant,
    ) -> Result<Found, Vec<(Target, Failure)>> {
        let mut look = Look::default();
        for _ in 0..MOST_ROUNDS + asked.bootstrap.len() {
            let questions = self.questions(asked, &mut look);
            if questions.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                look.is_cut_short = true;
                break;
            }
            self.ask_all(access, asked, questions, &mut look, deadline).await;
        }
        self.links.retain(|place, _| look.used.contains(place));
        if self.links.keys().any(|place| matches!(place, Place::Broker(_))) {
            self.links.retain(|place, _| matches!(place, Place::Broker(_)));
        }
        self.found(asked, look)
    }

    /// What can be asked with what is known by now. Nothing when all is answered, or nobody is left to answer.
    fn questions(&self, asked: &Asked, look: &mut Look) -> Questions {
        let (mut questions, mut for_anyone) = (Questions::new(), Vec::new());
        let mut topics = self.topics(asked, look);
        if look.cluster.is_some() && !look.is_stale() {
            topics.retain(|topic| !look.topics.contains_key(topic));
        }
        if look.cluster.is_none() || look.is_stale() || !topics.is_empty() {
            for_anyone.push(Request::Metadata(topics.into_iter().collect()));
        }
        if let Some(group) = &asked.group {
            match self.coordinator.filter(|node| self.is_usable(Place::Broker(*node), asked, look)) {
                Some(node) => {
                    let requests = questions.entry(Place::Broker(node)).or_default();
                    if look.committed.is_none() {
                        let partitions = (!asked.topics.is_empty()).then(|| by_topic(self.partitions(asked, look)));
                        requests.push(Request::OffsetFetch(group.clone(), partitions));
                    }
                    if look.group.is_none() {
                        requests.push(Request::DescribeGroup(group.clone()));
                        requests.push(Request::DescribeConsumerGroup(group.clone()));
                    }
                }
                None if look.searches < MOST_SEARCHES && look.coordinator_code.is_none() => {
                    for_anyone.push(Request::FindCoordinator(group.clone()));
                }
                None => {}
            }
            self.add_ends(asked, look, &mut questions);
        }
        if !for_anyone.is_empty()
            && let Some(place) = self.anyone(asked, look)
        {
            questions.entry(place).or_default().extend(for_anyone);
        }
        questions.retain(|_, requests| !requests.is_empty());
        questions
    }

    /// The ends of the partitions that are not known yet, of each from its leader.
    fn add_ends(&self, asked: &Asked, look: &mut Look, questions: &mut Questions) {
        let mut by_leader: BTreeMap<i32, Vec<Partition>> = BTreeMap::new();
        for partition in self.partitions(asked, look) {
            let leader = self.leaders.get(&partition).copied();
            if let Some(leader) = leader.filter(|leader| self.is_usable(Place::Broker(*leader), asked, look))
                && !look.ends.contains_key(&partition)
            {
                by_leader.entry(leader).or_default().push(partition);
            }
        }
        look.has_too_many |= by_leader.len() > MOST_BROKERS;
        for (leader, partitions) in by_leader.into_iter().take(MOST_BROKERS) {
            let request = Request::ListOffsets(by_topic(partitions));
            questions.entry(Place::Broker(leader)).or_default().push(request);
        }
    }

    /// The topics that have to be described.
    fn topics(&self, asked: &Asked, look: &Look) -> BTreeSet<String> {
        if asked.topics.is_empty() && asked.group.is_some() {
            return self.partitions(asked, look).into_iter().map(|(topic, _)| topic).collect();
        }
        asked.topics.iter().cloned().collect()
    }

    /// The partitions whose lag is told: as known from the last run, until this one knows better.
    fn partitions(&self, asked: &Asked, look: &Look) -> BTreeSet<Partition> {
        match (&look.committed, &look.cluster) {
            (Some((_, offsets)), _) if asked.topics.is_empty() => offsets.keys().cloned().collect(),
            (_, Some(_)) if !asked.topics.is_empty() => look.partitions().collect(),
            _ => self.partitions.clone(),
        }
    }

    /// Whoever can tell of the cluster: the coordinator, who is asked anyway, another one with a connection, or the
    /// next of the addresses.
    fn anyone(&self, asked: &Asked, look: &Look) -> Option<Place> {
        let coordinator = self.coordinator.map(Place::Broker).filter(|place| self.links.contains_key(place));
        let connected = coordinator.into_iter().chain(self.links.keys().rev().copied());
        let count = asked.bootstrap.len();
        let addresses = (0..count).map(|index| Place::Address((self.first + index) % count));
        connected.chain(addresses).find(|place| self.is_usable(*place, asked, look))
    }

    /// Whether it is known where this is, and it has not failed in this run.
    fn is_usable(&self, place: Place, asked: &Asked, look: &Look) -> bool {
        self.target(place, asked).is_some_and(|target| look.failures.iter().all(|(failed, _)| failed != target))
    }

    fn target<'t>(&'t self, place: Place, asked: &'t Asked) -> Option<&'t Target> {
        match place {
            Place::Address(index) => asked.bootstrap.get(index),
            Place::Broker(node) => self.brokers.get(&node),
        }
    }

    /// Asks all of them at the same time.
    async fn ask_all(
        &mut self,
        access: &Arc<Access>,
        asked: &Asked,
        questions: Questions,
        look: &mut Look,
        deadline: Instant,
    ) {
        let mut asking = JoinSet::new();
        for (place, requests) in questions {
            let Some(target) = self.target(place, asked).cloned() else { continue };
            let (link, access) = (self.links.remove(&place), Arc::clone(access));
            let until = match place {
                // One that swallows packets leaves time for the next.
                Place::Address(_) => self.share(asked, look, deadline),
                Place::Broker(_) => deadline,
            };
            look.used.insert(place);
            asking.spawn(async move {
                let answers = ask(link, &target, &access, requests, until).await;
                (place, target, answers)
            });
        }
        while let Some(joined) = asking.join_next().await {
            // A task that is waited for is not cancelled, and none panics.
            let Ok((place, target, answers)) = joined else { continue };
            match answers {
                Ok((link, answers)) => {
                    self.links.insert(place, link);
                    for (request, answer) in answers {
                        self.take(&request, answer, look);
                    }
                    self.file(place, &target, look);
                    // Both are asked together, so whoever has told the one tells nothing of the other.
                    if look.committed.is_some() && self.coordinator.is_some() {
                        look.group.get_or_insert_default();
                    }
                }
                Err(failure) => {
                    look.failures.push((target, failure));
                    if let Place::Broker(_) = place {
                        look.renew();
                    }
                }
            }
        }
    }

    /// The time that one address may take.
    fn share(&self, asked: &Asked, look: &Look, deadline: Instant) -> Instant {
        let left = (0..asked.bootstrap.len()).filter(|index| self.is_usable(Place::Address(*index), asked, look));
        let (now, left) = (Instant::now(), u32::try_from(left.count()).unwrap_or(u32::MAX).max(1));
        now + deadline.saturating_duration_since(now) / left
    }

    /// An address that is a broker's own needs no second connection.
    fn file(&mut self, place: Place, target: &Target, look: &mut Look) {
        let Place::Address(index) = place else { return };
        self.first = index;
        let own = self.brokers.iter().find(|(_, known)| *known == target).map(|(node, _)| Place::Broker(*node));
        if let Some(own) = own.filter(|own| !self.links.contains_key(own))
            && let Some(link) = self.links.remove(&place)
        {
            look.used.insert(own);
            self.links.insert(own, link);
        }
    }

    fn take(&mut self, request: &Request, answer: Answer, look: &mut Look) {
        match (answer, request) {
            (Answer::Cluster(cluster), Request::Metadata(topics)) => {
                self.brokers = cluster.brokers.iter().filter_map(located).collect();
                look.take_cluster(cluster, topics);
                self.leaders.extend(look.leaders());
            }
            (Answer::Coordinator { code, broker }, _) => {
                look.searches += 1;
                look.coordinator_code = code;
                self.coordinator = None;
                if let Some((node, target)) = located(&broker).filter(|_| code.is_none()) {
                    self.coordinator = Some(node);
                    self.brokers.insert(node, target);
                }
            }
            // It has moved, and is looked for once more.
            (
                Answer::Committed { code: Code::NOT_COORDINATOR, .. } | Answer::Group { code: Code::NOT_COORDINATOR, .. },
                _,
            ) if look.searches < MOST_SEARCHES => self.coordinator = None,
            (Answer::Committed { code, offsets }, _) => look.committed = Some((code, offsets.into_iter().collect())),
            (Answer::Group { code, state, members }, _) => {
                let told = Group { code, state, members };
                // The newer question is about groups that the older one has not heard of, and about no others.
                if told.exists() || !matches!(request, Request::DescribeConsumerGroup(_)) {
                    look.take_group(told);
                }
            }
            (Answer::Ends(ends), _) => look.take_ends(ends),
            _ => {}
        }
    }

    /// What is told to the judge, and what is remembered for the next run.
    fn found(&mut self, asked: &Asked, look: Look) -> Result<Found, Vec<(Target, Failure)>> {
        self.partitions = self.partitions(asked, &look);
        self.leaders.retain(|(topic, _), _| look.topics.contains_key(topic));
        let mut awaited = BTreeSet::new();
        if look.group.is_none() || look.committed.is_none() {
            awaited.extend(self.coordinator);
        }
        let without_end = self.partitions.iter().filter(|partition| !look.ends.contains_key(partition));
        awaited.extend(without_end.filter_map(|partition| self.leaders.get(partition)));
        // It may have moved since, and who is waited for in vain leaves no time to find out. So the next run begins with it.
        let coordinator = self.coordinator.and_then(|node| self.brokers.get(&node));
        if look.failures.iter().any(|(failed, _)| Some(failed) == coordinator) {
            self.coordinator = None;
        }
        let awaited: Vec<&Target> = awaited.into_iter().filter_map(|node| self.brokers.get(&node)).collect();
        look.into_found(asked.group.is_some(), &self.partitions, &awaited)
    }
}

/// Asks one broker, on the connection that there is or on a new one. Also in place of one that has broken long ago,
/// with nobody there to notice.
async fn ask(
    link: Option<Link>,
    target: &Target,
    access: &Access,
    requests: Vec<Request>,
    until: Instant,
) -> Result<(Link, Vec<(Request, Answer)>), Failure> {
    if let Some(mut link) = link {
        match exchange(&mut link, &requests, until).await {
            Err(failure) if failure.is_broken_connection() => {}
            answers => return answers.map(|answers| (link, answers)),
        }
    }
    let mut link = Link::open(target, access, until).await?;
    let answers = exchange(&mut link, &requests, until).await?;
    Ok((link, answers))
}

async fn exchange(link: &mut Link, requests: &[Request], until: Instant) -> Result<Vec<(Request, Answer)>, Failure> {
    // Brokers before Kafka 4 have no groups of the newer kind, and there are some that tell of no group.
    let unspoken = [Api::DescribeGroups, Api::ConsumerGroupDescribe].map(|api| (api, !link.speaks(api)));
    let is_known = |request: &&Request| !unspoken.contains(&(request.api(), true));
    let requests: Vec<Request> = requests.iter().filter(is_known).cloned().collect();
    let answers = link.ask(&requests, until).await?;
    Ok(requests.into_iter().zip(answers).collect())
}

fn by_topic(partitions: impl IntoIterator<Item = Partition>) -> ByTopic {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(partition);
    }
    topics.into_iter().collect()
}

/// A broker's number, and where it says that it is.
fn located(broker: &Broker) -> Option<(i32, Target)> {
    let port = u16::try_from(broker.port).ok().filter(|port| *port > 0)?;
    (!broker.host.is_empty()).then(|| (broker.node, Target::new(broker.host.as_str(), port)))
}
