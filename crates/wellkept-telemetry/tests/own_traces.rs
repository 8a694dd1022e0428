//! Exports for the whole process, which a thread of the exporter's own belongs to as well.

#![cfg(feature = "otlp")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wellkept_telemetry::logging::{self, Options as Logging};
use wellkept_telemetry::otlp::{Answer, Message, Options, Otlp, Transport, Unreachable};

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Traces(AtomicUsize);

impl Transport for Traces {
    fn post(&self, _message: Message<'_>) -> Result<Answer, Unreachable> {
        tracing::info_span!("a client's own").in_scope(|| self.0.fetch_add(1, Ordering::Relaxed));
        Ok(Answer { status: 200, ..Answer::default() })
    }
}

#[test]
fn what_the_transport_traces_is_not_exported() {
    let transport = Arc::new(Traces::default());
    let otlp = Otlp::start(Options::default(), Arc::clone(&transport) as Arc<dyn Transport>).unwrap();
    let traces = Some(otlp.layer());
    let _log = logging::init(Logging { sinks: Vec::new(), traces, ..Logging::default() }).unwrap();
    tracing::info_span!("work").in_scope(|| ());
    assert!(otlp.flush(PATIENCE) && otlp.flush(PATIENCE));
    assert_eq!((otlp.books().accepted, transport.0.load(Ordering::Relaxed)), (1, 1));
}
