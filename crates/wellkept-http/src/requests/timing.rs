//! One request from its head to its end, or to where it was given up.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use wellkept_telemetry::correlation::TraceId;

use super::Lasts;
use super::cells::{MethodWord, RequestCounts, RouteCells};
use super::options::{RequestOptions, RequestPart};

/// The class of a status, or that there was no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(u8);

impl Status {
    /// The words, in order.
    pub(super) const ALL: [&'static str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "cancelled"];

    const FAILED: Self = Self(4);
    const CANCELLED: Self = Self(5);

    /// What is no status (above 599) is the server's fault.
    pub(super) fn of(code: StatusCode) -> Self {
        Self(match code.as_u16() {
            ..200 => 0,
            200..300 => 1,
            300..400 => 2,
            400..500 => 3,
            _ => 4,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        Self::ALL.get(self.index()).copied().unwrap_or("5xx")
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One request. When it is dropped before its end, it was cancelled.
#[derive(Debug)]
pub(super) struct Timing {
    counts: Arc<RequestCounts>,
    cells: Arc<RouteCells>,
    begun: Instant,
    trace: Option<TraceId>,
    received: u64,
    sent: u64,
    method: MethodWord,
    is_counted: bool,
    is_in_flight: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The head of the response is still to come.
    Asked,
    /// What follows is its body.
    Answered(Status),
    /// What follows are events, since then.
    Streaming(Instant),
    /// Counted.
    Over,
}

/// What a request is counted by.
pub(super) struct Counted {
    pub(super) cells: Arc<RouteCells>,
    pub(super) method: MethodWord,
    pub(super) trace: Option<TraceId>,
    /// Bytes of its body, as it announces them.
    pub(super) received: u64,
}

impl Timing {
    pub(super) fn begin(counts: &Arc<RequestCounts>, options: RequestOptions, counted: Counted) -> Self {
        let (is_counted, is_in_flight) = (options.has(RequestPart::Metrics), options.has(RequestPart::InFlight));
        if is_in_flight {
            counts.in_flight.inc();
        }
        let Counted { cells, method, trace, received } = counted;
        let (counts, begun) = (Arc::clone(counts), Instant::now());
        Self { counts, cells, begun, trace, received, sent: 0, method, is_counted, is_in_flight, state: State::Asked }
    }

    /// The head of the response is there.
    pub(super) fn head(&mut self, code: StatusCode, lasts: Lasts) {
        if self.is_counted {
            self.counts.code(code);
        }
        let status = Status::of(code);
        match lasts {
            Lasts::Itself => self.state = State::Answered(status),
            Lasts::Upgraded => self.count(status),
            Lasts::Events => {
                self.count(status);
                if self.is_counted {
                    self.counts.streams.inc();
                    self.state = State::Streaming(Instant::now());
                }
            }
        }
    }

    /// A part of the body has left.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// The body is at its end.
    pub(super) fn finish(&mut self) {
        match self.state {
            State::Answered(status) => self.count(status),
            State::Streaming(since) => {
                self.counts.streams.dec();
                self.counts.stream_durations.observe_duration(since.elapsed());
                self.state = State::Over;
            }
            State::Asked | State::Over => {}
        }
    }

    /// There is no response: the service failed.
    pub(super) fn fail(&mut self) {
        self.count(Status::FAILED);
    }

    fn count(&mut self, status: Status) {
        self.state = State::Over;
        if self.is_in_flight {
            self.is_in_flight = false;
            self.counts.in_flight.dec();
        }
        if !self.is_counted {
            return;
        }
        let Some(cell) = self.counts.cell(&self.cells, self.method, status) else { return };
        self.counts.observe(cell, self.begun, self.trace);
        for (total, bytes) in [(&cell.received, self.received), (&cell.sent, self.sent)] {
            if bytes > 0 {
                total.add(bytes);
            }
        }
    }
}

impl Drop for Timing {
    fn drop(&mut self) {
        match self.state {
            // A handler that panics has failed; its client has not gone away.
            State::Asked if std::thread::panicking() => self.fail(),
            State::Asked | State::Answered(_) => self.count(Status::CANCELLED),
            // Most event streams end when the client goes.
            State::Streaming(_) => self.finish(),
            State::Over => {}
        }
    }
}
