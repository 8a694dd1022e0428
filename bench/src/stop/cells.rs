//! The cells of the measurement: a protocol, a number of connections, a time to think.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) protocol: Protocol,
    pub(super) connections: u64,
    /// Between an answer and the next request.
    pub(super) think: Duration,
}

impl Cell {
    pub(super) fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for protocol in [Protocol::Http1, Protocol::Http2] {
            for connections in [200, 1000] {
                for think in [0, 500, 5_000].map(Duration::from_micros) {
                    cells.push(Self { protocol, connections, think });
                }
            }
        }
        cells
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|cell| cell.name() == name)
    }

    /// For example `h1-200-0.5`: HTTP/1.1, 200 connections, half a millisecond.
    pub(super) fn name(self) -> String {
        let protocol = match self.protocol {
            Protocol::Http1 => "h1",
            Protocol::Http2 => "h2",
        };
        format!("{protocol}-{}-{}", self.connections, self.think.as_secs_f64() * 1000.0)
    }

    /// As a table says it.
    pub(super) fn text(self) -> String {
        let protocol = match self.protocol {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
        };
        format!("{protocol}, {}, {} ms", self.connections, self.think.as_secs_f64() * 1000.0)
    }
}
