//! Which services there are, and what is said of each: the checker's answers in gRPC's words.

use std::collections::BTreeMap;
use std::sync::Arc;

use wellkept_health::{Checker, Lifecycle, Status};

use crate::doors::groups::{Groups, Look};

/// The services that are always there: the server as a whole, and one for each of Kubernetes' probes.
pub(super) const OWN: [&str; 4] = ["", "readiness", "liveness", "startup"];

/// `ServingStatus` of `grpc.health.v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum ServingStatus {
    /// Never said here: what is not known does not serve.
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    /// Said by Watch only.
    ServiceUnknown = 3,
}

/// What is said of all services at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    readiness: ServingStatus,
    liveness: ServingStatus,
    startup: ServingStatus,
    /// The user's groups.
    pub(super) groups: BTreeMap<Arc<str>, ServingStatus>,
}

impl ServingStatus {
    /// What is said of one service; `None` when there is none of that name.
    pub(super) fn of(checker: &Checker, groups: &Groups, service: &str) -> Option<Self> {
        match service {
            "" | "readiness" => Some(Self::when(checker.readiness().ready)),
            "liveness" => Some(Self::when(checker.is_alive())),
            "startup" => Some(Self::when(checker.is_started())),
            group => {
                let status = *groups.recent(checker).groups.get(group)?;
                Some(Self::of_group(status, checker.lifecycle()))
            }
        }
    }

    fn of_group(status: Status, lifecycle: Lifecycle) -> Self {
        Self::when(status.is_ready() && lifecycle != Lifecycle::Draining)
    }

    fn when(serves: bool) -> Self {
        if serves { Self::Serving } else { Self::NotServing }
    }
}

impl Table {
    pub(super) fn of(checker: &Checker, look: &Look) -> Self {
        let lifecycle = checker.lifecycle();
        let group =
            |(name, status): (&Arc<str>, &Status)| (Arc::clone(name), ServingStatus::of_group(*status, lifecycle));
        Self {
            readiness: ServingStatus::when(checker.readiness().ready),
            liveness: ServingStatus::when(checker.is_alive()),
            startup: ServingStatus::when(checker.is_started()),
            groups: look.groups.iter().map(group).collect(),
        }
    }

    /// What Watch says of a service.
    pub(super) fn get(&self, service: &str) -> ServingStatus {
        match service {
            "" | "readiness" => self.readiness,
            "liveness" => self.liveness,
            "startup" => self.startup,
            group => self.groups.get(group).copied().unwrap_or(ServingStatus::ServiceUnknown),
        }
    }

    /// All services by name, the user's groups last. A group named like one of the four is not reached by its name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, ServingStatus)> {
        let groups = self.groups.keys().map(|name| &**name).filter(|name| !OWN.contains(name));
        OWN.into_iter().chain(groups).map(|name| (name, self.get(name)))
    }
}
