//! The counts of requests: one cell for each route, method and class of status, whose handles are found without a lock.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::{Method, StatusCode};
use wellkept_telemetry::correlation::TraceId;
use wellkept_telemetry::metrics::{
    Counter, Declaration, Gauge, Histogram, Labelled, Limits, MetricError, Metrics, OVERFLOW, SECONDS, Trace,
};

use super::timing::Status;

/// The route of what fits none.
pub(super) const UNMATCHED: &str = "unmatched";
/// Most routes that have series of their own.
const MOST_ROUTES: usize = 1000;
/// Most series of durations: a route has as many as it has methods and classes of status.
const MOST_SERIES: usize = 4000;

/// The upper ends of the buckets of an event stream's duration, in seconds: up to a day.
const STREAMS: [f64; 9] = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

const DURATIONS: Declaration<'_> = Declaration::histogram(
    "wellkept_http_request_duration_seconds",
    "Time from a request's head to the end of its response, by route, method and class of status; of event streams and what is upgraded to the response's head. `cancelled` are those whose client went away before.",
)
.by(&["route", "method", "status"]);
const IN_FLIGHT: Declaration<'_> = Declaration::gauge(
    "wellkept_http_requests_in_flight",
    "Requests of the application that are neither answered to the end nor given up, event streams aside.",
);
const CODES: Declaration<'_> =
    Declaration::counter("wellkept_http_responses", "Responses of the application, by status code.").by(&["code"]);
const RECEIVED: Declaration<'_> = Declaration::counter(
    "wellkept_http_request_body_bytes",
    "Sizes of requests' bodies, where announced, by route and method.",
)
.by(&["route", "method"]);
const SENT: Declaration<'_> =
    Declaration::counter("wellkept_http_response_body_bytes", "Sizes of responses' bodies, by route and method.")
        .by(&["route", "method"]);
const OPEN_STREAMS: Declaration<'_> =
    Declaration::gauge("wellkept_http_event_streams", "Event streams of the application that are open.");
const STREAM_DURATIONS: Declaration<'_> = Declaration::histogram(
    "wellkept_http_event_stream_duration_seconds",
    "How long event streams of the application were open.",
);

/// All families of requests.
#[cfg(test)]
pub(super) const DECLARATIONS: [Declaration<'_>; 7] =
    [DURATIONS, IN_FLIGHT, CODES, RECEIVED, SENT, OPEN_STREAMS, STREAM_DURATIONS];

/// The methods that are told apart: those of RFC 9110 and PATCH of RFC 5789, as OpenTelemetry's conventions have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MethodWord(u8);

const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "_OTHER"];

impl MethodWord {
    pub(super) fn of(method: &Method) -> Self {
        Self(match *method {
            Method::GET => 0,
            Method::HEAD => 1,
            Method::POST => 2,
            Method::PUT => 3,
            Method::DELETE => 4,
            Method::CONNECT => 5,
            Method::OPTIONS => 6,
            Method::TRACE => 7,
            Method::PATCH => 8,
            _ => 9,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        METHODS.get(usize::from(self.0)).copied().unwrap_or("_OTHER")
    }
}

/// The families, and the handles on their series by route.
#[derive(Debug)]
pub(super) struct RequestCounts {
    routes: ArcSwap<HashMap<Arc<str>, Arc<RouteCells>>>,
    /// Held while a route is added.
    adding: Mutex<()>,
    durations: Labelled<Histogram, 3>,
    received: Labelled<Counter, 2>,
    sent: Labelled<Counter, 2>,
    codes: Labelled<Counter, 1>,
    /// From 100 to 599; the last is all others.
    by_code: Box<[OnceLock<Counter>]>,
    pub(super) in_flight: Gauge,
    pub(super) streams: Gauge,
    pub(super) stream_durations: Histogram,
    /// What exemplars are timed by.
    begun: Instant,
}

const FIRST_CODE: u16 = 100;
const MOST_CODES: usize = 500;
/// Where those from 500 to 599 are counted.
const SERVER_ERRORS: Range<usize> = 400..MOST_CODES;

impl RequestCounts {
    pub(super) fn new(metrics: &Metrics) -> Result<Self, MetricError> {
        let limits = Limits::default();
        let streams: Labelled<Histogram, 0> =
            metrics.family(&STREAM_DURATIONS, Limits { bounds: &STREAMS, ..limits })?;
        Ok(Self {
            routes: ArcSwap::default(),
            adding: Mutex::default(),
            durations: metrics.family(&DURATIONS, Limits { max_series: MOST_SERIES, bounds: &SECONDS })?,
            received: metrics.family(&RECEIVED, limits)?,
            sent: metrics.family(&SENT, limits)?,
            codes: metrics.family(&CODES, limits)?,
            by_code: (0..=MOST_CODES).map(|_| OnceLock::new()).collect(),
            in_flight: metrics.gauge(IN_FLIGHT.name, IN_FLIGHT.help)?,
            streams: metrics.gauge(OPEN_STREAMS.name, OPEN_STREAMS.help)?,
            stream_durations: streams.with([]),
            begun: Instant::now(),
        })
    }

    /// The cells of a route, which are made when it is first asked for.
    pub(super) fn route(&self, route: &str) -> Arc<RouteCells> {
        if let Some(cells) = self.routes.load().get(route) {
            return Arc::clone(cells);
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let routes = self.routes.load();
        let route = if routes.len() < MOST_ROUTES { route } else { OVERFLOW };
        if let Some(cells) = routes.get(route) {
            return Arc::clone(cells);
        }
        let name: Arc<str> = route.into();
        let cells = Arc::new(RouteCells::new(Arc::clone(&name)));
        let mut more = HashMap::clone(&routes);
        more.insert(name, Arc::clone(&cells));
        self.routes.store(Arc::new(more));
        cells
    }

    pub(super) fn code(&self, status: StatusCode) {
        let index = usize::from(status.as_u16().saturating_sub(FIRST_CODE)).min(MOST_CODES);
        let Some(place) = self.by_code.get(index) else { return };
        let make = || self.codes.with([if index < MOST_CODES { status.as_str() } else { "_OTHER" }]);
        place.get_or_init(make).inc();
    }

    /// All responses so far, and those of the 500s among them.
    pub(super) fn responses(&self) -> (u64, u64) {
        let counts = self.by_code.iter().enumerate().filter_map(|(index, count)| Some((index, count.get()?.value())));
        counts.fold((0, 0), |(all, failed), (index, count)| {
            (all + count, failed + if SERVER_ERRORS.contains(&index) { count } else { 0 })
        })
    }

    pub(super) fn cell<'c>(&self, cells: &'c RouteCells, method: MethodWord, status: Status) -> Option<&'c Cell> {
        let index = usize::from(method.0) * Status::ALL.len() + status.index();
        let (route, word) = (&*cells.route, method.as_str());
        let make = || {
            Box::new(Cell {
                durations: self.durations.with([route, word, status.as_str()]),
                received: self.received.with([route, word]),
                sent: self.sent.with([route, word]),
                renewed: [const { AtomicU32::new(0) }; SECONDS.len() + 1],
            })
        };
        cells.cells.get(index).map(|cell| &**cell.get_or_init(make))
    }

    /// Counts one request. A bucket gets a new exemplar once a second at most.
    pub(super) fn observe(&self, cell: &Cell, begun: Instant, trace: Option<TraceId>) {
        let now = Instant::now();
        let seconds = now.saturating_duration_since(begun).as_secs_f64();
        let is_new = |renewed: &AtomicU32| {
            // Never 0, which is before the first.
            let age = now.saturating_duration_since(self.begun) + Duration::from_secs(1);
            let second = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
            renewed.load(Ordering::Relaxed) != second && renewed.swap(second, Ordering::Relaxed) != second
        };
        let bucket = SECONDS.iter().position(|end| seconds <= *end).unwrap_or(SECONDS.len());
        let trace = trace.filter(|_| cell.renewed.get(bucket).is_some_and(is_new)).map(Trace::Id);
        cell.durations.observe_traced(seconds, trace);
    }
}

/// The cells of one route.
#[derive(Debug)]
pub(super) struct RouteCells {
    route: Arc<str>,
    cells: [OnceLock<Box<Cell>>; METHODS.len() * Status::ALL.len()],
}

impl RouteCells {
    fn new(route: Arc<str>) -> Self {
        Self { route, cells: [const { OnceLock::new() }; METHODS.len() * Status::ALL.len()] }
    }

    pub(super) fn route(&self) -> &str {
        &self.route
    }
}

/// The handles of one route, method and class of status.
#[derive(Debug)]
pub(super) struct Cell {
    durations: Histogram,
    /// These are shared by all classes.
    pub(super) received: Counter,
    pub(super) sent: Counter,
    /// When each bucket got its exemplar, in seconds.
    renewed: [AtomicU32; SECONDS.len() + 1],
}
