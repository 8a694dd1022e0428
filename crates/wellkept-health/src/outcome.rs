//! The answer of one run of a check: verdict, reason code, what the public may read, what only operators may.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::origin::Origins;
use crate::part::{Part, Parts};

mod errors;

/// What one run of a check found.
///
/// The `message` is public: it must never hold an address, a user, a password or a driver's text. Those go into
/// `detail`, which only authorised readers see. Build one with [`Outcome::pass`], [`Outcome::warn`] or
/// [`Outcome::fail`].
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    verdict: Verdict,
    reason: Option<Reason>,
    message: Cow<'static, str>,
    detail: String,
    metadata: Map<String, Value>,
    parts: Option<Arc<Parts>>,
    origins: Option<Arc<Origins>>,
    remaining: Option<(&'static str, f64)>,
}

impl Outcome {
    /// Longest message kept, in bytes; the rest is cut at a character's border.
    pub const MAX_MESSAGE: usize = 512;
    /// Longest detail kept, in bytes; the rest is cut at a character's border.
    pub const MAX_DETAIL: usize = 4096;
    /// Most metadata kept, in bytes of JSON; more is replaced by `{"truncated": true}`.
    pub const MAX_METADATA: usize = 16 * 1024;

    /// The component works.
    pub fn pass() -> Self {
        Self {
            verdict: Verdict::Pass,
            reason: None,
            message: Cow::Borrowed(""),
            detail: String::new(),
            metadata: Map::new(),
            parts: None,
            origins: None,
            remaining: None,
        }
    }

    /// The component works, but not as it should.
    pub fn warn(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            verdict: Verdict::Warn,
            reason: Some(reason),
            message: cut(message.into(), Self::MAX_MESSAGE),
            ..Self::pass()
        }
    }

    /// The component does not work.
    pub fn fail(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            verdict: Verdict::Fail,
            reason: Some(reason),
            message: cut(message.into(), Self::MAX_MESSAGE),
            ..Self::pass()
        }
    }

    /// A failure with the error's whole chain of sources as its detail, and with the reason that an
    /// [`std::io::Error`] or a deadline of tokio's among them tells: `refused`, `timeout`, `network`, `protocol`,
    /// `exhausted`; `error` where none does. Errors' texts may hold an address or a password, so the public is told the
    /// kind of trouble only.
    pub fn of_error(error: &(dyn Error + 'static)) -> Self {
        let reason = errors::reason(error);
        Self::fail(reason.clone(), errors::message(&reason)).with_detail(errors::chain(error))
    }

    /// Adds what only operators may read: addresses, driver texts. Never a secret.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = cut(Cow::Owned(detail.into()), Self::MAX_DETAIL).into_owned();
        self
    }

    /// Adds one reading, for example `connections` or `free_ratio`. Shown to authorised readers.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Adds what the component consists of, as another service tells it: as much of it as [`Parts`] takes. Shown to
    /// operators only.
    #[must_use]
    pub fn with_parts(mut self, parts: Vec<Part>) -> Self {
        self.parts = Some(Parts::bounded(parts)).filter(|parts| !parts.is_empty()).map(Arc::new);
        self
    }

    /// Adds where the verdict comes from, when it is another service that has told so.
    #[must_use]
    pub fn with_origins(mut self, origins: Origins) -> Self {
        self.origins = Some(Arc::new(origins));
        self
    }

    /// As [`Outcome::with`], for what is left of something that runs out at zero, such as `free_bytes`. The history
    /// keeps it, and the component's trend says when it will be used up. One reading of a run can be such a one; the
    /// last counts. What ends at a date of its own needs no projection: give that as `not_after`, in RFC 3339.
    #[must_use]
    pub fn with_remaining(mut self, key: &'static str, left: u64) -> Self {
        self.remaining = Some((key, left as f64));
        self.with(key, left)
    }

    /// What is left of something that runs out at zero: the reading's name and value.
    pub fn remaining(&self) -> Option<(&'static str, f64)> {
        self.remaining
    }

    /// Pass, warn or fail.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Why it is not a pass; `None` on a pass.
    pub fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    /// One line for everyone.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What only operators may read.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The run's readings.
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.metadata
    }

    /// What the component consists of; `None` when nothing is told of it.
    pub fn parts(&self) -> Option<&Arc<Parts>> {
        self.parts.as_ref()
    }

    /// Where the verdict comes from, when it is another service that has told so.
    pub fn origins(&self) -> Option<&Arc<Origins>> {
        self.origins.as_ref()
    }

    /// A pass that took too long: a warning with the same readings. That it is slow comes from nobody else.
    pub(crate) fn turned_slow(self) -> Self {
        let Self { detail, metadata, parts, remaining, .. } = self;
        Self { detail, metadata, parts, remaining, ..Self::warn(Reason::Slow, "slower than it should be") }
    }

    /// Replaces metadata past [`Outcome::MAX_METADATA`], so that a check can't grow the snapshot.
    pub(crate) fn bounded(mut self) -> Self {
        let mut size = ByteCount::default();
        if serde_json::to_writer(&mut size, &self.metadata).is_err() || size.0 > Self::MAX_METADATA {
            self.metadata = Map::from_iter([("truncated".to_owned(), Value::Bool(true))]);
        }
        self
    }
}

/// The verdict of one run, before thresholds and dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Works.
    Pass,
    /// Works, but not as it should.
    Warn,
    /// Does not work.
    Fail,
}

impl Verdict {
    /// The word on the wire: `pass`, `warn`, `fail`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// Why a run did not pass, as an operator would name it. Stable: used in JSON, metrics and logs alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// No answer before the deadline.
    Timeout,
    /// The other side refused the connection.
    Refused,
    /// The name could not be resolved.
    Dns,
    /// The TLS handshake failed.
    Tls,
    /// The credentials were not accepted.
    Auth,
    /// The connection broke, or the way to the other side did.
    Network,
    /// The other side did not speak as expected.
    Protocol,
    /// The answer was well-formed but not the one expected.
    Unexpected,
    /// A limit was passed: space, memory, load.
    Threshold,
    /// It answered, slower than `slow` allows.
    Slow,
    /// The other side is there but not ready to serve (starting, loading, read-only).
    NotReady,
    /// The other side has no room: connections, memory, quota.
    Exhausted,
    /// The other service says itself that it is not healthy.
    Upstream,
    /// The other service is not healthy only because of this one, which it looks at.
    Loop,
    /// The check itself panicked.
    Panic,
    /// The latest result is older than `max_age`.
    Stale,
    /// There is no result yet.
    Pending,
    /// An operator left the component out: its check does not run.
    Disabled,
    /// Taken out on purpose.
    Maintenance,
    /// The check could not be run: no thread, no descriptor.
    Internal,
    /// The check returned an error that names no reason.
    Error,
    /// It failed too often in a row and was not asked: its circuit is open.
    CircuitOpen,
    /// A loop of the application's own has not given its sign of life in time.
    Late,
    /// A code of the application's own, `[a-z0-9_]{1,64}`.
    Custom(&'static str),
}

impl Reason {
    /// The stable code, for example `refused`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Network => "network",
            Self::Protocol => "protocol",
            Self::Unexpected => "unexpected",
            Self::Threshold => "threshold",
            Self::Slow => "slow",
            Self::NotReady => "not_ready",
            Self::Exhausted => "exhausted",
            Self::Upstream => "upstream",
            Self::Loop => "loop",
            Self::Panic => "panic",
            Self::Stale => "stale",
            Self::Pending => "pending",
            Self::Disabled => "disabled",
            Self::Maintenance => "maintenance",
            Self::Internal => "internal",
            Self::Error => "error",
            Self::CircuitOpen => "circuit_open",
            Self::Late => "late",
            Self::Custom(code) => code,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a check may return: an [`Outcome`], `()` for a pass, or a `Result` whose error becomes the private detail, as by
/// [`Outcome::of_error`]. An error may be any type that `Box<dyn Error + Send + Sync>` is made from: a text, or `anyhow`'s.
pub trait IntoOutcome {
    /// Turns the returned value into an outcome.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::pass()
    }
}

impl<T: IntoOutcome, E: Into<Box<dyn Error + Send + Sync>>> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(value) => value.into_outcome(),
            Err(error) => Outcome::of_error(&*error.into()),
        }
    }
}

fn cut(text: Cow<'static, str>, limit: usize) -> Cow<'static, str> {
    if text.len() <= limit {
        return text;
    }
    let end = (0..=limit).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    Cow::Owned(text[..end].to_owned())
}

#[derive(Default)]
struct ByteCount(usize);

impl std::io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stays_private() {
        let result: Result<(), _> = Err("connect to postgres://app:hunter2@db:5432 failed");
        let outcome = result.into_outcome();
        assert_eq!(outcome.verdict(), Verdict::Fail);
        assert_eq!(outcome.message(), "check failed");
        assert!(outcome.detail().contains("hunter2"));
    }

    #[test]
    fn messages_are_cut_at_a_character() {
        let outcome = Outcome::warn(Reason::Slow, "ü".repeat(Outcome::MAX_MESSAGE));
        assert_eq!(outcome.message().len(), Outcome::MAX_MESSAGE);
        assert!(outcome.message().chars().all(|letter| letter == 'ü'));
    }
}
