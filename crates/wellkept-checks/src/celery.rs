//! Celery's workers, seen from their broker: how many there are, what they do, and how long their queues are.
//!
//! The broker is Redis or Valkey (6 or later), by `redis://user:password@host:6379/0` or `rediss://`, or RabbitMQ, by
//! `amqp://user:password@host:5672/vhost` or `amqps://`, as the kinds `redis` and `rabbitmq` have them.
//!
//! In `passive` mode a message that no worker acts on tells whether they listen, which takes a millisecond, and the
//! heartbeats that workers send by themselves tell who they are and what they do. In `active` mode all of them are
//! pinged, and the run waits for as many answers as there are listeners, or for `reply_within`. `events` publishes
//! nothing and goes by the heartbeats alone.
//!
//! * A worker is **idle** or **busy** by its latest heartbeat, and **draining** once it has said that it goes: after a
//!   SIGTERM it takes no more tasks, and may work on some until they end.
//! * It is **silent** when it is connected and has given no sign for `silent_after`, or no answer. It hangs, or it has
//!   the pool `solo`, which says nothing while it works: say `workers.silent: degraded` for those. A worker with
//!   `--without-heartbeat` needs the mode `active`; one with `worker_enable_remote_control=False`, the mode `events`.
//! * A heartbeat comes every two seconds: until they were heard for `silent_after`, whoever listens counts as there.
//!   A run that needs more than their number, such as their names, waits for that as long as it may.
//! * RabbitMQ does not tell how many listen: those that were heard of count, and at least one when there is any.
//! * How old the oldest task of a queue is can't be told: tasks don't say when they were sent. What counts is for how
//!   long this check has seen the same one waiting at the end of its queue, on Redis. RabbitMQ shows no task without
//!   handing it out.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | no worker listens, or all are draining | unhealthy | `not_ready` |
//! | fewer workers than `workers.minimum`, or one of `workers.names` is missing | unhealthy | `not_ready` |
//! | so many workers are silent that too few are left | unhealthy; degraded where `workers.silent` says so | `timeout` |
//! | a worker is silent, and enough others are not | degraded | `timeout` |
//! | no worker was heard of in time, in the mode `events` | unhealthy | `timeout` |
//! | a queue is longer than its limit, or its oldest task waits for longer | degraded, unhealthy | `threshold` |
//! | the broker's name can't be resolved | unhealthy | `dns` |
//! | nobody listens there | unhealthy | `refused` |
//! | no answer from the broker in time, and the detail says in which stage | unhealthy | `timeout` |
//! | the address is one that is never asked (cloud metadata) | unhealthy | `blocked` |
//! | the connection broke | unhealthy | `network` |
//! | no descriptor or thread is left on this side | unhealthy | `internal` |
//! | the TLS handshake failed, or the certificate is not trusted | unhealthy | `tls` |
//! | the password is not accepted, or the user may not ask | unhealthy | `auth` |
//! | the broker is loading its data | unhealthy | `not_ready` |
//! | the broker refuses writes, or messages | degraded | `not_ready`, `exhausted` |
//! | the virtual host does not exist | unhealthy | `unexpected` |
//! | what came is no answer that the broker gives | unhealthy | `protocol` |
//!
//! # Rights
//!
//! On Redis, for `events`: `PSUBSCRIBE` of `/0.celeryev/worker.*`, and `LLEN` (`LINDEX` for ages) of the queues. For
//! `passive` also `PUBLISH` to `/0.celery.pidbox`, which is what every command to the workers takes, their shutdown
//! among them. For `active` besides: `MULTI`, `EXEC`, `SADD`, `RPUSH`, `PEXPIRE`, `LRANGE`, `DEL` on
//! `_kombu.binding.amq.wellkept.*` and `wellkept.reply.*`, and `CLIENT TRACKING`. The `0` is the database's number.
//!
//! On RabbitMQ, to configure, write and read `amq.gen-.*`, to read `celeryev`, and any right to the queues; for `passive`
//! and `active` also to write to `celery.pidbox`, which means the same as above, and any right to `.*.celery.pidbox`.
//!
//! # Cost
//!
//! One connection, kept from run to run, on which the heartbeats come in. `passive`: one round trip per run, and each
//! worker reads one message. `active`: one round trip, one per batch of answers, and one to clear up. The two keys that
//! answers go through are deleted when the run ends, and expire by themselves when it is cut off; answers that come
//! later find no way to a key, and leave none. Ages read one task of each priority; lengths read none.
//!
//! On RabbitMQ one queue that goes with the connection, a channel for each queue that is looked at and each worker, and
//! one round trip per run.

mod events;
mod judge;
mod message;
mod on_rabbitmq;
mod on_redis;
mod queues;

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};
use wellkept_config::{FromNode, Schema, Section, one_of};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Scope};

use self::events::{Events, Roll, View};
use self::on_rabbitmq::OnRabbitMq;
use self::on_redis::OnRedis;
pub use self::queues::Queue;
use self::queues::{Found, Oldest};
use crate::kept::Kept;
use crate::kind::built;
use crate::reach::give_up_at;
use crate::{InvalidOption, Kind, Opens};

/// The settings of a [`Celery`] check.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the broker is and who asks, as the workers' `broker_url`. Required. It is kept secret, as it may hold a
    /// password.
    pub broker: SecretString,
    /// How the workers are looked at. Default `passive`.
    pub mode: Mode,
    /// What is expected of the workers. Default: one, of any name.
    pub workers: Workers,
    /// The queues to look at, at most 100. Default: none.
    pub queues: Vec<Queue>,
    /// For how long answers are waited for in the mode `active`; a run whose answers have all come does not wait.
    /// Default 1s.
    pub reply_within: Duration,
    /// After how long without a heartbeat a worker is silent. Default 10s.
    pub silent_after: Duration,
    /// The workers' `control_exchange`. Default `celery`.
    pub namespace: String,
    /// The workers' `event_exchange`. Default `celeryev`.
    pub event_exchange: String,
    /// The `global_keyprefix` of the workers' `broker_transport_options`. Redis only. Default: none.
    pub global_keyprefix: String,
    /// Their `fanout_prefix`, with `{db}` for the database's number; empty where it is off. Redis only. Default `/{db}.`
    pub fanout_prefix: String,
}

impl Options {
    /// Default of [`Options::reply_within`].
    pub const REPLY_WITHIN: Duration = Duration::from_secs(1);
    /// Default of [`Options::silent_after`].
    pub const SILENT_AFTER: Duration = Duration::from_secs(10);
    /// The most queues that one check looks at.
    pub const MAX_QUEUES: usize = 100;

    const FANOUT_PREFIX: &'static str = "/{db}.";

    /// One worker expected, looked at passively.
    pub fn new(broker: impl Into<SecretString>) -> Self {
        Self {
            broker: broker.into(),
            mode: Mode::default(),
            workers: Workers::default(),
            queues: Vec::new(),
            reply_within: Self::REPLY_WITHIN,
            silent_after: Self::SILENT_AFTER,
            namespace: "celery".to_owned(),
            event_exchange: "celeryev".to_owned(),
            global_keyprefix: String::new(),
            fanout_prefix: Self::FANOUT_PREFIX.to_owned(),
        }
    }
}

/// What is expected of the workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workers {
    /// The fewest that must be there. Default 1.
    pub minimum: u64,
    /// Those that must be there, by node name (`mail@host`) or by what stands before the `@`, whatever the host.
    /// Default: none.
    pub names: Vec<String>,
    /// What it means when silent workers leave too few. Default `unhealthy`.
    pub silent: Silent,
}

impl Default for Workers {
    fn default() -> Self {
        Self { minimum: 1, names: Vec::new(), silent: Silent::default() }
    }
}

/// How workers are looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Who listens is counted, heartbeats are heard, nobody has to answer.
    #[default]
    Passive,
    /// All are pinged.
    Active,
    /// Heartbeats alone; nothing is published.
    Events,
}

const WORDS: [(&str, Mode); 3] = [("passive", Mode::Passive), ("active", Mode::Active), ("events", Mode::Events)];

impl FromNode for Mode {
    const EXPECTED: &'static str = "passive, active or events";

    fn schema() -> Schema {
        Schema::words(&WORDS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &WORDS)
    }
}

/// What it means when workers are connected and say nothing, so that too few are left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Silent {
    /// They hang.
    #[default]
    Unhealthy,
    /// They may be busy: right for the pool `solo`.
    Degraded,
}

impl FromNode for Silent {
    const EXPECTED: &'static str = "unhealthy or degraded";

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &[("unhealthy", Self::Unhealthy), ("degraded", Self::Degraded)])
    }
}

/// Celery's workers, and their queues.
///
/// The metadata holds the numbers of `workers` that are there, and of those that are `idle`, `busy`, `draining` and
/// `silent` as far as it is known; `names`, what each does, up to 8 KiB of them; `queues`, for each its `length` and,
/// where it has a limit of age, `oldest_seconds`.
#[derive(Debug)]
pub struct Celery {
    settings: Settings,
    broker: Broker,
}

#[derive(Debug)]
enum Broker {
    /// With the oldest tasks of its queues.
    Redis(Box<OnRedis>, Kept<Oldest>),
    RabbitMq(Box<OnRabbitMq>),
}

/// What a run goes by, whatever the broker.
#[derive(Debug)]
struct Settings {
    mode: Mode,
    workers: Workers,
    queues: Vec<Queue>,
    reply_within: Duration,
    silent_after: Duration,
}

/// What a run found.
struct Facts {
    roll: Roll,
    queues: Vec<Found>,
}

impl Celery {
    /// Refuses a URL that can't be used, and times of zero. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        if options.reply_within.is_zero() {
            return Err(InvalidOption::new("reply_within", "must be more than 0"));
        }
        if options.silent_after.is_zero() {
            return Err(InvalidOption::new("silent_after", "must be more than 0"));
        }
        if options.queues.len() > Options::MAX_QUEUES {
            return Err(InvalidOption::new("queues", "at most 100 queues: use another check for the others"));
        }
        let events = Arc::<Events>::default();
        let url = options.broker.expose_secret();
        let broker = if ["amqp:", "amqps:", "pyamqp:"].iter().any(|scheme| url.starts_with(scheme)) {
            Broker::RabbitMq(Box::new(OnRabbitMq::new(&options, events)?))
        } else {
            Broker::Redis(Box::new(OnRedis::new(&options, events)?), Kept::nothing())
        };
        let Options { mode, workers, queues, reply_within, silent_after, .. } = options;
        let settings = Settings { mode, workers, queues, reply_within, silent_after };
        Ok(Self { settings, broker })
    }

    /// As [`Celery::new`] with [`Options::new`].
    pub fn by_url(broker: impl Into<SecretString>) -> Result<Self, InvalidOption> {
        Self::new(Options::new(broker))
    }
}

impl Check for Celery {
    async fn run(&self, context: &Context) -> Outcome {
        let (settings, deadline) = (&self.settings, give_up_at(context));
        let found = match &self.broker {
            Broker::Redis(broker, kept) => {
                let mut oldest = kept.take().unwrap_or_default();
                let found = broker.look(settings, &mut oldest, deadline).await;
                kept.put(oldest);
                found.map_err(|failure| failure.outcome())
            }
            Broker::RabbitMq(broker) => broker.look(settings, deadline).await.map_err(|failure| failure.outcome()),
        };
        match found {
            Ok(facts) => judge::outcome(settings, &facts),
            Err(outcome) => outcome,
        }
    }
}

impl Settings {
    /// Calls the roll, and waits for heartbeats while what is not known yet could make the difference.
    async fn call(&self, events: &Events, view: &View<'_>, deadline: Instant) -> Roll {
        let until = deadline.min(view.since + self.silent_after);
        let is_certain =
            |roll: &Roll| roll.settled || view.listening == Some(0) || self.is_satisfied_by(roll);
        while !is_certain(&events.call(view)) && timeout_at(until, events.news()).await.is_ok() {}
        // Time alone settles it as well.
        events.call(view)
    }

    fn is_satisfied_by(&self, roll: &Roll) -> bool {
        roll.present >= self.workers.minimum && self.missing(roll).next().is_none()
    }

    /// The names that nobody who is there bears.
    fn missing<'a>(&'a self, roll: &'a Roll) -> impl Iterator<Item = &'a str> {
        let is_there = |wanted: &str| {
            let mut named = roll.named.iter().filter(|(_, state)| state.is_present());
            named.any(|(name, _)| name == wanted || name.split('@').next() == Some(wanted))
        };
        self.workers.names.iter().map(String::as_str).filter(move |wanted| !is_there(wanted))
    }
}

/// `celery: { broker: "redis://127.0.0.1:6379/0", workers: { minimum: 2 }, queues: [{ name: celery, degraded_above: 1000 }] }`
pub const KIND: Kind = Kind {
    name: "celery",
    summary: "Celery's workers and queues, by their broker",
    scope: Scope::Remote, opens: Opens::Nothing,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let broker = section.required::<SecretString>("broker");
    let mode = section.or("mode", Mode::default());
    let workers = section.section("workers", |section| Some(read_workers(section))).unwrap_or_default();
    let queues = section.list("queues", Queue::read).unwrap_or_default();
    let reply_within = section.or("reply_within", Options::REPLY_WITHIN);
    let silent_after = section.or("silent_after", Options::SILENT_AFTER);
    let namespace = section.optional("namespace");
    let event_exchange = section.optional("event_exchange");
    let global_keyprefix = section.optional("global_keyprefix");
    let fanout_prefix = section.optional("fanout_prefix");
    let defaults = Options::new(broker?);
    let options = Options {
        mode,
        workers,
        queues,
        reply_within,
        silent_after,
        namespace: namespace.unwrap_or(defaults.namespace),
        event_exchange: event_exchange.unwrap_or(defaults.event_exchange),
        global_keyprefix: global_keyprefix.unwrap_or(defaults.global_keyprefix),
        fanout_prefix: fanout_prefix.unwrap_or(defaults.fanout_prefix),
        broker: defaults.broker,
    };
    built(section, Celery::new(options))
}

fn read_workers(section: &mut Section<'_>) -> Workers {
    let Workers { minimum, names, silent } = Workers::default();
    Workers {
        minimum: section.or("minimum", minimum),
        names: section.or("names", names),
        silent: section.or("silent", silent),
    }
}

#[cfg(test)]
mod tests;
