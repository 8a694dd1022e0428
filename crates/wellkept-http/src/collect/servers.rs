//! The servers as metrics: connections, their limit, and what was refused or cut.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::Families;
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

type Read = fn(&ServerStats) -> f64;

const GAUGES: [(&str, &str, Read); 3] = [
    ("wellkept_server_connections", "Open connections of a door.", |stats| stats.open as f64),
    ("wellkept_server_connections_limit", "Most connections of a door.", |stats| stats.max_connections as f64),
    ("wellkept_server_requests_in_flight", "Requests whose last byte has not left.", |stats| stats.in_flight as f64),
];

const COUNTERS: [(&str, &str, Read); 5] = [
    ("wellkept_server_accepted", "Connections accepted.", |stats| stats.accepted_total as f64),
    ("wellkept_server_evicted", "Connections closed to make room.", |stats| stats.evicted_total as f64),
    ("wellkept_server_accept_errors", "Connections that could not be accepted.", |stats| {
        stats.accept_errors_total as f64
    }),
    ("wellkept_server_handshake_errors", "TLS handshakes that failed.", |stats| stats.handshake_errors_total as f64),
    ("wellkept_server_requests", "Requests whose head was complete.", |stats| stats.requests_total as f64),
];

impl Collector for Servers {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        let shown = self.shown().clone();
        let server = |server: &Arc<ServerHandle>| (server.name().to_owned(), server.stats());
        let servers: Vec<_> = shown.servers.iter().map(server).collect();
        for (name, help, read) in GAUGES {
            families.gauges(
                name,
                help,
                servers.iter().map(|(door, stats)| ([("door", door.as_str())], read(stats))),
            )?;
        }
        for (name, help, read) in COUNTERS {
            families.counters(
                name,
                help,
                servers.iter().map(|(door, stats)| ([("door", door.as_str())], read(stats))),
            )?;
        }
        let refused = servers.iter().flat_map(|(door, stats)| {
            [("late", stats.refused_late_total), ("overload", stats.refused_overload_total)]
                .map(|(why, count)| ([("door", door.as_str()), ("why", why)], count as f64))
        });
        families.counters("wellkept_server_refused", "Requests refused, by why.", refused)?;
        let timeouts = servers.iter().flat_map(|(door, stats)| {
            let timeouts = stats.timeouts;
            [
                ("first_byte", timeouts.first_byte_total),
                ("header", timeouts.header_total),
                ("idle", timeouts.idle_total),
                ("write", timeouts.write_total),
            ]
            .map(|(kind, count)| ([("door", door.as_str()), ("kind", kind)], count as f64))
        });
        families.counters("wellkept_server_timeouts", "Connections closed by a time limit, by which.", timeouts)?;
        shown.agent.map_or(Ok(()), |agent| agent_figures(&mut families, agent.stats()))
    }
}

/// HAProxy's agent speaks no HTTP: it has connections and answers, and no requests.
fn agent_figures(families: &mut Families<'_>, stats: AgentStats) -> fmt::Result {
    families.gauge("wellkept_haproxy_connections", "Open connections of HAProxy's agent check.", stats.open as f64)?;
    let limit = stats.max_connections as f64;
    families.gauge("wellkept_haproxy_connections_limit", "Most connections of HAProxy's agent check.", limit)?;
    let fates = [
        ("answered", stats.answered_total),
        ("unanswered", stats.unanswered_total),
        ("not_accepted", stats.accept_errors_total),
    ];
    let fates = fates.map(|(fate, count)| ([("fate", fate)], count as f64));
    families.counters("wellkept_haproxy_checks", "Agent checks by what became of them.", fates)
}
