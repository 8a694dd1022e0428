//! Workers whose broker is RabbitMQ: one connection with a queue of its own, into which heartbeats and answers come, and
//! which goes with the connection.
//!
//! The server does not tell how many listen to a command, only that nobody does. So those who are known by their
//! heartbeats are looked for by their mailboxes, which live as long as their connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::events::{Events, View};
use super::message::{self, ReplyTo};
use super::queues::Found;
use super::{Facts, Mode, Options, Settings};
use crate::InvalidOption;
use crate::amqp::wire::{Arguments, Batch, Reader, method};
use crate::amqp::{Connection, Delivery, Failure, Server, closing};
use crate::kept::Kept;

/// Deliveries come on the first, commands go out on the second, the third binds. Then one for each queue, and one for
/// each mailbox.
const DELIVERIES: u16 = 1;
const COMMANDS: u16 = 2;
const BINDING: u16 = 3;
const QUEUES: u16 = 4;
/// The most mailboxes that are looked for in one run.
const MOST_MAILBOXES: usize = 100;
/// The most answers kept: the most workers that can be told apart.
const MOST_ANSWERS: usize = 1000;
/// How long others have to answer after the latest answer, while it is not known how many there are.
const QUIET: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct OnRabbitMq {
    server: Server,
    namespace: String,
    event_exchange: String,
    kept: Kept<Line>,
    inbox: Arc<Inbox>,
}

/// What is delivered.
#[derive(Debug)]
struct Inbox {
    events: Arc<Events>,
    /// The tickets and senders of answers.
    answers: Mutex<Vec<(String, String)>>,
    answered: Notify,
}

/// An open connection, and what is known since it is.
struct Line {
    connection: Connection,
    /// The name of its own queue.
    queue: String,
    open: Vec<bool>,
    is_bound: bool,
    /// Since when events are heard and as many listen.
    since: Instant,
    listening: Option<u64>,
}

/// What a run asks for and has not been told yet, or has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Awaited,
    Is(u64),
    IsNot,
}

impl OnRabbitMq {
    pub(super) fn new(options: &Options, events: Arc<Events>) -> Result<Self, InvalidOption> {
        let server = Server::parse("broker", options.broker.expose_secret())?;
        if options.queues.iter().any(super::Queue::needs_age) {
            let message = "how long a task waits can be told on Redis only: leave degraded_after and unhealthy_after out";
            return Err(InvalidOption::new("queues", message));
        }
        if !options.global_keyprefix.is_empty() {
            return Err(InvalidOption::new("global_keyprefix", "is for Redis only"));
        }
        if options.fanout_prefix != Options::FANOUT_PREFIX {
            return Err(InvalidOption::new("fanout_prefix", "is for Redis only"));
        }
        let names = options.queues.iter().map(|queue| &queue.name);
        if names.chain([&options.namespace, &options.event_exchange]).any(|name| name.len() > 200) {
            return Err(InvalidOption::new("queues", "names have 200 bytes at most"));
        }
        Ok(Self {
            server,
            namespace: options.namespace.clone(),
            event_exchange: options.event_exchange.clone(),
            kept: Kept::nothing(),
            inbox: Arc::new(Inbox { events, answers: Mutex::default(), answered: Notify::new() }),
        })
    }

    pub(super) async fn look(&self, settings: &Settings, deadline: Instant) -> Result<Facts, Failure> {
        if let Some(mut line) = self.kept.take() {
            match self.look_over(&mut line, settings, deadline).await {
                // It may have broken or been closed long ago, with nobody there to notice.
                Err(failure) if failure.is_broken_connection() || matches!(failure, Failure::Closed(..)) => {}
                found => return self.keep_if_usable(line, found),
            }
        }
        let mut line = self.open(deadline).await?;
        let found = self.look_over(&mut line, settings, deadline).await;
        self.keep_if_usable(line, found)
    }

    /// After a failure an answer may still be under way.
    fn keep_if_usable(&self, line: Line, found: Result<Facts, Failure>) -> Result<Facts, Failure> {
        if found.is_ok() {
            self.kept.put(line);
        }
        found
    }

    async fn open(&self, deadline: Instant) -> Result<Line, Failure> {
        let inbox = self.inbox.clone();
        let mut connection = self.server.connect(move |delivery| inbox.take(&delivery), deadline).await?;
        let queue = timeout_at(deadline, own_queue(&mut connection)).await;
        let queue = queue.map_err(|_elapsed| Failure::Timeout("making a queue"))??;
        let open = vec![true];
        Ok(Line { connection, queue, open, is_bound: false, since: Instant::now(), listening: None })
    }

    async fn look_over(&self, line: &mut Line, settings: &Settings, deadline: Instant) -> Result<Facts, Failure> {
        let (events, asked) = (&self.inbox.events, Instant::now());
        let names = if settings.mode == Mode::Events { Vec::new() } else { events.names() };
        let (looked_for, others) = names.split_at(names.len().min(MOST_MAILBOXES));
        let ticket = message::unique();
        let asking = timeout_at(deadline, self.ask(line, settings, looked_for, &ticket)).await;
        let Asked { has_listeners, queues, mailboxes } =
            asking.map_err(|_elapsed| Failure::Timeout("waiting for the broker's answer"))??;
        let listening = match (settings.mode, has_listeners) {
            (Mode::Events, _) => None,
            (_, false) => Some(0),
            (_, true) => Some((mailboxes + others.len() as u64).max(1)),
        };
        if line.listening.is_some() && line.listening != listening {
            line.since = asked;
        }
        line.listening = listening;
        let mut view =
            View { listening, since: line.since, answered: None, silent_after: settings.silent_after };
        if settings.mode != Mode::Active {
            return Ok(Facts { roll: settings.call(events, &view, deadline).await, queues });
        }
        let until = (asked + settings.reply_within).min(deadline);
        let expected = match listening {
            None | Some(0) => 0,
            Some(listening) => listening.max(settings.workers.minimum),
        };
        let is_settled = asked - line.since >= settings.silent_after;
        let answered = self.inbox.gather(&ticket, expected, is_settled, until).await;
        view.answered = Some(&answered);
        Ok(Facts { roll: events.call(&view), queues })
    }

    /// Everything in one message, and what is said to it.
    async fn ask(
        &self,
        line: &mut Line,
        settings: &Settings,
        names: &[String],
        ticket: &str,
    ) -> Result<Asked, Failure> {
        let mut batch = Batch::default();
        let queues = settings.queues.iter().map(|queue| queue.name.clone());
        let mailboxes = names.iter().map(|name| format!("{name}.{}.pidbox", self.namespace));
        let declared: Vec<String> = queues.chain(mailboxes).collect();
        line.open.resize(declared.len() + usize::from(QUEUES) - 1, false);
        for (channel, is_open) in (1..).zip(&mut line.open) {
            if !*is_open {
                batch.method(channel, method::CHANNEL_OPEN, Arguments::default().shortstr(""));
                *is_open = true;
            }
        }
        if !line.is_bound {
            let bind = Arguments::default().short(0).shortstr(&line.queue).shortstr(&self.event_exchange);
            batch.method(BINDING, method::QUEUE_BIND, bind.shortstr("worker.#").octet(0).table(&[]));
        }
        for (channel, name) in (QUEUES..).zip(&declared) {
            let passively = Arguments::default().short(0).shortstr(name).octet(1).table(&[]);
            batch.method(channel, method::QUEUE_DECLARE, passively);
        }
        let command = match settings.mode {
            Mode::Passive => Some(message::for_nobody(ticket)),
            Mode::Active => Some(message::ping(ticket, ReplyTo { exchange: "", routing_key: &line.queue })),
            Mode::Events => None,
        };
        if let Some(command) = command {
            const MANDATORY: u8 = 1;
            let exchange = format!("{}.pidbox", self.namespace);
            let publish = Arguments::default().short(0).shortstr(&exchange).shortstr("").octet(MANDATORY);
            batch.method(COMMANDS, method::BASIC_PUBLISH, publish).content(COMMANDS, &command);
        }
        // Answered when what is before it on its channel was taken.
        batch.method(COMMANDS, method::BASIC_QOS, Arguments::default().long(0).short(0).octet(0));
        line.connection.send(&batch).await?;

        let (mut has_listeners, mut is_through) = (true, false);
        let mut answers = vec![Told::Awaited; declared.len()];
        let mut is_binding = !line.is_bound;
        while !is_through || is_binding || answers.contains(&Told::Awaited) {
            let method = line.connection.next().await?;
            let answer =
                usize::from(method.channel).checked_sub(QUEUES.into()).and_then(|index| answers.get_mut(index));
            match (method.id, method.channel, answer) {
                (method::BASIC_RETURN, COMMANDS, _) => has_listeners = false,
                (method::BASIC_QOS_OK, COMMANDS, _) => is_through = true,
                (method::QUEUE_BIND_OK, BINDING, _) => {
                    (line.is_bound, is_binding, line.since) = (true, false, Instant::now());
                }
                (method::QUEUE_DECLARE_OK, _, Some(answer)) => {
                    let mut arguments = Reader(&method.arguments);
                    let length = arguments.shortstr().and_then(|_name| arguments.long());
                    *answer = Told::Is(length.ok_or(Failure::Unexpected("a queue without its length"))?.into());
                }
                (method::CHANNEL_CLOSE, channel, answer) => {
                    let why = closing(&method.arguments);
                    let (code, text) = why.ok_or(Failure::Unexpected("a close without a reason"))?;
                    match (code, answer) {
                        (404, Some(answer)) => *answer = Told::IsNot,
                        // It belongs to the worker's connection, so it is there.
                        (405, Some(answer)) => *answer = Told::Is(0),
                        // No worker has been here since the server is.
                        (404, None) if channel == COMMANDS => (has_listeners, is_through) = (false, true),
                        (404, None) if channel == BINDING => is_binding = false,
                        _ => return Err(Failure::Closed(code, text)),
                    }
                    line.close(channel).await?;
                }
                (method::CHANNEL_OPEN_OK | method::CONNECTION_UNBLOCKED, ..) => {}
                _ => return Err(Failure::Unexpected("a method that was not asked for")),
            }
        }
        let (queues, mailboxes) = answers.split_at(settings.queues.len());
        let found = |told: &Told| Found { length: if let Told::Is(length) = told { *length } else { 0 }, oldest: None };
        Ok(Asked {
            has_listeners,
            queues: queues.iter().map(found).collect(),
            mailboxes: mailboxes.iter().filter(|told| matches!(told, Told::Is(_))).count() as u64,
        })
    }
}

/// What the server said.
struct Asked {
    has_listeners: bool,
    queues: Vec<Found>,
    /// How many of those looked for are there.
    mailboxes: u64,
}

impl Line {
    async fn close(&mut self, channel: u16) -> Result<(), Failure> {
        if let Some(is_open) = self.open.get_mut(usize::from(channel).saturating_sub(1)) {
            *is_open = false;
        }
        let mut batch = Batch::default();
        self.connection.send(batch.method(channel, method::CHANNEL_CLOSE_OK, Arguments::default())).await
    }
}

/// A queue that only this connection has, and that goes with it.
async fn own_queue(connection: &mut Connection) -> Result<String, Failure> {
    const EXCLUSIVE_AND_AUTO_DELETE: u8 = 4 | 8;
    const NO_ACK_AND_EXCLUSIVE: u8 = 2 | 4;
    let mut batch = Batch::default();
    batch.method(DELIVERIES, method::CHANNEL_OPEN, Arguments::default().shortstr(""));
    let declare = Arguments::default().short(0).shortstr("").octet(EXCLUSIVE_AND_AUTO_DELETE).table(&[]);
    connection.send(batch.method(DELIVERIES, method::QUEUE_DECLARE, declare)).await?;
    connection.expect(DELIVERIES, method::CHANNEL_OPEN_OK).await?;
    let declared = connection.expect(DELIVERIES, method::QUEUE_DECLARE_OK).await?;
    let queue = Reader(&declared.arguments).shortstr().ok_or(Failure::Unexpected("a queue without a name"))?;
    let consume = Arguments::default().short(0).shortstr(&queue).shortstr("").octet(NO_ACK_AND_EXCLUSIVE).table(&[]);
    connection.send(Batch::default().method(DELIVERIES, method::BASIC_CONSUME, consume)).await?;
    connection.expect(DELIVERIES, method::BASIC_CONSUME_OK).await?;
    Ok(queue)
}

impl Inbox {
    fn take(&self, delivery: &Delivery) {
        let Ok(body) = serde_json::from_slice(&delivery.body) else { return };
        if !delivery.exchange.is_empty() {
            self.events.take(&body);
            return;
        }
        let ticket = delivery.headers.iter().find(|(name, _)| name == "ticket").map(|(_, ticket)| ticket);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        for (ticket, name) in ticket.into_iter().flat_map(|ticket| message::answering(&body).map(move |name| (ticket, name))) {
            if answers.len() < MOST_ANSWERS {
                answers.push((ticket.clone(), name.to_owned()));
            }
        }
        drop(answers);
        self.answered.notify_one();
    }

    /// The names of all who answer before `until`, or of as many as are expected; while it is not settled how many
    /// these are, also of those who answer right after.
    async fn gather(&self, ticket: &str, expected: u64, is_settled: bool, until: Instant) -> Vec<String> {
        let mut names = Vec::new();
        if expected == 0 {
            return names;
        }
        loop {
            let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
            names.extend(answers.into_iter().filter(|(answered, _)| answered == ticket).map(|(_, name)| name));
            let has_enough = names.len() as u64 >= expected;
            if has_enough && is_settled {
                return names;
            }
            let until = if has_enough { until.min(Instant::now() + QUIET) } else { until };
            if timeout_at(until, self.answered.notified()).await.is_err() {
                return names;
            }
        }
    }
}
