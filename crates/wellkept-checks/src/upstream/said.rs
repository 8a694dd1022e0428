//! The words in which services say how they are, in all formats: one table.

use wellkept_health::{Outcome, Reason, Status};

/// How a service says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Healthy,
    Degraded,
    Unhealthy,
    Unknown,
    Maintenance,
    Starting,
    Draining,
}

impl Said {
    /// What a word means, in any case. The formats' words do not contradict each other.
    pub(super) fn of(word: &str) -> Option<Self> {
        const LONGEST: usize = 16;
        if word.len() > LONGEST {
            return None;
        }
        Some(match word.to_ascii_lowercase().as_str() {
            "healthy" | "pass" | "passing" | "ok" | "up" => Self::Healthy,
            "degraded" | "warn" | "warning" => Self::Degraded,
            "unhealthy" | "fail" | "error" | "down" | "critical" => Self::Unhealthy,
            "unknown" => Self::Unknown,
            "maintenance" | "out_of_service" => Self::Maintenance,
            "starting" => Self::Starting,
            "draining" | "shutting_down" => Self::Draining,
            _ => return None,
        })
    }

    /// Healthy or not, for those who say no more.
    pub(super) fn whether(healthy: bool) -> Self {
        if healthy { Self::Healthy } else { Self::Unhealthy }
    }

    /// How a part that says so is shown.
    pub(super) fn shown(self) -> Status {
        match self {
            Self::Healthy => Status::Healthy,
            Self::Degraded => Status::Degraded,
            Self::Unhealthy | Self::Draining => Status::Unhealthy,
            Self::Unknown | Self::Starting => Status::Unknown,
            Self::Maintenance => Status::Maintenance,
        }
    }

    /// What it means for who needs the service: it can be used, not as it should be, or not.
    pub(super) fn means(self) -> Status {
        usable(self.shown())
    }

    /// The outcome, its message completed by `besides`.
    pub(super) fn outcome(self, besides: &str) -> Outcome {
        let message = format!("it says that it {}{besides}", self.words());
        match self {
            Self::Healthy => Outcome::pass(),
            Self::Degraded => Outcome::warn(Reason::Upstream, message),
            Self::Unhealthy | Self::Unknown => Outcome::fail(Reason::Upstream, message),
            Self::Maintenance | Self::Starting | Self::Draining => Outcome::fail(Reason::NotReady, message),
        }
    }

    /// What completes "it".
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Healthy => "is healthy",
            Self::Degraded => "is degraded",
            Self::Unhealthy => "is unhealthy",
            Self::Unknown => "does not know how it is",
            Self::Maintenance => "is in maintenance",
            Self::Starting => "is still starting",
            Self::Draining => "is on its way out",
        }
    }
}

/// What a status means for who needs the service.
pub(super) fn usable(status: Status) -> Status {
    match status {
        Status::Healthy | Status::Degraded => status,
        Status::Unknown | Status::Unhealthy | Status::Maintenance => Status::Unhealthy,
    }
}
