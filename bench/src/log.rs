//! What a line costs who logs it, up to its hand-over to the writer, beside the other loggers of Rust; and how often it
//! allocates. Each event is logged in batches that fit the queue, which is emptied between them.

use std::fmt;
use std::hint::black_box;
use std::io::{self, Write};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use slog::Drain as _;
use tracing::Dispatch;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use wellkept::telemetry::logging::{Format, Logging, Options, Precision, Redaction, Secrets, SinkOptions, subscriber};
use wellkept_testkit::python;

use crate::rounds::{Effort, median};

/// Events of a batch: fewer than any queue holds.
const BATCH: u32 = 2_000;
/// Batches of a round; the best of them counts, so that what else runs on the machine counts little.
const BATCHES: u32 = 10;
const EVENTS: [&str; 3] = ["message only", "ten fields", "ten fields and three of the context"];
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes what is written and only counts it.
#[derive(Debug, Default)]
struct Counting(u64);

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += black_box(bytes).len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A logger and what it takes to log each of the events with it.
enum Logger {
    Ours(Dispatch, Logging),
    Tracing(Dispatch, Option<WorkerGuard>),
    Slog(slog::Logger),
}

pub(crate) fn run(effort: Effort) {
    let loggers = loggers();
    let mut figures: Vec<[Vec<f64>; 3]> = loggers.iter().map(|_| Default::default()).collect();
    for _ in 0..effort.rounds {
        for ((_, _, logger), figures) in loggers.iter().zip(&mut figures) {
            for (event, figures) in figures.iter_mut().enumerate() {
                figures.push(logger.nanoseconds(event));
            }
        }
    }
    println!("| ns for an event | {} | {} | {} | allocations each | target |", EVENTS[0], EVENTS[1], EVENTS[2]);
    println!("|---|---|---|---|---|---|");
    for ((what, target, logger), mut figures) in loggers.iter().zip(figures) {
        let [message, fields, context] = figures.each_mut().map(|figures| median(figures));
        let allocations = (0..EVENTS.len()).map(|event| format!("{:.0}", logger.allocations(event)));
        let allocations = allocations.collect::<Vec<_>>().join(", ");
        println!("| {what} | {message:.0} | {fields:.0} | {context:.0} | {allocations} | {target} |");
    }
    structlog();
}

fn loggers() -> Vec<(&'static str, &'static str, Logger)> {
    let coarse = Options {
        redaction: Redaction { secrets: Secrets::Shown, ..Redaction::default() },
        precision: Precision::Coarse,
        ..ours()
    };
    let layer = tracing_subscriber::fmt::layer().json().with_writer(Counting::default);
    let here = Dispatch::new(tracing_subscriber::registry().with(layer));
    let (writer, guard) = NonBlockingBuilder::default().lossy(false).finish(Counting::default());
    let layer = tracing_subscriber::fmt::layer().json().with_writer(writer);
    let thread = Dispatch::new(tracing_subscriber::registry().with(layer));
    let json = Mutex::new(slog_json::Json::default(Counting::default()));
    vec![
        ("wellkept: JSON, secrets masked", "≥ 5 times faster than tracing-subscriber, 0 allocations", started(ours())),
        ("wellkept: JSON, nothing masked, coarse clock", "ten fields < 150", started(coarse)),
        ("`tracing-subscriber`: JSON, written where it is logged", "", Logger::Tracing(here, None)),
        ("`tracing-subscriber`: JSON, `tracing-appender`'s thread", "", Logger::Tracing(thread, Some(guard))),
        (
            "`slog-json`, written where it is logged",
            "",
            Logger::Slog(slog::Logger::root(json.map(slog::Fuse), slog::o!())),
        ),
    ]
}

fn ours() -> Options {
    Options::to(SinkOptions::writer(Format::Json, Counting::default()))
}

fn started(options: Options) -> Logger {
    let (subscriber, logging) = subscriber(options).expect("there is nothing that it could not have");
    Logger::Ours(Dispatch::new(subscriber), logging)
}

impl Logger {
    /// What one event costs who logs it.
    fn nanoseconds(&self, event: usize) -> f64 {
        let batch = || {
            let began = Instant::now();
            self.log(event, BATCH);
            let took = began.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH);
            self.settle();
            took
        };
        (0..BATCHES).map(|_| batch()).fold(f64::INFINITY, f64::min)
    }

    /// How often the thread that logs allocates for one event, once all buffers are there.
    fn allocations(&self, event: usize) -> f64 {
        const TIMES: u32 = 100;
        self.log(event, TIMES);
        let empty = allocation_counter::measure(|| self.log(event, 0));
        let counted = allocation_counter::measure(|| self.log(event, TIMES));
        self.settle();
        counted.count_total.saturating_sub(empty.count_total) as f64 / f64::from(TIMES)
    }

    fn log(&self, event: usize, times: u32) {
        match self {
            Self::Ours(dispatch, _) | Self::Tracing(dispatch, _) => {
                tracing::dispatcher::with_default(dispatch, || through_tracing(event, times));
            }
            Self::Slog(logger) => through_slog(logger, event, times),
        }
    }

    /// Waits for the writer.
    fn settle(&self) {
        match self {
            Self::Ours(_, logging) => assert!(logging.flush(PATIENCE), "the writer keeps up"),
            // It can't be asked; what waits in it is written meanwhile.
            Self::Tracing(_, Some(_)) => std::thread::sleep(Duration::from_millis(5)),
            Self::Tracing(..) | Self::Slog(_) => {}
        }
    }
}

fn through_tracing(event: usize, times: u32) {
    let span = (event == 2)
        .then(|| tracing::info_span!("request", request = "c-4711-0815", tenant = "acme", order = 4711_u64).entered());
    for number in 0..times {
        if event == 0 {
            tracing::info!("request served");
        } else {
            let bytes = black_box(5120 + number);
            tracing::info!(
                method = "GET",
                path = "/orders/4711",
                status = 200_u64,
                bytes,
                duration_ms = black_box(12.25),
                user = "u-1842",
                cached = false,
                attempt = 1_u64,
                region = "eu-west-1",
                queue = "orders",
                "request served"
            );
        }
    }
    drop(span);
}

fn through_slog(logger: &slog::Logger, event: usize, times: u32) {
    let context = slog::o!("request" => "c-4711-0815", "tenant" => "acme", "order" => 4711_u64);
    let logger = if event == 2 { logger.new(context) } else { logger.clone() };
    for number in 0..times {
        if event == 0 {
            slog::info!(logger, "request served");
        } else {
            slog::info!(logger, "request served";
                "method" => "GET", "path" => "/orders/4711", "status" => 200_u64, "bytes" => black_box(5120 + number),
                "duration_ms" => black_box(12.25), "user" => "u-1842", "cached" => false, "attempt" => 1_u64,
                "region" => "eu-west-1", "queue" => "orders");
        }
    }
}

const STRUCTLOG: &str = r#"
import orjson, structlog, time
class Counting:
    def msg(self, line): pass
    log = debug = info = warning = error = msg
structlog.configure(
    processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso"), structlog.processors.JSONRenderer(serializer=orjson.dumps)],
    logger_factory=lambda *a: Counting(), cache_logger_on_first_use=True)
log = structlog.get_logger()
fields = dict(method="GET", path="/orders/4711", status=200, bytes=5120, duration_ms=12.25, user="u-1842", cached=False,
              attempt=1, region="eu-west-1", queue="orders")
def best(given):
    took = []
    for _ in range(10):
        began = time.perf_counter_ns()
        for _ in range(5000): log.info("request served", **given)
        took.append((time.perf_counter_ns() - began) / 5000)
    return round(min(took))
message, ten = best({}), best(fields)
structlog.contextvars.bind_contextvars(request="c-4711-0815", tenant="acme", order=4711)
print("|", message, "|", ten, "|", best(fields), "|")
"#;

/// For scale, from another language.
fn structlog() {
    let measured = std::panic::catch_unwind(|| python::environment(&["structlog==25.5.0", "orjson==3.11.4"]))
        .map_err(|_| "its packages can't be had".to_owned())
        .and_then(|folder| {
            let output = Command::new(folder.join("python")).args(["-c", STRUCTLOG]).output();
            let output = output.map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if output.status.success() { Ok(text) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        });
    match measured {
        Ok(row) => println!("| `structlog` with orjson (Python) {row} | |"),
        Err(why) => println!("\nNOT MEASURED: structlog: {why}"),
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Logger")
    }
}
