//! What is logged, as the reader of the output sees it.

use std::fs::File;
use std::io::{Read as _, Result, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex};
use std::thread;

use serde_json::Value;
use tracing::{Level as TracingLevel, debug, error, info, info_span, warn};

use super::*;
use crate::memory::Memory;

const SOON: Duration = Duration::from_secs(10);

/// Runs `work` with logging to memory; returns the lines, with the times taken out.
fn logged(format: Format, work: impl FnOnce(&Logging)) -> String {
    let memory = Memory::default();
    let (subscriber, logging) = subscriber(Options::to(SinkOptions::writer(format, memory.clone()))).unwrap();
    tracing::subscriber::with_default(subscriber, || work(&logging));
    assert!(logging.flush(SOON));
    let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<String> = text.lines().map(without_time).collect();
    lines.join("\n")
}

fn without_time(line: &str) -> String {
    let at = line.find("20").unwrap();
    let (time, rest) = line[at..].split_at(24);
    time.parse::<jiff::Timestamp>().unwrap();
    format!("{}TIME{rest}", &line[..at])
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_json_line_is_flat_and_in_order() {
    let lines = logged(Format::Json, |_| {
        let request = info_span!("request", correlation_id = "c-1", user = "outer", late = tracing::field::Empty);
        let _entered = request.enter();
        let _inner = info_span!("query", user = "inner").entered();
        request.record("late", 7);
        let error = io::Error::new(io::ErrorKind::ConnectionRefused, "refused");
        let failure = LoggingError::Output(error);
        warn!(target: "orders", attempts = 3_u32, ratio = 0.5, ok = false, wide = u128::MAX, nan = f64::NAN, shape = ?Some("x"), error = &failure as &dyn std::error::Error, "ship {}", "it");
        error!(level = "mine", timestamp = 1, "taken names");
        info!(answer = 42);
    });
    insta::assert_snapshot!(lines, @r#"
    {"timestamp":"TIME","level":"warning","target":"orders","message":"ship it","attempts":3,"ratio":0.5,"ok":false,"wide":"340282366920938463463374607431768211455","nan":"NaN","shape":"Some(\"x\")","error":"the log's output can't be opened: refused: refused","user":"inner","correlation_id":"c-1","late":7}
    {"timestamp":"TIME","level":"error","target":"wellkept_telemetry::logging::tests","message":"taken names","level_":"mine","timestamp_":1,"user":"inner","correlation_id":"c-1","late":7}
    {"timestamp":"TIME","level":"info","target":"wellkept_telemetry::logging::tests","message":"","answer":42,"user":"inner","correlation_id":"c-1","late":7}
    "#);
}

#[test]
fn a_text_line_is_short_and_without_colours_off_a_terminal() {
    let lines = logged(Format::Text, |_| {
        let _span = info_span!("request", id = "r-1").entered();
        info!(target: "orders", count = 2, path = "/a b", empty = "", "took \"it\"");
        warn!(target: "orders", message_of = "x=y", "careful");
    });
    insta::assert_snapshot!(lines, @r#"
    TIME INFO    orders: took "it" count=2 path="/a b" empty="" id=r-1
    TIME WARNING orders: careful message_of="x=y" id=r-1
    "#);
}

#[test]
fn while_a_value_is_recorded_others_see_and_record_the_fields_of_its_span() {
    struct Busy;
    impl std::fmt::Debug for Busy {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            info!(target: "work", "meanwhile");
            tracing::Span::current().record("other", 2);
            formatter.write_str("busy")
        }
    }
    let lines = logged(Format::Json, |_| {
        let empty = tracing::field::Empty;
        let span = info_span!("work", user = "ann", late = empty, other = empty).entered();
        span.record("late", tracing::field::debug(Busy));
        info!(target: "work", "after");
    });
    insta::assert_snapshot!(lines, @r#"
    {"timestamp":"TIME","level":"info","target":"work","message":"meanwhile","user":"ann"}
    {"timestamp":"TIME","level":"info","target":"work","message":"after","user":"ann","other":2,"late":"busy"}
    "#);
}

#[test]
fn no_field_has_a_name_that_servers_of_gelf_drop() {
    let (subscriber, logging, memory) = to_memory(Format::Gelf);
    tracing::subscriber::with_default(subscriber, || info!(host = "db1", short_message = "brief", id = 7, "said"));
    assert!(logging.flush(SOON));
    let line = json_of(&memory);
    assert_eq!((&line["_host_"], &line["_short_message_"], &line["_id_"]), (&"db1".into(), &"brief".into(), &7.into()));
    assert!(line["_host"].is_null() && line["short_message"] == "said", "{line}");
}

#[test]
fn a_target_that_stands_for_a_message_is_escaped_as_one() {
    let (subscriber, logging, memory) = to_memory(Format::Gelf);
    tracing::subscriber::with_default(subscriber, || info!(target: "a\"b", ""));
    assert!(logging.flush(SOON));
    assert_eq!(json_of(&memory)["short_message"], "a\"b");
}

#[test]
fn colours_come_when_asked_for() {
    let memory = Memory::default();
    let sink = SinkOptions { colour: Colour::Always, ..SinkOptions::writer(Format::Text, memory.clone()) };
    let (subscriber, logging) = subscriber(Options::to(sink)).unwrap();
    tracing::subscriber::with_default(subscriber, || error!("red"));
    assert!(logging.flush(SOON));
    assert!(String::from_utf8_lossy(&memory.0.lock().unwrap()).contains("\x1b[31mERROR  \x1b[0m"));
}

#[test]
fn no_value_forges_a_line_in_any_format() {
    let attack = "x\n{\"level\":\"error\"}\r\u{2028}\u{85}\x1b[2K";
    for format in [Format::Json, Format::Text] {
        let lines = logged(format, |_| info!(attack, shown = ?attack, "{attack}"));
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(!lines.contains(['\u{2028}', '\u{85}', '\x1b', '\r']), "{lines}");
    }
}

#[test]
fn secrets_are_masked_in_every_format_and_place() {
    for format in [Format::Json, Format::Text] {
        let lines = logged(format, |_| {
            let _span = info_span!("login", password = "hunter2", pin_token = 4711).entered();
            info!(
                url = "postgres://app:hunter2@db/x",
                api_key = ?Some("hunter2"),
                header = %"Bearer hunter2",
                session_cookie = 4711,
                "connecting to redis://:hunter2@cache"
            );
        });
        assert!(!lines.contains("hunter2") && !lines.contains("4711"), "{lines}");
        assert!(lines.matches("***").count() >= 7, "{lines}");
    }
}

#[test]
fn a_secret_at_the_cut_is_masked_before_it_is_cut() {
    let long = format!("{} postgres://app:{}@db/x", "a".repeat(MAX_LINE_BYTES - 400), "hunter2".repeat(100));
    let lines = logged(Format::Json, |_| info!(long));
    assert!(!lines.contains("hunter2"));
}

#[test]
fn a_line_too_long_is_cut_marked_and_still_json() {
    let lines = logged(Format::Json, |logging| {
        info!(first = "1", huge = "ü\n".repeat(1 << 20), last = "2", "cut");
        info!(huge = ?vec![0_u8; 1 << 20], "cut");
        let _span = info_span!("wide", huge = "x".repeat(1 << 20)).entered();
        info!("cut");
        assert_eq!(logging.stats().truncated, 3);
    });
    for line in lines.lines() {
        assert!(line.len() < MAX_LINE_BYTES);
        let value = json(line);
        assert_eq!((&value["message"], &value["truncated"]), (&"cut".into(), &true.into()));
    }
    assert_eq!(json(lines.lines().next().unwrap())["first"], "1");
}

#[test]
fn the_level_changes_at_run_time() {
    let lines = logged(Format::Text, |logging| {
        for (level, round) in [(Level::Info, 1), (Level::Debug, 2), (Level::Error, 3)] {
            logging.set_level(level);
            assert_eq!(logging.level(), level);
            assert_eq!(tracing::enabled!(TracingLevel::DEBUG), level == Level::Debug);
            debug!(target: "t", round, "debug");
            warn!(target: "t", round, "warn");
        }
    });
    insta::assert_snapshot!(lines, @"
    TIME WARNING t: warn round=1
    TIME DEBUG   t: debug round=2
    TIME WARNING t: warn round=2
    ");
}

/// Takes nothing until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>, Memory);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let _open = self.0.1.wait_while(self.0.0.lock().unwrap(), |open| !*open).unwrap();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_output_blocks_nobody_and_what_is_dropped_is_counted_and_told() {
    let gate = Gate::default();
    let (subscriber, logging) = subscriber(Options::to(SinkOptions::writer(Format::Json, gate.clone()))).unwrap();
    let room = MAX_QUEUED_LINES as u64 * 3 / 4;
    let total = room + 1000;
    tracing::subscriber::with_default(subscriber, || (0..total).for_each(|number| info!(number, "line")));
    let books = logging.stats();
    assert_eq!((books.accepted, books.pending, books.dropped.queue_full), (total, room, 1000));
    assert!(books.balance());
    assert!(!logging.flush(Duration::from_millis(10)));
    gate.open();
    assert!(logging.close(SOON));
    let notices: Vec<Value> = gate.1.text().lines().map(json).filter(|line| line["message"] != "line").collect();
    assert_eq!(notices.len(), 2);
    assert_eq!((&notices[0]["message"], &notices[0]["dropped"]), (&"log lines were dropped".into(), &1000.into()));
    assert_eq!((&notices[1]["message"], &notices[1]["sink"]), (&"log closed".into(), &"writer".into()));
    for (figure, value) in [("accepted", total + 2), ("written", room + 2), ("dropped", 1000), ("pending", 0)] {
        assert_eq!(notices[1][figure], value, "{figure}");
    }
    let books = logging.stats();
    assert_eq!((books.accepted, books.written, books.pending), (total + 2, room + 2, 0));
}

#[test]
fn a_broken_pipe_is_counted_and_harms_nobody() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let (subscriber, logging) = subscriber(Options::to(SinkOptions::writer(Format::Json, ours))).unwrap();
    tracing::subscriber::with_default(subscriber, || (0..10).for_each(|number| info!(number, "lost")));
    assert!(logging.flush(SOON));
    assert_eq!((logging.stats().dropped.output_failed, logging.stats().written), (10, 0));
}

#[test]
fn a_full_disk_is_counted() {
    let (subscriber, logging) = subscriber(Options::to(SinkOptions::writer(
        Format::Json,
        File::options().write(true).open("/dev/full").unwrap(),
    )))
    .unwrap();
    tracing::subscriber::with_default(subscriber, || info!("lost"));
    assert!(logging.flush(SOON));
    assert_eq!(logging.stats().dropped.output_failed, 1);
}

/// Breaks in the middle of the first line, then works.
#[derive(Clone)]
struct Tearing(Memory, u8);

impl Write for Tearing {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.1 = self.1.saturating_add(1);
        match self.1 {
            1 => self.0.write(&bytes[..10]),
            2 => Err(io::ErrorKind::StorageFull.into()),
            _ => self.0.write(bytes),
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_torn_by_an_error_does_not_run_into_the_next() {
    let memory = Memory::default();
    let (subscriber, logging) =
        subscriber(Options::to(SinkOptions::writer(Format::Json, Tearing(memory.clone(), 0)))).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        info!("torn");
        assert!(logging.flush(SOON));
        info!("whole");
    });
    assert!(logging.flush(SOON));
    let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // Between them the log tells of the one that is missing.
    assert_eq!(lines.len(), 3);
    assert_eq!(json(lines[2])["message"], "whole");
    let books = logging.stats();
    assert_eq!((books.dropped.output_failed, books.written), (1, 2));
}

#[test]
fn a_full_pipe_that_does_not_block_loses_nothing() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let (subscriber, logging) = subscriber(Options::to(SinkOptions::writer(Format::Json, ours))).unwrap();
    tracing::subscriber::with_default(subscriber, || (0..5000).for_each(|number| info!(number, "line")));
    let reader = thread::spawn(move || {
        let mut text = String::new();
        theirs.read_to_string(&mut text).map(|_| text)
    });
    assert!(logging.flush(SOON));
    drop(logging);
    // The last one says that the log was closed.
    assert_eq!(reader.join().unwrap().unwrap().lines().count(), 5000 + 1);
}

#[test]
fn words_are_read_and_unknown_ones_say_what_is_known() {
    assert_eq!("warn".parse(), Ok(Level::Warning));
    assert_eq!("json".parse(), Ok(Format::Json));
    assert_eq!(
        "loud".parse::<Level>().unwrap_err().to_string(),
        "expected trace, debug, info, warning, error or critical"
    );
    for level in Level::ALL {
        assert_eq!(level.as_str().parse(), Ok(level));
    }
}

#[test]
fn what_is_critical_is_above_errors_and_says_so_in_every_format() {
    for (format, wanted) in [
        (Format::Json, r#""level":"critical","target":"store","message":"no replica is left","shard":7}"#),
        (Format::Gelf, r#""level":2,"#),
        (Format::Text, "TIME CRITICAL store: no replica is left shard=7"),
    ] {
        let (subscriber, logging, memory) = to_memory(format);
        logging.set_level(Level::Critical);
        tracing::subscriber::with_default(subscriber, || {
            error!("an error");
            error!(severity = "high", "an error that says how severe it is");
            crate::critical!(target: "store", shard = 7, "no replica is {}", "left");
        });
        assert!(logging.flush(SOON));
        let text = memory.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line = if format == Format::Gelf { text } else { without_time(&text) };
        assert!(line.contains(wanted) && !line.contains("severity"), "{line}");
    }
}

#[test]
fn levels_have_the_numbers_of_syslog_and_of_opentelemetry() {
    assert_eq!(Level::ALL.map(Level::syslog), [7, 7, 6, 4, 3, 2]);
    assert_eq!(Level::ALL.map(Level::otel), [1, 5, 9, 13, 17, 21]);
}

#[test]
fn several_sinks_each_get_every_line_in_their_own_format() {
    let [json, gelf, other] = [(); 3].map(|()| Memory::default());
    let sinks = vec![
        SinkOptions::writer(Format::Json, json.clone()),
        SinkOptions::writer(Format::Gelf, gelf.clone()),
        SinkOptions::writer(Format::Json, other.clone()),
    ];
    let (subscriber, logging) = subscriber(Options { sinks, ..Options::default() }).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        let _span = info_span!("request", order = 7).entered();
        info!(user = "ada", "took it");
    });
    assert!(logging.flush(SOON));
    assert_eq!(json_of(&json)["order"], 7);
    assert_eq!(json_of(&gelf)["_order"], 7);
    assert_eq!(json.text(), other.text());
    assert_eq!(logging.stats().written, 3);
}

#[test]
fn sinks_of_one_name_have_books_of_their_own_on_the_page_of_metrics_too() {
    let sinks = (0..3).map(|_| SinkOptions::writer(Format::Json, Memory::default())).collect();
    let (_subscriber, logging) = subscriber(Options { sinks, ..Options::default() }).unwrap();
    let names: Vec<_> = logging.books().into_iter().map(|books| books.sink).collect();
    assert_eq!(names, ["writer", "writer_2", "writer_3"]);
    crate::metrics::Readings::of(&logging).unwrap();
}

fn json_of(memory: &Memory) -> Value {
    json(&memory.text())
}

fn to_memory(format: Format) -> (impl tracing::Subscriber + Send + Sync, Logging, Memory) {
    let memory = Memory::default();
    let (subscriber, logging) = subscriber(Options::to(SinkOptions::writer(format, memory.clone()))).unwrap();
    (subscriber, logging, memory)
}

#[test]
fn the_books_stand_on_the_metrics_page_for_each_sink() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let sinks = vec![
        SinkOptions::writer(Format::Json, Memory::default()),
        SinkOptions::new("full", Format::Text, Output::Writer(Box::new(full))),
    ];
    let (subscriber, logging) = subscriber(Options { sinks, ..Options::default() }).unwrap();
    tracing::subscriber::with_default(subscriber, || (0..3).for_each(|number| info!(number, "line")));
    assert!(logging.flush(SOON));
    let metrics = crate::metrics::Metrics::new();
    metrics.collector("log", logging, crate::metrics::Audience::Everyone).unwrap();
    let page = metrics.page(None, crate::metrics::Audience::Everyone).body;
    for line in [
        "wellkept_log_lines_accepted_total{sink=\"writer\"} 3",
        "wellkept_log_lines_written_total{sink=\"writer\"} 3",
        "wellkept_log_lines_written_total{sink=\"full\"} 0",
        "wellkept_log_lines_dropped_total{sink=\"full\",reason=\"output_failed\"} 3",
        "wellkept_log_lines_pending{sink=\"full\"} 0",
        "wellkept_log_lines_spilled_total{sink=\"full\"} 0",
        "wellkept_log_lines_truncated_total{sink=\"full\"} 0",
        "wellkept_log_events_suppressed_total 0",
    ] {
        assert!(page.lines().any(|it| it == line), "{line} is not on\n{page}");
    }
}
