//! A memcached server, asked with `stats`: its connections, its memory, its hits and evictions.
//!
//! The URL is `memcached://host:11211`, `memcached://user:password@host` for a server with an authentication file
//! (memcached 1.5.15 or later), or `memcached:///run/memcached.sock` for a Unix socket. The text protocol is spoken; SASL,
//! which needs the binary one, and TLS are left out.
//!
//! A cache that is full and evicts is as it should be, so neither is judged; both are in the metadata.
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
//! | user and password are required or not accepted | unhealthy | `auth` |
//! | too many connections: this one was refused | unhealthy | `exhausted` |
//! | connections of others were refused since the last run, or none is accepted for now | degraded | `exhausted` |
//! | more connections than `connections_degraded_above` | degraded | `threshold` |
//! | more connections than `connections_unhealthy_above` | unhealthy | `threshold` |
//! | the server has no memory for the answer | unhealthy | `exhausted` |
//! | another refusal | unhealthy | `error` |
//! | what came is no answer that memcached gives | unhealthy | `protocol` |
//!
//! # Rights
//!
//! None, or to log in. No item is read or written. A login is sent only to a server that asks for one, as another would
//! take it for an item.
//!
//! # Cost
//!
//! One connection, kept from run to run, and one round trip per run; the limit of connections is asked for once, when the
//! connection is made.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use wellkept_config::{Ratio, Section};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_net::Target;

use crate::findings::{Findings, ordered};
use crate::kept::Kept;
use crate::kind::built;
use crate::lines::{Failure, Lines, before, over_tcp, over_unix};
use crate::reach::{Stream, give_up_at};
use crate::server_url::ServerUrl;
use crate::{InvalidOption, Kind, Opens};

/// Most lines of one answer. A server has about a hundred.
const MOST_LINES: usize = 1000;

/// The settings of a [`Memcached`] check.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the server is and who asks. Required. It is kept secret, as it may hold a password.
    pub url: SecretString,
    /// Degraded when more than this part of the connections that the server takes is in use. Default 90%.
    pub connections_degraded_above: Ratio,
    /// Unhealthy when more than this part is in use. Default: not set, as a server without any left refuses the check too.
    pub connections_unhealthy_above: Option<Ratio>,
}

impl Options {
    /// For a server, with the default limits.
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self {
            url: url.into(),
            connections_degraded_above: Ratio::new(0.9).expect("the default is from 0 to 1"),
            connections_unhealthy_above: None,
        }
    }
}

/// A memcached server, asked with `stats`.
///
/// The metadata holds `server_version`, `uptime_s`, `connections` (`total`, the check's own among them, and `max`) and
/// `connections_left`, `used_bytes`, `limit_bytes`, `memory_usage`, `items`, `evictions` and, once there were reads,
/// `hit_rate`, both since the server's start; and `round_trip_ms`.
pub struct Memcached {
    place: Place,
    login: Option<(String, SecretString)>,
    degraded_above: Ratio,
    unhealthy_above: Option<Ratio>,
    kept: Kept<Session>,
}

enum Place {
    Address(Target),
    Socket(PathBuf),
}

impl Memcached {
    /// Refuses a URL that can't be used, and limits in the wrong order. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { url, connections_degraded_above, connections_unhealthy_above } = options;
        let limits = (Some(connections_degraded_above), connections_unhealthy_above);
        ordered(limits.0, limits.1, "connections_unhealthy_above", "connections_degraded_above")?;
        let url = ServerUrl::parse("url", &url, &["memcached"], "memcached://user:password@host:11211")?;
        let place = if url.is_local() {
            Place::Socket(url.path.clone().into())
        } else {
            Place::Address(url.target("url", 11211)?)
        };
        // The two stand in one line, with a space between them.
        let login = match (url.user, url.password) {
            (None, None) => None,
            (Some(user), Some(password)) if !user.contains(' ') => Some((user, password)),
            _ => return Err(InvalidOption::new("url", "write both user and password, the user without spaces")),
        };
        Ok(Self {
            place,
            login,
            degraded_above: connections_degraded_above,
            unhealthy_above: connections_unhealthy_above,
            kept: Kept::nothing(),
        })
    }

    /// As [`Memcached::new`] with [`Options::new`].
    pub fn by_url(url: impl Into<SecretString>) -> Result<Self, InvalidOption> {
        Self::new(Options::new(url))
    }

    async fn ask(&self, deadline: Instant) -> Result<Outcome, Failure> {
        if let Some(mut session) = self.kept.take() {
            match session.ask(deadline).await {
                // It may have ended long ago, with nobody there to notice.
                Err(Failure::Broken(_)) => {}
                answer => return Ok(self.keep(session, &answer?)),
            }
        }
        let mut session = Session::begin(self, deadline).await?;
        let answer = session.ask(deadline).await?;
        Ok(self.keep(session, &answer))
    }

    fn keep(&self, mut session: Session, answer: &Answer) -> Outcome {
        let outcome = self.judge(&session, answer);
        session.refused = answer.stats.number("rejected_connections");
        self.kept.put(session);
        outcome
    }

    fn judge(&self, session: &Session, answer: &Answer) -> Outcome {
        let stats = &answer.stats;
        let (total, max) = (stats.number("curr_connections"), session.most_connections);
        let mut findings = Findings::default();
        if stats.number("accepting_conns") == Some(0) {
            findings.add(Outcome::warn(Reason::Exhausted, "no more connections are accepted for now"));
        }
        if stats.number("rejected_connections").zip(session.refused).is_some_and(|(now, then)| now > then) {
            findings.add(Outcome::warn(Reason::Exhausted, "connections were refused since the last run"));
        }
        if let Some((total, max)) = total.zip(max) {
            let usage = total as f64 / max as f64;
            let (degraded, unhealthy) = (self.degraded_above.as_f64(), self.unhealthy_above.map(Ratio::as_f64));
            let message = || format!("{:.1}% of connections used", usage * 100.0);
            findings.limit(usage, Some(degraded), unhealthy, message);
        }
        describe(findings.worst(), answer, total, max)
    }
}

impl Check for Memcached {
    async fn run(&self, context: &Context) -> Outcome {
        self.ask(give_up_at(context)).await.unwrap_or_else(Failure::into_outcome)
    }
}

impl fmt::Debug for Memcached {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Memcached").field("logs_in", &self.login.is_some()).finish_non_exhaustive()
    }
}

/// `memcached: { url: "memcached://127.0.0.1:11211", connections_degraded_above: 80% }`
pub const KIND: Kind = Kind {
    name: "memcached",
    summary: "A memcached server, its connections, memory and hits",
    scope: Scope::Remote, opens: Opens::Nothing,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let url = section.required::<SecretString>("url");
    let defaults = Options::new(url.clone().unwrap_or_default());
    let connections_degraded_above = section.or("connections_degraded_above", defaults.connections_degraded_above);
    let connections_unhealthy_above = section.optional("connections_unhealthy_above");
    let options = Options { url: url?, connections_degraded_above, connections_unhealthy_above };
    built(section, Memcached::new(options))
}

/// An open session. Dropping it closes the connection.
struct Session {
    lines: Lines<Box<dyn Stream>>,
    most_connections: Option<u64>,
    /// How many connections the server had refused by the last run.
    refused: Option<u64>,
}

/// What one run has found out.
struct Answer {
    stats: Stats,
    round_trip: Duration,
}

impl Session {
    /// Connects, logs in where that is asked for, and asks for the limit of connections.
    async fn begin(check: &Memcached, deadline: Instant) -> Result<Self, Failure> {
        let stream = match &check.place {
            Place::Address(target) => over_tcp(target, deadline).await?,
            Place::Socket(path) => over_unix(path, deadline).await?,
        };
        let mut lines = Lines::new(stream);
        let settings = before(deadline, "logging in", log_in(&mut lines, check.login.as_ref())).await?;
        let most_connections = settings.number("maxconns").filter(|most| *most > 0);
        Ok(Self { lines, most_connections, refused: None })
    }

    async fn ask(&mut self, deadline: Instant) -> Result<Answer, Failure> {
        let begun = Instant::now();
        self.lines.send("stats\r\n").await;
        let stats = before(deadline, "waiting for the answer to stats", Stats::read(&mut self.lines)).await?;
        Ok(Answer { stats, round_trip: begun.elapsed() })
    }
}

/// Asks for the settings, which a server tells to those who have logged in.
async fn log_in(lines: &mut Lines<Box<dyn Stream>>, login: Option<&(String, SecretString)>) -> Result<Stats, Failure> {
    const SETTINGS: &str = "stats settings\r\n";
    lines.send(SETTINGS).await;
    let first = lines.next().await?;
    match (first.as_str(), login) {
        // A proxy may know `stats` alone.
        ("ERROR", _) => Ok(Stats::default()),
        ("CLIENT_ERROR unauthenticated", Some((user, password))) => {
            // The key, flags and time do not matter ("Authentication" in the description of the protocol).
            let both = format!("{user} {}", password.expose_secret());
            lines.send(&format!("set wellkept 0 0 {}\r\n{both}\r\n", both.len())).await;
            match lines.next().await?.as_str() {
                "STORED" => {}
                line => return Err(refused(line)),
            }
            lines.send(SETTINGS).await;
            Stats::read(lines).await
        }
        (line, _) => Stats::begun(line, lines).await,
    }
}

/// Lines of `STAT name value`.
#[derive(Default)]
struct Stats(HashMap<String, String>);

impl Stats {
    async fn read(lines: &mut Lines<Box<dyn Stream>>) -> Result<Self, Failure> {
        let first = lines.next().await?;
        Self::begun(&first, lines).await
    }

    /// The first line has been read already.
    async fn begun(first: &str, lines: &mut Lines<Box<dyn Stream>>) -> Result<Self, Failure> {
        let mut stats = Self::default();
        let mut line = first.to_owned();
        for _ in 0..MOST_LINES {
            if line == "END" {
                return Ok(stats);
            }
            let stat = line.strip_prefix("STAT ").ok_or_else(|| refused(&line))?;
            let (name, value) = stat.split_once(' ').unwrap_or((stat, ""));
            stats.0.insert(name.to_owned(), value.to_owned());
            line = lines.next().await?;
        }
        Err(Failure::Unexpected("statistics without end"))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.parse().ok()
    }
}

fn refused(line: &str) -> Failure {
    let outcome = match line {
        "ERROR Too many open connections" => Outcome::fail(Reason::Exhausted, "too many connections"),
        "CLIENT_ERROR unauthenticated" => Outcome::fail(Reason::Auth, "user and password are required"),
        "CLIENT_ERROR authentication failure" => Outcome::fail(Reason::Auth, "user or password not accepted"),
        line if line.starts_with("SERVER_ERROR out of memory") => {
            Outcome::fail(Reason::Exhausted, "server has no memory for the answer")
        }
        line if ["ERROR", "CLIENT_ERROR", "SERVER_ERROR"].iter().any(|word| line.starts_with(word)) => {
            Outcome::fail(Reason::Error, "command refused")
        }
        _ => return Failure::Unexpected("a line that is no statistic"),
    };
    Failure::refused(outcome.with_detail(line))
}

fn describe(mut outcome: Outcome, answer: &Answer, total: Option<u64>, max: Option<u64>) -> Outcome {
    let stats = &answer.stats;
    if let Some(version) = stats.0.get("version") {
        outcome = outcome.with("server_version", version.as_str());
    }
    let connections = [("total", total), ("max", max)];
    let connections = connections.into_iter().filter_map(|(name, count)| Some((name.to_owned(), json!(count?))));
    let connections: Map<_, _> = connections.collect();
    let hits = stats.number("get_hits").zip(stats.number("get_misses"));
    let hits = hits.and_then(|(hits, misses)| ratio(hits, hits.checked_add(misses)?));
    let (used, limit) = (stats.number("bytes"), stats.number("limit_maxbytes"));
    let told = [
        ("uptime_s", stats.number("uptime").map(Value::from)),
        ("connections", (!connections.is_empty()).then_some(Value::Object(connections))),
        ("used_bytes", used.map(Value::from)),
        ("limit_bytes", limit.map(Value::from)),
        ("memory_usage", used.zip(limit).and_then(|(used, limit)| ratio(used, limit))),
        ("items", stats.number("curr_items").map(Value::from)),
        ("evictions", stats.number("evictions").map(Value::from)),
        ("hit_rate", hits),
    ];
    for (name, value) in told {
        if let Some(value) = value {
            outcome = outcome.with(name, value);
        }
    }
    outcome = outcome.with("round_trip_ms", (answer.round_trip.as_secs_f64() * 1e6).round() / 1e3);
    match max.zip(total) {
        Some((max, total)) => outcome.with_remaining("connections_left", max.saturating_sub(total)),
        None => outcome,
    }
}

fn ratio(part: u64, whole: u64) -> Option<Value> {
    (whole > 0).then(|| json!((part as f64 / whole as f64 * 1e4).round() / 1e4))
}
