//! Workers whose broker is Redis: one connection on which heartbeats come in, commands are published and queues counted.
//!
//! Answers to a ping come over a list. A worker finds it by a set, `_kombu.binding.EXCHANGE`, that names the queues of
//! an exchange. Set and list are this check's own and expire, the list with a first element that keeps its expiry alive.
//! So an answer goes to a list that will expire, or, once the set is gone, nowhere. The name of the exchange begins with
//! `amq.`, because workers never declare such a one, and remember nothing of it.

use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, PushInfo, PushKind, Value};
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::events::{Events, View};
use super::message::{self, ReplyTo};
use super::queues::{Found, Oldest, Queue};
use super::{Facts, Mode, Options, Settings};
use crate::InvalidOption;
use crate::kept::Kept;
use crate::redis::server::{Failure, Server, Session};

/// What kombu puts between a queue's name and a priority, and between the parts of a binding.
const SEPARATOR: &str = "\x06\x16";
/// The lists that a queue consists of: one for each of kombu's default `priority_steps`, the first without a suffix.
const PRIORITIES: [&str; 4] = ["", "\x06\x163", "\x06\x166", "\x06\x169"];
/// For how long answers find their way after the time for them: enough to end a run.
const GRACE: Duration = Duration::from_secs(2);
/// For how long the list outlives the way to it, so that what was on its way finds a list that expires.
const AFTERLIFE: Duration = Duration::from_secs(30);
/// Time to clear up after the answers.
const CLEARING: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct OnRedis {
    server: Server,
    /// The exchange of commands, and the channel that it is.
    exchange: String,
    channel: String,
    /// The channels of the events.
    pattern: String,
    prefix: String,
    kept: Kept<Line>,
    inbox: Arc<Inbox>,
}

/// What comes in beside answers.
#[derive(Debug)]
struct Inbox {
    events: Arc<Events>,
    /// The list of answers has changed since it was read.
    changed: Notify,
}

/// An open connection, and what is known since it is.
struct Line {
    session: Session,
    /// Since when events are heard and as many listen.
    since: Instant,
    listening: Option<u64>,
}

impl OnRedis {
    pub(super) fn new(options: &Options, events: Arc<Events>) -> Result<Self, InvalidOption> {
        let server = Server::parse("broker", options.broker.expose_secret())?.with_pushes();
        let prefix = options.global_keyprefix.clone();
        let fanout = prefix.clone() + &options.fanout_prefix.replace("{db}", &server.database().to_string());
        let exchange = format!("{}.pidbox", options.namespace);
        Ok(Self {
            channel: format!("{fanout}{exchange}"),
            pattern: format!("{}/worker.*", literal(&format!("{fanout}{}", options.event_exchange))),
            server,
            exchange,
            prefix,
            kept: Kept::nothing(),
            inbox: Arc::new(Inbox { events, changed: Notify::new() }),
        })
    }

    pub(super) async fn look(
        &self,
        settings: &Settings,
        oldest: &mut Oldest,
        deadline: Instant,
    ) -> Result<Facts, Failure> {
        if let Some(mut line) = self.kept.take() {
            match self.look_over(&mut line, settings, oldest, deadline).await {
                // It may have broken long ago, with nobody there to notice.
                Err(failure) if failure.is_broken_connection() => {}
                found => return self.keep_if_usable(line, found),
            }
        }
        let mut line = self.open(settings, deadline).await?;
        let found = self.look_over(&mut line, settings, oldest, deadline).await;
        self.keep_if_usable(line, found)
    }

    /// After a failure an answer may still be under way. A refusal is an answer.
    fn keep_if_usable(&self, line: Line, found: Result<Facts, Failure>) -> Result<Facts, Failure> {
        if matches!(found, Ok(_) | Err(Failure::Refused(..))) {
            self.kept.put(line);
        }
        found
    }

    async fn open(&self, settings: &Settings, deadline: Instant) -> Result<Line, Failure> {
        let inbox = self.inbox.clone();
        let told = move |push: PushInfo| -> Result<(), ()> {
            inbox.take(&push);
            Ok(())
        };
        let mut session = self.server.connect_told(told, deadline).await?;
        session.subscribe(&self.pattern, deadline).await?;
        if settings.mode == Mode::Active {
            // The server says when the list that was read last has changed.
            let mut commands = redis::pipe();
            commands.cmd("CLIENT").arg("TRACKING").arg("ON");
            let mut answers = Answers::to(&mut session, &mut commands, "setting up", deadline).await?;
            answers.next()?;
        }
        Ok(Line { session, since: Instant::now(), listening: None })
    }

    async fn look_over(
        &self,
        line: &mut Line,
        settings: &Settings,
        oldest: &mut Oldest,
        deadline: Instant,
    ) -> Result<Facts, Failure> {
        let events = &self.inbox.events;
        let mut commands = redis::pipe();
        let round = (settings.mode == Mode::Active).then(|| Round::begin(self, settings, &mut commands));
        match settings.mode {
            Mode::Active => {}
            Mode::Passive => {
                let nobody = message::enveloped(&message::for_nobody(&message::unique()), &self.exchange);
                commands.cmd("PUBLISH").arg(&self.channel).arg(nobody);
            }
            // Whether the broker is there is to be known although nothing is published.
            Mode::Events => {
                commands.cmd("PING");
            }
        }
        self.ask_lists(&settings.queues, &mut commands);
        let asked = Instant::now();
        let mut answers =
            Answers::to(&mut line.session, &mut commands, "waiting for the broker's answer", deadline).await?;
        if round.is_some() {
            (0..Round::PREPARATIONS).try_for_each(|_| answers.next().map(drop))?;
        }
        let listening = match settings.mode {
            Mode::Active | Mode::Passive => Some(answers.number()?),
            Mode::Events => answers.next().map(|_pong| None)?,
        };
        if line.listening.is_some() && line.listening != listening {
            line.since = asked;
        }
        line.listening = listening;
        let found = settings.queues.iter().map(|queue| self.found(queue, &mut answers, oldest));
        let queues = found.collect::<Result<_, _>>()?;
        let mut view =
            View { listening, since: line.since, answered: None, silent_after: settings.silent_after };
        let Some(round) = round else {
            return Ok(Facts { roll: settings.call(events, &view, deadline).await, queues });
        };
        let until = (asked + settings.reply_within).min(deadline.checked_sub(CLEARING).unwrap_or(deadline));
        let answered = round.gather(line, &self.inbox.changed, listening.unwrap_or_default(), until).await?;
        round.clear(line, deadline).await?;
        view.answered = Some(&answered);
        Ok(Facts { roll: events.call(&view), queues })
    }

    fn ask_lists(&self, queues: &[Queue], commands: &mut Pipeline) {
        for queue in queues {
            for list in self.lists_of(queue) {
                commands.cmd("LLEN").arg(&list);
                if queue.needs_age() {
                    commands.cmd("LINDEX").arg(&list).arg(-1);
                }
            }
        }
    }

    fn found(&self, queue: &Queue, answers: &mut Answers, oldest: &mut Oldest) -> Result<Found, Failure> {
        let mut found = Found::default();
        for list in self.lists_of(queue) {
            found.length = found.length.saturating_add(answers.number()?);
            if queue.needs_age() {
                let task = answers.bytes()?;
                found.oldest = found.oldest.max(oldest.note(&list, task.as_deref()));
            }
        }
        Ok(found)
    }

    fn lists_of(&self, queue: &Queue) -> impl Iterator<Item = String> {
        let name = format!("{}{}", self.prefix, queue.name);
        PRIORITIES.iter().map(move |priority| format!("{name}{priority}"))
    }
}

impl Inbox {
    fn take(&self, push: &PushInfo) {
        match push.kind {
            PushKind::Invalidate => self.changed.notify_one(),
            // The pattern, the channel, what was published.
            PushKind::PMessage => {
                if let Some((_, event)) = push.data.get(2).and_then(bytes).and_then(message::opened) {
                    self.events.take(&event);
                }
            }
            _ => {}
        }
    }
}

/// One ping of all workers.
struct Round {
    ticket: String,
    /// The keys: the way to the list of answers, and the list.
    way: String,
    list: String,
}

impl Round {
    /// How many commands come before the one that publishes.
    const PREPARATIONS: usize = 7;

    /// Prepares the way for answers, reads their list so that its changes are told, and pings.
    fn begin(on: &OnRedis, settings: &Settings, commands: &mut Pipeline) -> Self {
        let ticket = message::unique();
        let (exchange, queue) = (format!("amq.wellkept.{ticket}"), format!("wellkept.reply.{ticket}"));
        let way = format!("{}_kombu.binding.{exchange}", on.prefix);
        let list = format!("{}{queue}", on.prefix);
        let binding = format!("{queue}{SEPARATOR}{SEPARATOR}{queue}");
        let open_for = settings.reply_within + GRACE;
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        commands.cmd("MULTI");
        commands.cmd("SADD").arg(&way).arg(binding);
        commands.cmd("PEXPIRE").arg(&way).arg(milliseconds(open_for));
        commands.cmd("RPUSH").arg(&list).arg("");
        commands.cmd("PEXPIRE").arg(&list).arg(milliseconds(open_for + AFTERLIFE));
        commands.cmd("EXEC");
        commands.cmd("LRANGE").arg(&list).arg(0).arg(-2);
        let ping = message::ping(&ticket, ReplyTo { exchange: &exchange, routing_key: &queue });
        commands.cmd("PUBLISH").arg(&on.channel).arg(message::enveloped(&ping, &on.exchange));
        Self { ticket, way, list }
    }

    /// The names of all who answer before `until`, or of the first `expected`.
    async fn gather(
        &self,
        line: &mut Line,
        changed: &Notify,
        expected: u64,
        until: Instant,
    ) -> Result<Vec<String>, Failure> {
        let (mut names, mut seen) = (Vec::new(), 0);
        while (names.len() as u64) < expected && timeout_at(until, changed.notified()).await.is_ok() {
            let mut commands = redis::pipe();
            // New ones stand first, and what keeps the list alive stands last.
            commands.cmd("LRANGE").arg(&self.list).arg(0).arg(-2 - seen);
            let waiting = "waiting for the workers' answers";
            // The answer to this one may come a little later than those of the workers.
            let mut answers = Answers::to(&mut line.session, &mut commands, waiting, until + CLEARING).await?;
            let Value::Array(new) = answers.next()? else {
                return Err(Failure::Unexpected("the answer to LRANGE is no list"));
            };
            seen += i64::try_from(new.len()).unwrap_or(i64::MAX);
            for (ticket, body) in new.iter().filter_map(|answer| message::opened(bytes(answer)?)) {
                if ticket.as_deref() == Some(&self.ticket) {
                    names.extend(message::answering(&body).map(str::to_owned));
                }
            }
        }
        Ok(names)
    }

    async fn clear(&self, line: &mut Line, deadline: Instant) -> Result<(), Failure> {
        let mut commands = redis::pipe();
        commands.cmd("DEL").arg(&self.way).arg(&self.list);
        Answers::to(&mut line.session, &mut commands, "clearing up", deadline).await?.next().map(drop)
    }
}

/// The answers to a pipeline, one after another.
struct Answers(std::vec::IntoIter<Value>);

impl Answers {
    async fn to(
        session: &mut Session,
        commands: &mut Pipeline,
        waiting: &'static str,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        Ok(Self(session.ask(commands, waiting, deadline).await?.into_iter()))
    }

    /// The next one; a refusal is an error.
    fn next(&mut self) -> Result<Value, Failure> {
        match self.0.next() {
            Some(Value::ServerError(error)) => {
                Err(Failure::Refused(error.code().to_owned(), error.details().unwrap_or_default().to_owned()))
            }
            Some(value) => Ok(value),
            None => Err(Failure::Unexpected("fewer answers than commands")),
        }
    }

    fn number(&mut self) -> Result<u64, Failure> {
        match self.next()? {
            Value::Int(number) => u64::try_from(number).map_err(|_| Failure::Unexpected("a negative count")),
            _ => Err(Failure::Unexpected("no number where one was asked for")),
        }
    }

    fn bytes(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match self.next()? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => Ok(Some(bytes)),
            _ => Err(Failure::Unexpected("no text where one was asked for")),
        }
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

/// What a pattern must say to mean exactly this text.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}
