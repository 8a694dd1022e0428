//! Where the shutdown is.

use std::fmt;

use serde::Serialize;

/// The phases in their order. A phase is never left backwards, and a short shutdown may pass one in no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    /// Nothing has been asked for.
    Running,
    /// The cause and the deadline are set. Readiness fails from here on; liveness does not.
    Initiated,
    /// Work goes on while load balancers notice ([`Settings::delay`](crate::Settings::delay)).
    Delaying,
    /// Clients are told to go elsewhere while the listener still accepts.
    Announcing,
    /// What waits in the accept queue is taken, then the listeners close.
    StoppingNewRequests,
    /// What is in flight is waited for.
    DrainingConnections,
    /// Resources close, by priority.
    ClosingResources,
    /// Logs, metrics and traces leave.
    FlushingBuffers,
    /// It is over, and everything was given the time it needed.
    Completed,
    /// It is over, and something was cut short by the deadline or a further signal.
    Forced,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Self; 10] = [
        Self::Running,
        Self::Initiated,
        Self::Delaying,
        Self::Announcing,
        Self::StoppingNewRequests,
        Self::DrainingConnections,
        Self::ClosingResources,
        Self::FlushingBuffers,
        Self::Completed,
        Self::Forced,
    ];

    /// The stable word used in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Initiated => "initiated",
            Self::Delaying => "delaying",
            Self::Announcing => "announcing",
            Self::StoppingNewRequests => "stopping_new_requests",
            Self::DrainingConnections => "draining_connections",
            Self::ClosingResources => "closing_resources",
            Self::FlushingBuffers => "flushing_buffers",
            Self::Completed => "completed",
            Self::Forced => "forced",
        }
    }

    /// Whether the sequence is over.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Forced)
    }

    pub(crate) fn from_index(index: u8) -> Self {
        Self::ALL.get(usize::from(index)).copied().unwrap_or(Self::Forced)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_json_and_the_order_is_that_of_the_sequence() {
        for (index, phase) in Phase::ALL.iter().enumerate() {
            assert_eq!(Phase::from_index(u8::try_from(index).unwrap()), *phase);
            assert_eq!(*phase as usize, index);
        }
        assert!(Phase::ALL.is_sorted());
        let words: Vec<_> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
        insta::assert_snapshot!(words.join(" "), @"running initiated delaying announcing stopping_new_requests draining_connections closing_resources flushing_buffers completed forced");
    }
}
