//! A RabbitMQ server, by AMQP 0-9-1: whether it lets one in, takes messages, and what its queues hold.
//!
//! The URL is `amqp://user:password@host:5672/vhost`; user and password are `guest` when left out, the virtual host `/`.
//! With `amqps://` the connection is encrypted and the certificate verified against the system's roots;
//! `SSL_CERT_FILE` names others.
//!
//! A server that is low on memory or disk still lets everyone in and answers; it only stops reading from those who
//! publish. So each run publishes a message that nothing takes, unless `alarms` is off.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | the name can't be resolved | unhealthy | `dns` |
//! | nobody listens there | unhealthy | `refused` |
//! | no answer in time, and the detail says in which stage | unhealthy | `timeout` |
//! | the address is one that is never asked (cloud metadata) | unhealthy | `blocked` |
//! | the connection broke | unhealthy | `network` |
//! | no descriptor or thread is left on this side | unhealthy | `internal` |
//! | the TLS handshake failed, or the certificate is not trusted | unhealthy | `tls` |
//! | the user or password is not accepted, or may not use the virtual host or what is asked for | unhealthy | `auth` |
//! | the virtual host does not exist | unhealthy | `unexpected` |
//! | too many connections | unhealthy | `exhausted` |
//! | the virtual host is down, or the server is shutting down | unhealthy | `not_ready` |
//! | messages are refused: memory or disk space is low | degraded | `exhausted` |
//! | a queue does not exist | unhealthy | `unexpected` |
//! | a queue has fewer consumers than it should | unhealthy | `not_ready` |
//! | a queue holds more messages than its limit | degraded, unhealthy | `threshold` |
//! | what came is no AMQP 0-9-1 | unhealthy | `protocol` |
//!
//! # Rights
//!
//! A user of the virtual host. For queues, any one of the rights to configure, write or read each of them; for `alarms`,
//! to write to `amq.default`. The account `guest` is let in from the server's own machine only.
//!
//! # Cost
//!
//! One connection, kept from run to run, with a channel for each queue and one more; one round trip per run. With
//! `alarms` one message of two bytes per run, which the server drops. While messages are refused each run connects anew.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};
use wellkept_config::Section;
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};

use crate::amqp::wire::{Arguments, Batch, Reader, method};
use crate::amqp::{Connection, Failure, Server, closing};
use crate::kept::Kept;
use crate::kind::built;
use crate::reach::give_up_at;
use crate::{InvalidOption, Kind, Opens};

/// The settings of a [`RabbitMq`] check.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the server is and who asks. Required. It is kept secret, as it may hold a password.
    pub url: SecretString,
    /// The queues to look at, at most 100. Default: none.
    pub queues: Vec<Queue>,
    /// Whether to find out that messages are refused, by publishing one that nothing takes. Default `true`.
    pub alarms: bool,
}

impl Options {
    /// The most queues that one check looks at.
    pub const MAX_QUEUES: usize = 100;

    /// A server, with its alarms.
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self { url: url.into(), queues: Vec::new(), alarms: true }
    }
}

/// A queue, with what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name. Required.
    pub name: String,
    /// More messages than this that are ready to be taken are degraded. Default: no limit.
    pub degraded_above: Option<u64>,
    /// More messages than this that are ready to be taken are unhealthy. Default: no limit.
    pub unhealthy_above: Option<u64>,
    /// The fewest consumers that it must have. Default 1.
    pub consumers: u64,
}

impl Queue {
    /// A queue that must have a consumer.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), degraded_above: None, unhealthy_above: None, consumers: 1 }
    }
}

/// A RabbitMQ server.
///
/// The metadata holds the `product` and its `server_version`, and `queues`, for each its `messages` that are ready and
/// its `consumers`.
pub struct RabbitMq {
    server: Server,
    queues: Vec<Queue>,
    alarms: bool,
    kept: Kept<Session>,
}

impl RabbitMq {
    /// Refuses a URL or a queue's name that can't be used. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { url, queues, alarms } = options;
        if queues.len() > Options::MAX_QUEUES {
            return Err(InvalidOption::new("queues", "at most 100 queues: use another check for the others"));
        }
        if queues.iter().any(|queue| queue.name.is_empty() || queue.name.len() > 255) {
            return Err(InvalidOption::new("queues", "a queue's name has 1 to 255 bytes"));
        }
        Ok(Self { server: Server::parse("url", url.expose_secret())?, queues, alarms, kept: Kept::nothing() })
    }

    /// As [`RabbitMq::new`] with [`Options::new`].
    pub fn by_url(url: impl Into<SecretString>) -> Result<Self, InvalidOption> {
        Self::new(Options::new(url))
    }

    async fn ask(&self, deadline: Instant) -> Result<Answers, Failure> {
        if let Some(mut session) = self.kept.take() {
            match session.ask(self, deadline).await {
                // It may have broken long ago, with nobody there to notice; or it was closed with a last word, as when
                // the server was told to stop.
                Err(failure) if failure.is_broken_connection() || matches!(failure, Failure::Closed(..)) => {}
                answers => return self.keep_if_usable(session, answers),
            }
        }
        let mut session = Session { connection: self.server.connect(drop, deadline).await?, open: Vec::new() };
        let answers = session.ask(self, deadline).await;
        self.keep_if_usable(session, answers)
    }

    /// After a failure an answer may still be under way, and the server does not read while it takes no messages.
    fn keep_if_usable(&self, session: Session, answers: Result<Answers, Failure>) -> Result<Answers, Failure> {
        if answers.as_ref().is_ok_and(|answers| answers.refuses_messages.is_none()) {
            self.kept.put(session);
        }
        answers
    }

    fn judge(&self, answers: &Answers) -> Outcome {
        let mut worst = match &answers.refuses_messages {
            Some(failure) => failure.outcome(),
            None => Outcome::pass(),
        };
        let mut readings = Map::new();
        for (queue, answer) in self.queues.iter().zip(&answers.queues) {
            let (judged, reading) = queue.judge(answer);
            readings.insert(queue.name.clone(), reading);
            if judged.verdict() > worst.verdict() {
                worst = judged;
            }
        }
        let texts = [("product", &answers.product), ("server_version", &answers.version)];
        for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?))) {
            worst = worst.with(name, text);
        }
        if readings.is_empty() { worst } else { worst.with("queues", readings) }
    }
}

impl Check for RabbitMq {
    async fn run(&self, context: &Context) -> Outcome {
        match self.ask(give_up_at(context)).await {
            Ok(answers) => self.judge(&answers),
            Err(failure) => failure.outcome(),
        }
    }
}

impl fmt::Debug for RabbitMq {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RabbitMq").field("server", &self.server).finish_non_exhaustive()
    }
}

/// `rabbitmq: { url: "amqp://127.0.0.1:5672/", queues: [{ name: mail, degraded_above: 1000 }] }`
pub const KIND: Kind = Kind {
    name: "rabbitmq",
    summary: "A RabbitMQ server, its alarms and its queues",
    scope: Scope::Remote, opens: Opens::Nothing,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let url = section.required::<SecretString>("url");
    let queues = section.list("queues", read_queue).unwrap_or_default();
    let alarms = section.or("alarms", true);
    built(section, RabbitMq::new(Options { url: url?, queues, alarms }))
}

fn read_queue(section: &mut Section<'_>) -> Option<Queue> {
    let name = section.required::<String>("name");
    let degraded_above = section.optional("degraded_above");
    let unhealthy_above = section.optional("unhealthy_above");
    let consumers = section.or("consumers", 1);
    Some(Queue { name: name?, degraded_above, unhealthy_above, consumers })
}

impl Queue {
    fn judge(&self, answer: &Answer) -> (Outcome, Value) {
        let (messages, consumers) = match answer {
            Answer::Declared { messages, consumers } => (*messages, *consumers),
            Answer::Closed(404, text) => {
                let outcome = Outcome::fail(Reason::Unexpected, "a queue does not exist").with_detail(text.clone());
                return (outcome, json!({ "exists": false }));
            }
            // One that belongs to a connection: what it holds is told to nobody else.
            Answer::Closed(405, _) => return (Outcome::pass(), json!({ "exists": true })),
            Answer::Closed(code, text) => {
                return (Failure::Closed(*code, text.clone()).outcome(), Value::Object(Map::new()));
            }
        };
        let is_past = |limit: Option<u64>| limit.is_some_and(|limit| messages > limit);
        let outcome = if consumers == 0 && self.consumers > 0 {
            Outcome::fail(Reason::NotReady, "a queue has no consumer")
        } else if consumers < self.consumers {
            Outcome::fail(Reason::NotReady, "a queue has fewer consumers than it should have")
        } else if is_past(self.unhealthy_above) {
            Outcome::fail(Reason::Threshold, "a queue is too long")
        } else if is_past(self.degraded_above) {
            Outcome::warn(Reason::Threshold, "a queue is too long")
        } else {
            Outcome::pass()
        };
        let outcome = match outcome.reason() {
            Some(_) => outcome.with_detail(format!("{}: {messages} messages, {consumers} consumers", self.name)),
            None => outcome,
        };
        (outcome, json!({ "messages": messages, "consumers": consumers }))
    }
}

/// A connection with a channel for each queue, and before them the one for messages.
struct Session {
    connection: Connection,
    /// Which of the channels are open.
    open: Vec<bool>,
}

/// What the server said in one run.
struct Answers {
    queues: Vec<Answer>,
    refuses_messages: Option<Failure>,
    product: Option<String>,
    version: Option<String>,
}

/// What was said of one queue.
enum Answer {
    Declared { messages: u64, consumers: u64 },
    /// The channel was closed for it.
    Closed(u16, String),
}

impl Session {
    async fn ask(&mut self, check: &RabbitMq, deadline: Instant) -> Result<Answers, Failure> {
        let asking = timeout_at(deadline, self.ask_all(check)).await;
        asking.map_err(|_elapsed| Failure::Timeout("waiting for the server's answer"))?
    }

    async fn ask_all(&mut self, check: &RabbitMq) -> Result<Answers, Failure> {
        let mut batch = Batch::default();
        self.open.resize(check.queues.len() + 1, false);
        for (channel, is_open) in (1..).zip(&mut self.open) {
            if !*is_open {
                batch.method(channel, method::CHANNEL_OPEN, Arguments::default().shortstr(""));
                *is_open = true;
            }
        }
        for (channel, queue) in (2..).zip(&check.queues) {
            batch.method(channel, method::QUEUE_DECLARE, passive(&queue.name));
        }
        if check.alarms {
            // To the default exchange, for a queue that does not exist.
            let publish = Arguments::default().short(0).shortstr("").shortstr("wellkept.nobody").octet(0);
            batch.method(1, method::BASIC_PUBLISH, publish).content(1, "{}");
        }
        // Answered when all before it was taken; a server that takes no messages says so instead.
        batch.method(1, method::BASIC_QOS, Arguments::default().long(0).short(0).octet(0));
        self.connection.send(&batch).await?;

        let mut queues: Vec<Option<Answer>> = check.queues.iter().map(|_| None).collect();
        let (mut refuses_messages, mut is_through) = (None, false);
        while !is_through || queues.iter().any(Option::is_none) {
            let method = match self.connection.next().await {
                Err(failure @ Failure::Blocked(_)) => {
                    (refuses_messages, is_through) = (Some(failure), true);
                    continue;
                }
                method => method?,
            };
            let queue = usize::from(method.channel).checked_sub(2).and_then(|index| queues.get_mut(index));
            match (method.id, queue) {
                (method::QUEUE_DECLARE_OK, Some(queue)) => *queue = Some(declared(&method.arguments)?),
                (method::CHANNEL_CLOSE, queue) => {
                    let why = closing(&method.arguments);
                    let (code, text) = why.ok_or(Failure::Unexpected("a close without a reason"))?;
                    if let Some(queue) = queue {
                        *queue = Some(Answer::Closed(code, text));
                    } else {
                        // The right to publish is missing.
                        (refuses_messages, is_through) = (Some(Failure::Closed(code, text)), true);
                    }
                    self.close(method.channel).await?;
                }
                (method::BASIC_QOS_OK, None) => is_through = true,
                (method::CHANNEL_OPEN_OK | method::CONNECTION_UNBLOCKED, _) => {}
                _ => return Err(Failure::Unexpected("a method that was not asked for")),
            }
        }
        let (product, version) = (self.connection.product.clone(), self.connection.version.clone());
        Ok(Answers { queues: queues.into_iter().flatten().collect(), refuses_messages, product, version })
    }

    async fn close(&mut self, channel: u16) -> Result<(), Failure> {
        if let Some(is_open) = self.open.get_mut(usize::from(channel).saturating_sub(1)) {
            *is_open = false;
        }
        let mut batch = Batch::default();
        self.connection.send(batch.method(channel, method::CHANNEL_CLOSE_OK, Arguments::default())).await
    }
}

/// Asks for a queue without making it.
fn passive(name: &str) -> Arguments {
    Arguments::default().short(0).shortstr(name).octet(1).table(&[])
}

fn declared(arguments: &[u8]) -> Result<Answer, Failure> {
    let mut arguments = Reader(arguments);
    let numbers = arguments.shortstr().and_then(|_name| Some((arguments.long()?, arguments.long()?)));
    let (messages, consumers) = numbers.ok_or(Failure::Unexpected("a queue without its numbers"))?;
    Ok(Answer::Declared { messages: messages.into(), consumers: consumers.into() })
}

#[cfg(test)]
mod tests;
