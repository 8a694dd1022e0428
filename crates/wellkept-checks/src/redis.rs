//! A Redis or Valkey server, asked with `PING` and `INFO` in one round trip over one connection that is kept.
//!
//! A server that answers is not always one that works: while it loads its data, when it can't save and so refuses
//! writes, when its memory is full and it may evict nothing, or when a replica has lost its primary, the check says so.
//! A Sentinel and a node of a cluster are known as such, and tell the state of what they belong to.
//!
//! The URL is `redis://user:password@host:6379/0`; user, password, port and database may be left out. With `rediss://`
//! the connection is encrypted and the certificate verified against the system's roots; `SSL_CERT_FILE` names others.
//! `valkey://` and `valkeys://` mean the same.
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
//! | a password is required or not accepted, or the user may not ask | unhealthy | `auth` |
//! | the server loads its data, is busy with a script, or its cluster is down | unhealthy | `not_ready` |
//! | a primary is expected by `role` and the server is a replica, or the other way round | unhealthy | `not_ready` |
//! | `role` is set and the server is a Sentinel, which holds no data | unhealthy | `unexpected` |
//! | a primary that a Sentinel watches over is down | unhealthy | `not_ready` |
//! | a primary is not reached by the Sentinel that is asked, or that one does not trust its clock | degraded | `not_ready` |
//! | the cluster is down by `CLUSTER INFO` | unhealthy | `not_ready` |
//! | some of the cluster's slots are on nodes that are not reached | degraded | `not_ready` |
//! | a replica has lost its primary, or is copying it | degraded; unhealthy where it then refuses reads | `not_ready` |
//! | writes are refused: the server is a replica, or can't save its data | degraded | `not_ready` |
//! | writes are refused: the memory is full, and nothing may be evicted | degraded | `exhausted` |
//! | the last save failed | degraded | `error` |
//! | too many connections | unhealthy | `exhausted` |
//! | more connections than `connections_degraded_above` or `connections_unhealthy_above` | degraded, unhealthy | `threshold` |
//! | more memory than `memory_degraded_above` or `memory_unhealthy_above` | degraded, unhealthy | `threshold` |
//! | the lag is above `lag_degraded_above` or `lag_bytes_degraded_above` | degraded | `threshold` |
//! | the lag is above `lag_unhealthy_above` or `lag_bytes_unhealthy_above` | unhealthy | `threshold` |
//! | `role` or a limit is set, and the user may not run `INFO` | degraded | `auth` |
//! | another refusal | unhealthy | `error` |
//! | what came is no answer that Redis gives | unhealthy | `protocol` |
//!
//! # Rights
//!
//! `PING`; `INFO` for all that goes beyond it, and on a cluster `CLUSTER INFO`: `+ping +info +cluster|info`. A user who may
//! not run `INFO` gets a verdict from `PING` alone. No key is read or written.
//!
//! # Cost
//!
//! One connection, kept from run to run, and one round trip per run, in which all is asked. The first run on a connection
//! to a cluster's node takes one more.
//!
//! # Lag
//!
//! Asked of a replica, the lag is the seconds since it heard from its primary, which speaks up every 10 seconds
//! (`repl-ping-replica-period`) when there is nothing to copy, or since it lost it; and the bytes that it has received and
//! not applied. Asked of a primary, it is that of the slowest connected replica: the seconds since it confirmed, which it
//! does every second, and the bytes that it has not confirmed. What is not connected is not seen there, so ask the replicas.

mod info;
mod judge;
mod overheard;
pub(crate) mod server;

use std::fmt;
use std::time::Duration;

use redis::Value;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use wellkept_config::{ByteSize, Ratio, Section};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Scope};

use self::info::{Info, Mode};
use self::judge::{Told, judge};
use self::server::{Failure, Server, Session, refused};
use crate::findings::ordered;
use crate::kept::Kept;
use crate::kind::built;
use crate::reach::give_up_at;
use crate::{InvalidOption, Kind, Opens, Role};

/// The settings of a [`Redis`] check.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the server is and who asks. Required. It is kept secret, as it may hold a password.
    pub url: SecretString,
    /// Which server is expected: `primary` fails on a replica, which refuses writes, and `replica` on a primary. Default
    /// `any`.
    pub role: Role,
    /// Degraded when more than this part of `maxclients` is in use. Default 90%.
    pub connections_degraded_above: Ratio,
    /// Unhealthy when more than this part is in use. Default: not set, as a server without any left refuses the check too.
    pub connections_unhealthy_above: Option<Ratio>,
    /// Degraded when more than this part of `maxmemory` is used, or of the machine's memory where there is no such limit.
    /// Default: not set, as a cache is meant to be full.
    pub memory_degraded_above: Option<Ratio>,
    /// Unhealthy when more than this part is used. Default: not set.
    pub memory_unhealthy_above: Option<Ratio>,
    /// Degraded when the lag is longer. On a replica give it more than 10 seconds. Default: not set.
    pub lag_degraded_above: Option<Duration>,
    /// Unhealthy when the lag is longer. Default: not set.
    pub lag_unhealthy_above: Option<Duration>,
    /// Degraded when the lag is more than this. Default: not set.
    pub lag_bytes_degraded_above: Option<ByteSize>,
    /// Unhealthy when the lag is more than this. Default: not set.
    pub lag_bytes_unhealthy_above: Option<ByteSize>,
}

impl Options {
    /// For a server, whichever role it has.
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self {
            url: url.into(),
            role: Role::Any,
            connections_degraded_above: Ratio::new(0.9).expect("the default is from 0 to 1"),
            connections_unhealthy_above: None,
            memory_degraded_above: None,
            memory_unhealthy_above: None,
            lag_degraded_above: None,
            lag_unhealthy_above: None,
            lag_bytes_degraded_above: None,
            lag_bytes_unhealthy_above: None,
        }
    }

    /// Refuses limits of which the worse would be passed before the better.
    fn check(&self) -> Result<(), InvalidOption> {
        let connections = (Some(self.connections_degraded_above), self.connections_unhealthy_above);
        ordered(connections.0, connections.1, "connections_unhealthy_above", "connections_degraded_above")?;
        let memory = (self.memory_degraded_above, self.memory_unhealthy_above);
        ordered(memory.0, memory.1, "memory_unhealthy_above", "memory_degraded_above")?;
        ordered(self.lag_degraded_above, self.lag_unhealthy_above, "lag_unhealthy_above", "lag_degraded_above")?;
        let bytes = (self.lag_bytes_degraded_above, self.lag_bytes_unhealthy_above);
        ordered(bytes.0, bytes.1, "lag_bytes_unhealthy_above", "lag_bytes_degraded_above")
    }
}

/// A Redis or Valkey server, asked with `PING` and `INFO`.
///
/// The metadata holds what `INFO` tells: `product` (`redis` or `valkey`), `server_version`, `mode` (`standalone`, `cluster`
/// or `sentinel`), `role`, `connected_clients`, `connections_left`, `used_memory_bytes`, `memory_usage` (of `maxmemory`, or
/// of the machine's memory where there is no such limit), with that limit also `maxmemory_bytes`, and `memory_left_bytes`
/// where nothing is evicted, and once there were reads, `hit_rate` since the server's start. Where there is replication:
/// `link` of a replica, `replicas` of a primary, `lag_s` and `lag_bytes`. While data is loaded, `loaded_percent` and
/// `loading_eta_s`. Of a Sentinel, `masters`; of a cluster's node, `cluster`. And `round_trip_ms`. A user who may not run
/// `INFO` gets a verdict from `PING` alone.
pub struct Redis {
    server: Server,
    options: Options,
    kept: Kept<Open>,
}

/// A session, and what is asked over it.
struct Open {
    session: Session,
    /// Elsewhere the question would be an error, which the server counts.
    asks_for_cluster: bool,
}

impl Redis {
    /// Refuses a URL that can't be used, and limits in the wrong order. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let server = Server::parse("url", options.url.expose_secret())?;
        options.check()?;
        Ok(Self { server, options, kept: Kept::nothing() })
    }

    /// As [`Redis::new`] with [`Options::new`].
    pub fn by_url(url: impl Into<SecretString>) -> Result<Self, InvalidOption> {
        Self::new(Options::new(url))
    }

    async fn ask(&self, deadline: Instant) -> Result<Told, Failure> {
        if let Some(mut open) = self.kept.take() {
            match open.ask(deadline).await {
                // It may have broken long ago, with nobody there to notice.
                Err(failure) if failure.is_broken_connection() => {}
                told => return self.keep_if_usable(open, told),
            }
        }
        let mut open = Open { session: self.server.connect(deadline).await?, asks_for_cluster: false };
        let told = open.ask(deadline).await;
        self.keep_if_usable(open, told)
    }

    /// After a failure an answer may still be under way. What the server refused is an answer, not a failure.
    fn keep_if_usable(&self, open: Open, told: Result<Told, Failure>) -> Result<Told, Failure> {
        if told.is_ok() {
            self.kept.put(open);
        }
        told
    }
}

impl Check for Redis {
    async fn run(&self, context: &Context) -> Outcome {
        match self.ask(give_up_at(context)).await {
            Ok(told) => judge(&self.options, told),
            Err(failure) => failure.outcome(),
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Redis").field("server", &self.server).finish_non_exhaustive()
    }
}

/// ```yaml
/// redis:
///   url: "${REDIS_URL}"
///   role: primary
///   memory_degraded_above: 90%
/// ```
pub const KIND: Kind = Kind {
    name: "redis",
    summary: "A Redis or Valkey server, its role, memory, connections and replication",
    scope: Scope::Remote, opens: Opens::Nothing,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let options = read_options(section)?;
    built(section, Redis::new(options))
}

fn read_options(section: &mut Section<'_>) -> Option<Options> {
    let url = section.required::<SecretString>("url");
    let defaults = Options::new(url.clone().unwrap_or_default());
    let options = Options {
        url: defaults.url,
        role: section.or("role", defaults.role),
        connections_degraded_above: section.or("connections_degraded_above", defaults.connections_degraded_above),
        connections_unhealthy_above: section.optional("connections_unhealthy_above"),
        memory_degraded_above: section.optional("memory_degraded_above"),
        memory_unhealthy_above: section.optional("memory_unhealthy_above"),
        lag_degraded_above: section.optional("lag_degraded_above"),
        lag_unhealthy_above: section.optional("lag_unhealthy_above"),
        lag_bytes_degraded_above: section.optional("lag_bytes_degraded_above"),
        lag_bytes_unhealthy_above: section.optional("lag_bytes_unhealthy_above"),
    };
    url.map(|_| options)
}

impl Open {
    /// All commands in one message, so in one round trip.
    async fn ask(&mut self, deadline: Instant) -> Result<Told, Failure> {
        const WAITING: &str = "waiting for the answer to PING";
        let mut commands = redis::pipe();
        commands.cmd("PING").cmd("INFO");
        if self.asks_for_cluster {
            commands.cmd("CLUSTER").arg("INFO");
        }
        let begun = Instant::now();
        let answers = self.session.ask(&mut commands, WAITING, deadline).await?;
        let round_trip = begun.elapsed();
        let mut answers = answers.iter();
        let (Some(ping), Some(info)) = (answers.next(), answers.next()) else {
            return Err(Failure::Unexpected("fewer answers than commands"));
        };
        let (refused, info) = (refusal(ping), lines(info));
        let mut cluster = answers.next().map(lines).unwrap_or_default();
        if info.mode() == Some(Mode::Cluster) && !self.asks_for_cluster {
            self.asks_for_cluster = true;
            let answers = self.session.ask(redis::pipe().cmd("CLUSTER").arg("INFO"), WAITING, deadline).await?;
            cluster = answers.first().map(lines).unwrap_or_default();
        }
        Ok(Told { refused, info, cluster, round_trip })
    }
}

/// What `PING` was answered, if that is not `PONG`.
fn refusal(answer: &Value) -> Option<Outcome> {
    match answer {
        Value::ServerError(error) => Some(refused(error.code(), error.details().unwrap_or_default())),
        Value::SimpleString(pong) if pong == "PONG" => None,
        _ => Some(Failure::Unexpected("the answer to PING is not PONG").outcome()),
    }
}

/// Nothing, where the question is refused.
fn lines(answer: &Value) -> Info {
    match answer {
        Value::BulkString(bytes) => Info::parse(&String::from_utf8_lossy(bytes)),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Info::parse(text),
        _ => Info::default(),
    }
}

#[cfg(test)]
mod tests;
