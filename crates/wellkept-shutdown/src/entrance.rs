//! The doors that the sequence closes: what a server (of any protocol) must be able to do.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::BoxFuture;

/// A way into the process through which work arrives: a server, a consumer, a scheduler.
///
/// The sequence calls `announce`, `stop_accepting`, `drain` and, if the drain did not end in time, `abort`, in this
/// order. Each must be idempotent and `abort` may come at any time.
pub trait Entrance: Send + Sync {
    /// The name in logs and in the report.
    fn name(&self) -> &str;

    /// Tells clients to go elsewhere while everything is still served. Must not block.
    fn announce(&self);

    /// How many connections are open. Zero for all ends the announcement early.
    fn open(&self) -> usize;

    /// Ends as soon as nothing is open. The default never ends, and the announcement then lasts as long as configured.
    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Takes what waits already, then closes the door. Must end by itself.
    fn stop_accepting(&self) -> BoxFuture<'_, ()>;

    /// Ends when the last byte of the last answer has left. Cancelled when the time for draining is over.
    fn drain(&self) -> BoxFuture<'_, ()>;

    /// What `abort` would cut now, for the report. Bounded by the entrance.
    fn remaining(&self) -> Vec<Remaining> {
        Vec::new()
    }

    /// Cuts everything that is open, and closes the door if it still stands open. Must not block.
    fn abort(&self);
}

/// Something that is still there when the time for draining is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remaining {
    /// What it is: a request with its route, a connection with its peer.
    pub item: String,
    /// A stable code that says what it waits for, such as `in_flight` or `client_does_not_read`.
    pub reason: Cow<'static, str>,
    /// For how long it has been there, if known.
    pub age: Option<Duration>,
}

impl fmt::Display for Remaining {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.item, self.reason)?;
        self.age.map_or(Ok(()), |age| write!(formatter, " for {age:.1?}"))
    }
}

/// When an entrance closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntranceKind {
    /// Work arrives here. Announces, closes and drains before the resources close.
    Application,
    /// What requests need while they are served. Stops and drains when the drain is over, within the time of one resource,
    /// before the resources close.
    Background,
    /// Probes and operators look in here. Stays open through drain and resources, and closes before the flush.
    Probe,
}
