//! The status that is served, how it is ordered, and how components add up to it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The status of a component or of the service, after thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Works.
    Healthy,
    /// Works, but not as it should.
    Degraded,
    /// Not known: no result yet, or the latest one is too old.
    Unknown,
    /// Does not work.
    Unhealthy,
    /// Taken out on purpose.
    Maintenance,
}

impl Status {
    /// All statuses, in the order in which the worse wins, maintenance last.
    pub const ALL: [Self; 5] = [Self::Healthy, Self::Degraded, Self::Unknown, Self::Unhealthy, Self::Maintenance];

    /// The word on the wire, lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Unhealthy => "unhealthy",
            Self::Maintenance => "maintenance",
        }
    }

    /// Whether traffic may come: healthy or degraded.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded)
    }

    /// The worse of two: healthy < degraded < unknown < unhealthy. Maintenance of the whole service overrides and
    /// so is the worst; components in maintenance are left out before statuses are compared.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if self.rank() >= other.rank() { self } else { other }
    }

    fn rank(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_rank(rank: u8) -> Self {
        Self::ALL.get(usize::from(rank)).copied().unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a component's failure means for its groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Criticality {
    /// Its failure makes the service unhealthy.
    #[default]
    Required,
    /// Its failure makes the service degraded.
    Optional,
}

impl Criticality {
    /// What a component of this criticality counts for its groups, or `None` when it is left out.
    ///
    /// | component | counts as |
    /// |---|---|
    /// | required and unhealthy | unhealthy |
    /// | required and unknown | unknown |
    /// | degraded; or optional and unhealthy or unknown | degraded |
    /// | in maintenance | left out |
    pub fn weigh(self, status: Status) -> Option<Status> {
        match (self, status) {
            (_, Status::Maintenance) => None,
            (_, Status::Healthy) => Some(Status::Healthy),
            (_, Status::Degraded) | (Self::Optional, Status::Unknown | Status::Unhealthy) => Some(Status::Degraded),
            (Self::Required, status) => Some(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criticality_weighs_as_the_table_says() {
        use Criticality::{Optional, Required};
        use Status::{Degraded, Healthy, Maintenance, Unhealthy, Unknown};
        for (criticality, status, counts) in [
            (Required, Healthy, Some(Healthy)),
            (Required, Degraded, Some(Degraded)),
            (Required, Unknown, Some(Unknown)),
            (Required, Unhealthy, Some(Unhealthy)),
            (Required, Maintenance, None),
            (Optional, Healthy, Some(Healthy)),
            (Optional, Degraded, Some(Degraded)),
            (Optional, Unknown, Some(Degraded)),
            (Optional, Unhealthy, Some(Degraded)),
            (Optional, Maintenance, None),
        ] {
            assert_eq!(criticality.weigh(status), counts, "{criticality:?} and {status}");
        }
    }

    #[test]
    fn the_worse_status_wins_and_words_are_lower_case() {
        let order = ["healthy", "degraded", "unknown", "unhealthy", "maintenance"];
        assert_eq!(Status::ALL.map(Status::as_str), order);
        for pair in Status::ALL.windows(2) {
            assert_eq!(pair[0].worse(pair[1]), pair[1]);
            assert_eq!(pair[1].worse(pair[0]), pair[1]);
        }
        for status in Status::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
            assert_eq!(Status::from_rank(status as u8), status);
        }
    }
}
