//! What leaves, read by the official definitions, and what becomes of it with receivers that fail.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver as Gate, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::*;
use crate::correlation::{Correlation, Incoming, Trust};
use crate::logging;

mod delivery;
mod pushes;
mod traces;

/// Longest that anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the receiver does with one message.
enum Reply {
    Answers(Answer),
    IsAway,
    /// Does not answer before the test drops the other end, or the deadline has passed.
    Hangs(Gate<()>),
}

/// A receiver whose replies are laid down; when they are used up it takes everything.
#[derive(Default)]
struct Collector {
    replies: Mutex<VecDeque<Reply>>,
    messages: Mutex<Vec<Vec<u8>>>,
    came: Condvar,
}

impl Collector {
    fn replying(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        Arc::new(Self { replies: Mutex::new(replies.into_iter().collect()), ..Self::default() })
    }

    fn start(self: &Arc<Self>, options: Options) -> Otlp {
        let patience = Patience { first: Duration::from_millis(2), ..Patience::default() };
        Otlp::start_with(options, Arc::clone(self) as Arc<dyn Transport>, patience).unwrap()
    }

    /// Waits until so many messages have come.
    fn wait_for(&self, count: usize) {
        let messages = self.messages.lock().unwrap();
        let (messages, _) =
            self.came.wait_timeout_while(messages, PATIENCE, |messages| messages.len() < count).unwrap();
        assert!(messages.len() >= count, "{} of {count} messages came", messages.len());
    }

    fn messages(&self) -> Vec<ExportTraceServiceRequest> {
        let messages = self.messages.lock().unwrap();
        messages.iter().map(|body| ExportTraceServiceRequest::decode(&**body).unwrap()).collect()
    }

    /// All spans that came.
    fn spans(&self) -> Vec<Span> {
        let resources = self.messages().into_iter().flat_map(|message| message.resource_spans);
        resources.flat_map(|it| it.scope_spans).flat_map(|it| it.spans).collect()
    }
}

impl Transport for Collector {
    fn post(&self, message: Message<'_>) -> Result<Answer, Unreachable> {
        self.messages.lock().unwrap().push(message.body.to_vec());
        self.came.notify_all();
        // Bound to a name of its own: the lock must not be held while it hangs.
        let reply = self.replies.lock().unwrap().pop_front();
        match reply {
            Some(Reply::Answers(answer)) => Ok(answer),
            Some(Reply::IsAway) => Err(Unreachable("refused".to_owned())),
            Some(Reply::Hangs(gate)) => {
                let left = message.deadline.saturating_duration_since(Instant::now());
                let _ = gate.recv_timeout(left);
                Err(Unreachable("timed out".to_owned()))
            }
            None => Ok(answers(200)),
        }
    }
}

fn answers(status: u16) -> Answer {
    Answer { status, ..Answer::default() }
}

/// A reply that hangs until the sender is dropped.
fn hanging() -> (Reply, Sender<()>) {
    let (release, gate) = mpsc::channel();
    (Reply::Hangs(gate), release)
}

/// Has ended spans sent when they are flushed, and not before.
fn patient() -> Options {
    Options { delay: Duration::from_secs(3600), ..Options::default() }
}

/// Runs `work` with spans exported there.
fn traced<R>(otlp: &Otlp, work: impl FnOnce() -> R) -> R {
    let options = logging::Options { sinks: Vec::new(), traces: Some(otlp.layer()), ..logging::Options::default() };
    let (subscriber, _logging) = logging::subscriber(options).unwrap();
    tracing::subscriber::with_default(subscriber, work)
}

/// What a caller begun, recorded or not.
fn called(flags: &str) -> Correlation {
    let traceparent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
    let incoming = Incoming { traceparent: Some(&traceparent), tracestate: Some("vendor=1"), ..Incoming::default() };
    Correlation::accept(incoming, Trust::Callers)
}

#[track_caller]
fn assert_balanced(books: &SpanBooks) {
    assert_eq!(books.accepted, books.exported + books.lost() + books.pending, "{books:?}");
}
