//! Claims about what is believed of a caller, and about what follows the work.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::logging::{Format, Level, Logging, Options, SinkOptions, subscriber};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn of_parent(traceparent: &str) -> Correlation {
    Correlation::accept(Incoming { traceparent: Some(traceparent), ..Incoming::default() }, Trust::Callers)
}

fn continues(traceparent: &str) -> bool {
    of_parent(traceparent).trace_id().to_string() == "0af7651916cd43dd8448eb211c80319c"
}

#[test]
fn a_callers_trace_goes_on_from_where_it_called() {
    let correlation = of_parent(PARENT);
    assert!(continues(PARENT) && correlation.is_sampled());
    assert_eq!(correlation.parent_id().unwrap().to_string(), "b7ad6b7169203331");
    assert_eq!(correlation.id(), correlation.trace_id().to_string());
    let onward = correlation.traceparent();
    assert_eq!(onward, format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", correlation.span_id()));
    assert!(!onward.contains("b7ad6b7169203331"), "its own place, not its caller's");
    let part = correlation.part();
    assert_eq!((part.parent_id(), part.id()), (Some(correlation.span_id()), correlation.id()));
}

#[test]
fn a_traceparent_that_breaks_the_rules_begins_a_new_trace() {
    for broken in [
        "",
        "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
        "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
        "0-00af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319ü-b7ad6b7169203331-01",
    ] {
        assert!(!continues(broken), "{broken}");
    }
    for later in [
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    ] {
        assert!(continues(later), "{later}");
    }
}

#[test]
fn flags_that_nobody_knows_are_not_passed_on() {
    let flags = |flags: &str| of_parent(&PARENT.replace("-01", flags)).traceparent()[53..].to_owned();
    assert_eq!([flags("-00"), flags("-01"), flags("-03"), flags("-ff")], ["00", "01", "03", "03"]);
    assert!(Correlation::begin().traceparent().ends_with("-02"), "its numbers are random");
}

#[test]
fn a_tracestate_is_passed_on_whole_or_by_whole_members_and_only_with_its_trace() {
    let state = |traceparent, tracestate: &str| {
        let incoming = Incoming { traceparent: Some(traceparent), tracestate: Some(tracestate), request_id: None };
        Correlation::accept(incoming, Trust::Callers).tracestate().map(str::to_owned)
    };
    assert_eq!(state(PARENT, "rojo=00f067, congo=t61rc").unwrap(), "rojo=00f067,congo=t61rc");
    assert_eq!(state("00-broken", "rojo=00f067"), None);
    assert_eq!(state(PARENT, "rojo=\r\nset-cookie: x"), None);
    let whole: Vec<_> = (0..64).map(|number| format!("k{number:02}=abc")).collect();
    let (whole, first) = (whole.join(","), whole[..32].join(","));
    assert_eq!(state(PARENT, &whole).unwrap(), first, "at most 32 members");
    let long = format!("a=1,long={},b=2,{}", "x".repeat(300), "y".repeat(300));
    assert_eq!(state(PARENT, &long).unwrap(), "a=1,b=2");
}

#[test]
fn an_id_that_could_break_a_line_a_header_or_a_path_is_replaced() {
    let accept = |request_id: &str| {
        Correlation::accept(Incoming { request_id: Some(request_id), ..Incoming::default() }, Trust::Callers)
    };
    for good in ["7", "order-7_a.B", &"x".repeat(MAX_ID)] {
        assert_eq!(accept(good).id(), good);
    }
    for hostile in ["", "a b", "a\r\nset-cookie: x", "a/../b", "ü", "a\"", "{}", "a\0", &"x".repeat(MAX_ID + 1)] {
        let taken = accept(hostile);
        assert_eq!(taken.id(), taken.trace_id().to_string(), "{hostile:?}");
    }
}

#[test]
fn nobody_is_believed_where_strangers_call() {
    let incoming = Incoming { traceparent: Some(PARENT), tracestate: Some("a=1"), request_id: Some("mine") };
    let correlation = Correlation::accept(incoming, Trust::Nobody);
    assert_ne!(correlation.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_ne!(correlation.id(), "mine");
    assert_eq!((correlation.client_request_id(), correlation.tracestate()), (Some("mine"), None));
}

proptest! {
    #[test]
    fn whatever_a_caller_sends_what_goes_on_keeps_the_rules(
        parent in any::<Option<String>>(),
        state in any::<Option<String>>(),
        id in any::<Option<String>>(),
        valid in any::<bool>(),
    ) {
        let parent = if valid { Some(PARENT.to_owned()) } else { parent };
        let incoming = Incoming { traceparent: parent.as_deref(), tracestate: state.as_deref(), request_id: id.as_deref() };
        let correlation = Correlation::accept(incoming, Trust::Callers);
        let onward = correlation.traceparent();
        prop_assert!(Parent::parse(&onward).is_some(), "{}", onward);
        prop_assert!(is_safe(correlation.id()));
        let state = correlation.tracestate().unwrap_or("a=1");
        prop_assert!(state.len() <= 512 && state.bytes().all(|byte| (b' '..=b'~').contains(&byte) || byte == b'\t'));
    }

    #[test]
    fn numbers_differ(_ in 0..8) {
        prop_assert_ne!(Correlation::begin().trace_id(), Correlation::begin().trace_id());
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log(format: Format) -> (impl tracing::Subscriber + Send + Sync, impl Fn() -> Vec<String>) {
    let lines = Lines::default();
    let options = Options { level: Level::Debug, ..Options::to(SinkOptions::writer(format, lines.clone())) };
    let (subscriber, logging): (_, Logging) = subscriber(options).unwrap();
    let read = move || {
        assert!(logging.flush(Duration::from_secs(10)));
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    };
    (subscriber, read)
}

#[test]
fn every_line_of_the_work_bears_its_ids_once() {
    let (subscriber, read) = log(Format::Json);
    let incoming = Incoming { traceparent: Some(PARENT), request_id: Some("order-7"), ..Incoming::default() };
    let correlation = Correlation::accept(incoming, Trust::Callers);
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!("before");
        correlation.clone().in_scope(|| {
            tracing::info!(orders = 3, "within");
            tracing::info!(correlation_id = "own", "says it itself");
        });
        tracing::info!("after");
    });
    let lines: Vec<serde_json::Value> = read().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids = |line: &serde_json::Value| {
        [&line["trace_id"], &line["span_id"], &line["correlation_id"]].map(|id| id.as_str().map(str::to_owned))
    };
    let (trace, span) = (correlation.trace_id().to_string(), correlation.span_id().to_string());
    assert_eq!(ids(&lines[0]), [None, None, None]);
    assert_eq!(ids(&lines[1]), [Some(trace.clone()), Some(span.clone()), Some("order-7".to_owned())]);
    assert_eq!(ids(&lines[2]), [Some(trace), Some(span), Some("own".to_owned())]);
    assert_eq!(ids(&lines[3]), [None, None, None]);
    assert_eq!(read()[2].matches("\"correlation_id\"").count(), 1);
}

#[test]
fn in_text_the_ids_come_last() {
    let (subscriber, read) = log(Format::Text);
    let correlation = of_parent(PARENT);
    let ids = format!("trace_id={0} span_id={1} correlation_id={0}", correlation.trace_id(), correlation.span_id());
    tracing::subscriber::with_default(subscriber, || correlation.in_scope(|| tracing::info!(orders = 3, "within")));
    let lines = read();
    assert!(lines[0].ends_with(&format!(": within orders=3 {ids}")), "{}", lines[0]);
}

#[test]
fn the_ids_follow_into_tasks_blocking_work_and_spans() {
    let (subscriber, read) = log(Format::Json);
    let guard = Arc::new(subscriber);
    let in_runtime = Arc::clone(&guard);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(move || std::mem::forget(tracing::subscriber::set_default(Arc::clone(&in_runtime))))
        .enable_all()
        .build()
        .unwrap();
    let _here = tracing::subscriber::set_default(guard);
    let correlation = Correlation::begin();
    let id = correlation.id().to_owned();
    runtime.block_on(correlation.scope(async {
        tokio::task::yield_now().await;
        tracing::info!("in the future");
        spawn(async { tracing::info!("in a task") }).await.unwrap();
        spawn_blocking(|| tracing::info!("on a blocking thread")).await.unwrap();
        let span = tracing::info_span!("without fields");
        tokio::spawn(tracing::Instrument::instrument(async { tracing::info!("by the span") }, span)).await.unwrap();
        tokio::spawn(async { tracing::info!("left behind") }).await.unwrap();
    }));
    runtime.shutdown_timeout(Duration::from_secs(10));
    let lines = read();
    assert_eq!(lines.len(), 5);
    for line in &lines {
        assert_eq!(line.contains(&id), !line.contains("left behind"), "{line}");
    }
}

#[test]
fn it_is_current_only_while_its_work_runs() {
    assert!(Correlation::current().is_none());
    let (outer, inner) = (Correlation::begin(), Correlation::begin());
    outer.clone().in_scope(|| {
        inner.clone().in_scope(|| assert_eq!(Correlation::current().unwrap().id(), inner.id()));
        assert_eq!(Correlation::current().unwrap().id(), outer.id());
    });
    assert!(Correlation::current().is_none());
}
