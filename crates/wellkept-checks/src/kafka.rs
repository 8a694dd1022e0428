//! A Kafka cluster: its brokers and its controller, topics with their leaders and replicas, and whether a consumer group
//! gets on with its work.
//!
//! It only asks. It produces nothing, creates no topic and joins no group, so that it never makes one rebalance. Brokers
//! since Kafka 0.11 are understood, also those of others that speak its protocol.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | the name can't be resolved | unhealthy | `dns` |
//! | nobody listens there | unhealthy | `refused` |
//! | no answer in time, and the detail says in which stage | unhealthy | `timeout` |
//! | the address is one that is never asked (cloud metadata) | unhealthy | `blocked` |
//! | the connection broke; a broker that wants a login hangs up on who does not begin with one | unhealthy | `network` |
//! | no descriptor or thread is left on this side | unhealthy | `internal` |
//! | the TLS handshake failed, or the certificate is not trusted | unhealthy | `tls` |
//! | the user or password is not accepted, or may not see what is asked for | unhealthy | `auth` |
//! | the cluster has fewer brokers than `min_brokers` | unhealthy | `not_ready` |
//! | there is no controller: what is there works on, no new leader can be elected | degraded | `not_ready` |
//! | a topic does not exist | unhealthy | `unexpected` |
//! | a partition has no leader, or fewer replicas in sync than `min_in_sync` | unhealthy | `not_ready` |
//! | a partition has fewer replicas in sync than it has replicas | degraded | `not_ready` |
//! | the group does not exist | unhealthy | `unexpected` |
//! | the group has fewer members than `min_members` | unhealthy | `not_ready` |
//! | the group's coordinator is loading, or there is none | unhealthy | `not_ready` |
//! | the group is further behind than its limit | degraded, unhealthy | `threshold` |
//! | the group stands still, with messages before it, for `stuck_after` | unhealthy | `stuck` |
//! | what came is no answer of a broker's, as of one that wants TLS; or the broker is older than Kafka 0.11 | unhealthy | `protocol` |
//!
//! A group that rebalances is none of these. One that does nothing else for `stuck_after` is stuck.
//!
//! # Lag
//!
//! The lag is the number of messages between what the group has committed and the end of each partition, in the topics
//! that are named, or in all that it has committed to. A partition in which it has committed nothing counts from where
//! it ended when it was first looked at.
//!
//! A group is stuck when in any one partition nothing was committed for `stuck_after` although there were messages: a
//! message that it can't digest, or members that hang. A lag that is large and moves is not stuck, and neither is a group
//! that has nothing to do. Time in which the group has no members or the brokers do not answer does not count. A consumer
//! that commits less often than every `stuck_after` needs a larger one.
//!
//! Topics that are written in transactions hold marks that are no messages. A client that never commits past the last
//! mark keeps a lag of one for good, and looks stuck: give such a group a `stuck_after` longer than its longest pause.
//!
//! # Rights
//!
//! `DESCRIBE` on the topics and the group, where the cluster has an authorizer.
//!
//! # Cost
//!
//! One connection to each broker that has to be asked, kept from run to run: one broker for the cluster and topics; for a
//! group its coordinator, which tells of the cluster too, and those that lead the partitions, 64 at most. One round trip to
//! each of them per run, all at the same time: one request for the cluster and topics, two for a group (three where Kafka 4's
//! groups are known), one to each leader for the ends of its partitions. The first run, and one in which something has moved,
//! need a few more. The first time that anyone asks for a group in a cluster, Kafka makes its own topic for offsets.

mod cluster;
mod judge;
mod link;
mod messages;
mod progress;
mod scram;
mod wire;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;
use wellkept_config::{FromNode, Section, one_of};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Scope};
use wellkept_net::Target;

use self::cluster::{Asked, Session};
use self::link::{Access, Login};
use self::progress::Progress;
use crate::certificate::trusting;
use crate::findings::ordered;
use crate::kept::Kept;
use crate::kind::built;
use crate::reach::give_up_at;
use crate::{InvalidOption, Kind, Opens};

/// The settings of a [`Kafka`] check.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the cluster is asked for first, each as `host:port`, 16 at most. One that answers is enough: it names the others. Required.
    pub brokers: Vec<String>,
    /// Whether to speak TLS, without a certificate of this side. Default `false`.
    pub tls: bool,
    /// A file of certificates in PEM that are trusted instead of the system's, for `tls`. Default: none.
    pub ca_file: Option<PathBuf>,
    /// Who asks, by SASL. Default: nobody, without a login.
    pub user: Option<String>,
    /// The user's password. Default: none.
    pub password: Option<SecretString>,
    /// A file that holds the password instead, read once. Default: none.
    pub password_file: Option<PathBuf>,
    /// How the user logs in. With `plain` the password is sent as it is: use `tls`. Default `scram-sha-256`.
    pub mechanism: Mechanism,
    /// The fewest brokers that the cluster must have. Default 1.
    pub min_brokers: usize,
    /// The topics that must be there, and whose lag counts, at most 100. Default: none, and for the lag all that the group has committed to.
    pub topics: Vec<String>,
    /// The fewest replicas in sync, the leader among them, that each partition of the topics must have. Default 1.
    pub min_in_sync: usize,
    /// The consumer group to look at. Default: none.
    pub group: Option<String>,
    /// The fewest members that the group must have; 0 for one that comes and goes. Default 1.
    pub min_members: usize,
    /// How far the group may be behind. Default: as its keys say.
    pub lag: Lag,
}

impl Options {
    /// The most addresses that the cluster is asked for at.
    pub const MAX_BROKERS: usize = 16;
    /// The most topics that one check looks at.
    pub const MAX_TOPICS: usize = 100;

    /// A cluster, without a login, topics or a group.
    pub fn new(brokers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            brokers: brokers.into_iter().map(Into::into).collect(),
            tls: false,
            ca_file: None,
            user: None,
            password: None,
            password_file: None,
            mechanism: Mechanism::default(),
            min_brokers: 1,
            topics: Vec::new(),
            min_in_sync: 1,
            group: None,
            min_members: 1,
            lag: Lag::default(),
        }
    }
}

/// How far a group may be behind, and for how long it may stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// More messages than this, over all partitions, are degraded. Default: no limit.
    pub degraded_above: Option<u64>,
    /// More messages than this, over all partitions, are unhealthy. Default: no limit.
    pub unhealthy_above: Option<u64>,
    /// For how long nothing may be committed in a partition while there are messages. Default 5m.
    pub stuck_after: Duration,
}

impl Default for Lag {
    fn default() -> Self {
        Self { degraded_above: None, unhealthy_above: None, stuck_after: Duration::from_secs(300) }
    }
}

/// How a user logs in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mechanism {
    /// The password as it is.
    Plain,
    /// A proof that it is known, with SHA-256 (RFC 7677).
    #[default]
    ScramSha256,
    /// The same with SHA-512.
    ScramSha512,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl FromNode for Mechanism {
    const EXPECTED: &'static str = "plain, scram-sha-256 or scram-sha-512";

    fn from_scalar(text: &str) -> Result<Self, String> {
        let choices = [("plain", Self::Plain), ("scram-sha-256", Self::ScramSha256), ("scram-sha-512", Self::ScramSha512)];
        one_of(text, &choices)
    }
}

/// A Kafka cluster.
///
/// The metadata holds the `cluster`'s id, the number of its `brokers`, the `controller`'s, `topics`, for each its
/// `partitions` and those `without_leader` and `under_replicated`, and `group`: its `state`, `members`, `lag`, `pace`
/// (`idle`, `keeping_up`, `catching_up`, `falling_behind` or `stuck`) and the partitions it is behind most in.
pub struct Kafka {
    access: Arc<Access>,
    asked: Asked,
    limits: Limits,
    kept: Kept<Session>,
    progress: Mutex<Progress>,
}

/// What the answers are held against.
#[derive(Debug)]
struct Limits {
    min_brokers: usize,
    min_in_sync: usize,
    min_members: usize,
    lag: Lag,
}

impl Kafka {
    /// Refuses addresses and names that can't be used, a password without a user, limits in the wrong order, and files that can't be read, which it reads. Connects to
    /// nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let invalid = |option| move |error: wellkept_net::TargetError| InvalidOption::new(option, error.to_string());
        let targets: Result<Vec<Target>, _> = options.brokers.iter().map(|broker| broker.parse()).collect();
        let bootstrap = targets.map_err(invalid("brokers"))?;
        if bootstrap.is_empty() || bootstrap.len() > Options::MAX_BROKERS {
            return Err(InvalidOption::new("brokers", "1 to 16 addresses are expected"));
        }
        if options.topics.len() > Options::MAX_TOPICS {
            return Err(InvalidOption::new("topics", "at most 100 topics: use another check for the others"));
        }
        if options.topics.iter().any(|topic| topic.is_empty() || topic.len() > 249) {
            return Err(InvalidOption::new("topics", "a topic's name has 1 to 249 bytes"));
        }
        if options.group.as_ref().is_some_and(|group| group.is_empty() || group.len() > 32_767) {
            return Err(InvalidOption::new("group", "must have 1 to 32767 bytes"));
        }
        let Lag { degraded_above, unhealthy_above, stuck_after } = options.lag;
        ordered(degraded_above, unhealthy_above, "lag", "degraded_above")?;
        if stuck_after.is_zero() {
            return Err(InvalidOption::new("lag", "stuck_after must be more than 0"));
        }
        if options.ca_file.is_some() && !options.tls {
            return Err(InvalidOption::new("ca_file", "is for `tls: true`"));
        }
        let login = login(options.user, options.password, options.password_file.as_deref(), options.mechanism)?;
        let tls = if options.tls { Some(trusting(options.ca_file)?) } else { None };
        let mut topics = options.topics;
        topics.sort_unstable();
        topics.dedup();
        Ok(Self {
            access: Arc::new(Access { tls, login }),
            asked: Asked { bootstrap, topics, group: options.group },
            limits: Limits {
                min_brokers: options.min_brokers,
                min_in_sync: options.min_in_sync,
                min_members: options.min_members,
                lag: options.lag,
            },
            kept: Kept::nothing(),
            progress: Mutex::default(),
        })
    }

    /// As [`Kafka::new`] with [`Options::new`].
    pub fn at(brokers: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, InvalidOption> {
        Self::new(Options::new(brokers))
    }
}

impl Check for Kafka {
    async fn run(&self, context: &Context) -> Outcome {
        let mut session = self.kept.take().unwrap_or_default();
        let found = session.look(&self.access, &self.asked, give_up_at(context)).await;
        self.kept.put(session);
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(found) => judge::outcome(&self.limits, &self.asked, &found, &mut progress, Instant::now()),
            Err(failures) => {
                progress.interrupted();
                judge::unreachable(&failures)
            }
        }
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Kafka").field("limits", &self.limits).finish_non_exhaustive()
    }
}

fn login(
    user: Option<String>,
    password: Option<SecretString>,
    file: Option<&Path>,
    mechanism: Mechanism,
) -> Result<Option<Login>, InvalidOption> {
    let password = match (password, file) {
        (Some(_), Some(_)) => {
            return Err(InvalidOption::new("password_file", "there is a password already: take one of the two"));
        }
        (None, Some(path)) => {
            let unread = |error: std::io::Error| InvalidOption::new("password_file", format!("can't be read: {error}"));
            Some(SecretString::from(std::fs::read_to_string(path).map_err(unread)?.trim_end().to_owned()))
        }
        (password, None) => password,
    };
    match (user, password) {
        (Some(user), Some(password)) if !user.is_empty() => Ok(Some(Login { mechanism, user, password })),
        (Some(_), Some(_)) => Err(InvalidOption::new("user", "must not be empty")),
        (Some(_), None) => Err(InvalidOption::new("user", "its password is missing")),
        (None, Some(_)) => Err(InvalidOption::new("password", "say in `user` whose it is")),
        (None, None) => Ok(None),
    }
}

/// `kafka: { brokers: ["10.0.0.1:9092", "10.0.0.2:9092"], min_brokers: 2, topics: [orders], group: billing, lag: { degraded_above: 1000, stuck_after: 5m } }`
pub const KIND: Kind =
    Kind { name: "kafka", summary: "A Kafka cluster, its topics and a consumer group", scope: Scope::Remote, opens: Opens::Nothing, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let brokers = section.required::<Vec<String>>("brokers");
    let defaults = Options::new([""; 0]);
    let options = Options {
        brokers: Vec::new(),
        tls: section.or("tls", defaults.tls),
        ca_file: section.file("ca_file"),
        user: section.optional("user"),
        password: section.optional("password"),
        password_file: section.file("password_file"),
        mechanism: section.or("mechanism", defaults.mechanism),
        min_brokers: section.or("min_brokers", defaults.min_brokers),
        topics: section.or("topics", defaults.topics),
        min_in_sync: section.or("min_in_sync", defaults.min_in_sync),
        group: section.optional("group"),
        min_members: section.or("min_members", defaults.min_members),
        lag: section.section("lag", |section| Some(read_lag(section))).unwrap_or_default(),
    };
    built(section, Kafka::new(Options { brokers: brokers?, ..options }))
}

fn read_lag(section: &mut Section<'_>) -> Lag {
    Lag {
        degraded_above: section.optional("degraded_above"),
        unhealthy_above: section.optional("unhealthy_above"),
        stuck_after: section.or("stuck_after", Lag::default().stuck_after),
    }
}

#[cfg(test)]
mod tests;
