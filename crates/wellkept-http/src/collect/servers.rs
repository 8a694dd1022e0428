//! The servers as metrics: connections, their limit, and what was refused or cut.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wellkept_telemetry::metrics::{Collector, Declaration, Readings};

use super::families;
use crate::haproxy::{AgentHandle, AgentStats};
use crate::server::{ServerHandle, ServerStats};

/// The servers that are shown. There are a handful at most, added while the process starts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Servers(Arc<Mutex<Shown>>);

#[derive(Debug, Clone, Default)]
struct Shown {
    servers: Vec<Arc<ServerHandle>>,
    agent: Option<Arc<AgentHandle>>,
}

impl Servers {
    pub(crate) fn add(&self, server: &Arc<ServerHandle>) {
        self.shown().servers.push(Arc::clone(server));
    }

    pub(crate) fn add_agent(&self, agent: &Arc<AgentHandle>) {
        self.shown().agent = Some(Arc::clone(agent));
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Figure = (Declaration<'static>, fn(&ServerStats) -> f64);

const FIGURES: [Figure; 8] = [
    (CONNECTIONS, |stats| stats.open as f64),
    (CONNECTIONS_LIMIT, |stats| stats.max_connections as f64),
    (IN_FLIGHT, |stats| stats.in_flight as f64),
    (ACCEPTED, |stats| stats.accepted_total as f64),
    (EVICTED, |stats| stats.evicted_total as f64),
    (ACCEPT_ERRORS, |stats| stats.accept_errors_total as f64),
    (HANDSHAKE_ERRORS, |stats| stats.handshake_errors_total as f64),
    (REQUESTS, |stats| stats.requests_total as f64),
];

families! { FAMILIES:
    CONNECTIONS = gauge "wellkept_server_connections" ["door"], "Open connections of a door.";
    CONNECTIONS_LIMIT = gauge "wellkept_server_connections_limit" ["door"], "Most connections of a door.";
    IN_FLIGHT = gauge "wellkept_server_requests_in_flight" ["door"], "Requests whose last byte has not left.";
    ACCEPTED = counter "wellkept_server_accepted" ["door"], "Connections accepted.";
    EVICTED = counter "wellkept_server_evicted" ["door"], "Connections closed to make room.";
    ACCEPT_ERRORS = counter "wellkept_server_accept_errors" ["door"], "Connections that could not be accepted.";
    HANDSHAKE_ERRORS = counter "wellkept_server_handshake_errors" ["door"], "TLS handshakes that failed.";
    REQUESTS = counter "wellkept_server_requests" ["door"], "Requests whose head was complete.";
    REFUSED = counter "wellkept_server_refused" ["door", "why"], "Requests refused, by why.";
    TIMEOUTS = counter "wellkept_server_timeouts" ["door", "kind"], "Connections closed by a time limit, by which.";
    AGENT_CONNECTIONS = gauge "wellkept_haproxy_connections", "Open connections of HAProxy's agent check.";
    AGENT_CONNECTIONS_LIMIT = gauge "wellkept_haproxy_connections_limit", "Most connections of HAProxy's agent check.";
    AGENT_CHECKS = counter "wellkept_haproxy_checks" ["fate"], "Agent checks by what became of them.";
}

impl Collector for Servers {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        FAMILIES.to_vec()
    }

    fn collect(&self, out: &mut Readings) {
        let shown = self.shown().clone();
        let server = |server: &Arc<ServerHandle>| (server.name().to_owned(), server.stats());
        let servers: Vec<_> = shown.servers.iter().map(server).collect();
        for (family, read) in FIGURES {
            out.family(&family).samples(servers.iter().map(|(door, stats)| ([door.as_str()], read(stats))));
        }
        let refused = servers.iter().flat_map(|(door, stats)| {
            [("late", stats.refused_late_total), ("overload", stats.refused_overload_total)]
                .map(|(why, count)| ([door.as_str(), why], count as f64))
        });
        out.family(&REFUSED).samples(refused);
        let timeouts = servers.iter().flat_map(|(door, stats)| {
            let timeouts = stats.timeouts;
            [
                ("first_byte", timeouts.first_byte_total),
                ("header", timeouts.header_total),
                ("idle", timeouts.idle_total),
                ("write", timeouts.write_total),
            ]
            .map(|(kind, count)| ([door.as_str(), kind], count as f64))
        });
        out.family(&TIMEOUTS).samples(timeouts);
        if let Some(agent) = shown.agent {
            agent_figures(out, agent.stats());
        }
    }
}

/// HAProxy's agent speaks no HTTP: it has connections and answers, and no requests.
fn agent_figures(out: &mut Readings, stats: AgentStats) {
    out.value(&AGENT_CONNECTIONS, stats.open as f64);
    out.value(&AGENT_CONNECTIONS_LIMIT, stats.max_connections as f64);
    let fates = [
        ("answered", stats.answered_total),
        ("unanswered", stats.unanswered_total),
        ("not_accepted", stats.accept_errors_total),
    ];
    out.family(&AGENT_CHECKS).samples(fates.map(|(fate, count)| ([fate], count as f64)));
}
