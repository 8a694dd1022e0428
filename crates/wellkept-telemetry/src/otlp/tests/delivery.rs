//! What becomes of spans with receivers that are slow, hang, refuse, or are gone.

use proptest::prelude::*;

use super::super::delivery::{Delivery, Verdict, Wait};
use super::*;

fn push(otlp: &Otlp, count: usize) {
    (0..count).for_each(|_| otlp.0.queue.push(messages::Span::default().encode_to_vec()));
}

/// A started export with so many ended spans, and what it came to once all was settled.
fn settled(replies: impl IntoIterator<Item = Reply>, spans: usize) -> (Arc<Collector>, SpanBooks) {
    let collector = Collector::replying(replies);
    let otlp = collector.start(patient());
    push(&otlp, spans);
    assert!(otlp.flush(PATIENCE));
    let books = otlp.books();
    assert_balanced(&books);
    assert_eq!((books.accepted, books.pending), (spans as u64, 0));
    (collector, books)
}

#[test]
fn a_receiver_that_is_gone_and_comes_back_gets_everything_once_more_in_the_same_bytes() {
    let (collector, books) = settled([Reply::IsAway, Reply::IsAway, Reply::Answers(answers(503))], 3);
    assert_eq!((books.exported, books.lost()), (3, 0));
    let messages = collector.messages();
    assert_eq!(messages.len(), 4);
    assert!(messages.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn what_would_be_refused_again_is_not_sent_again() {
    for status in [400, 401, 404, 413, 301, 500, 501] {
        let (collector, books) = settled([Reply::Answers(answers(status))], 2);
        assert_eq!((books.exported, books.lost_to(SpanLoss::Refused)), (0, 2), "{status}");
        assert_eq!(collector.messages().len(), 1, "{status}");
    }
}

#[test]
fn what_the_receiver_takes_only_in_part_is_counted_so() {
    let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: "too old".to_owned() };
    let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let (collector, books) = settled([Reply::Answers(Answer { body, ..answers(200) })], 5);
    assert_eq!((books.exported, books.lost_to(SpanLoss::Rejected)), (3, 2));
    assert_eq!(collector.messages().len(), 1);
}

#[test]
fn an_answer_that_claims_too_much_or_nothing_readable_unbalances_nothing() {
    for (body, exported) in [
        (ExportTracePartialSuccess { rejected_spans: i64::MAX, ..Default::default() }, 0),
        (ExportTracePartialSuccess { rejected_spans: -1, ..Default::default() }, 4),
    ] {
        let body = ExportTraceServiceResponse { partial_success: Some(body) }.encode_to_vec();
        assert_eq!(settled([Reply::Answers(Answer { body, ..answers(200) })], 4).1.exported, exported);
    }
    let body = b"{\"partialSuccess\":{}}".to_vec();
    assert_eq!(settled([Reply::Answers(Answer { body, ..answers(200) })], 4).1.exported, 4);
}

#[test]
fn a_receiver_that_hangs_holds_nobody_and_a_flush_ends_in_its_time() {
    let (reply, release) = hanging();
    let collector = Collector::replying([reply]);
    let otlp = collector.start(patient());
    push(&otlp, 1);
    let begun = Instant::now();
    assert!(!otlp.flush(Duration::from_millis(50)));
    // Far below the time that the request itself may take.
    assert!(begun.elapsed() < otlp.options().timeout / 2, "{:?}", begun.elapsed());
    traced(&otlp, || tracing::info_span!("meanwhile").in_scope(|| ()));
    let books = otlp.books();
    assert_eq!((books.accepted, books.exported, books.pending), (2, 0, 2));
    drop(release);
    assert!(otlp.flush(PATIENCE));
    assert_eq!(otlp.books().exported, 2);
}

#[test]
fn what_finds_the_queue_full_is_dropped_and_counted_at_every_instant() {
    let (reply, release) = hanging();
    let collector = Collector::replying([reply]);
    let otlp = collector.start(patient());
    push(&otlp, queue::MAX_BATCH);
    collector.wait_for(1);
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(|| push(&otlp, MAX_QUEUED_SPANS))));
        (0..1000).for_each(|_| assert_balanced(&otlp.books()));
    });
    let books = otlp.books();
    assert_balanced(&books);
    let accepted = queue::MAX_BATCH + 4 * MAX_QUEUED_SPANS;
    assert_eq!((books.accepted, books.pending), (accepted as u64, MAX_QUEUED_SPANS as u64));
    assert_eq!(books.lost_to(SpanLoss::QueueFull), (accepted - MAX_QUEUED_SPANS) as u64);
    drop(release);
    assert!(otlp.flush(PATIENCE));
    assert_eq!(otlp.books().exported, MAX_QUEUED_SPANS as u64);
}

#[test]
fn what_waits_is_bounded_in_bytes_too() {
    let (reply, _release) = hanging();
    let collector = Collector::replying([reply]);
    let otlp = collector.start(patient());
    let count = 2 * MAX_QUEUED_BYTES / MAX_SPAN_BYTES;
    (0..count).for_each(|_| otlp.0.queue.push(vec![0; MAX_SPAN_BYTES]));
    let books = otlp.books();
    assert_balanced(&books);
    let most = MAX_QUEUED_BYTES / MAX_SPAN_BYTES + 32;
    assert!(books.pending <= most as u64, "{books:?}");
    assert!(books.lost_to(SpanLoss::QueueFull) > 0);
}

#[test]
fn a_full_batch_leaves_at_once_and_a_small_one_after_its_delay() {
    let collector = Arc::new(Collector::default());
    let otlp = collector.start(patient());
    push(&otlp, queue::MAX_BATCH);
    collector.wait_for(1);
    let quick = Arc::new(Collector::default());
    let otlp = quick.start(Options { delay: Duration::from_millis(5), ..Options::default() });
    push(&otlp, 1);
    quick.wait_for(1);
}

#[test]
fn what_is_left_when_nobody_exports_any_more_is_tried_once_and_counted() {
    let collector = Collector::replying([Reply::IsAway, Reply::IsAway]);
    let otlp = collector.start(patient());
    let queue = Arc::clone(&otlp.0.queue);
    push(&otlp, 2);
    drop(otlp);
    collector.wait_for(1);
    let begun = Instant::now();
    while queue.books().pending > 0 && begun.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    queue.push(Vec::new());
    assert_balanced(&queue.books());
    assert_eq!(queue.books().lost_to(SpanLoss::Closed), 3);
}

#[test]
fn a_transport_that_panics_is_one_that_failed() {
    struct Panics;
    impl Transport for Panics {
        fn post(&self, _message: Message<'_>) -> Result<Answer, Unreachable> {
            std::panic::panic_any(())
        }
    }
    let patience = Patience { whole: Duration::ZERO, ..Patience::default() };
    let otlp = Otlp::start_with(patient(), Arc::new(Panics), patience).unwrap();
    push(&otlp, 1);
    assert!(otlp.flush(PATIENCE));
    assert_eq!(otlp.books().lost_to(SpanLoss::Undelivered), 1);
}

#[test]
fn what_can_not_be_exported_to_is_refused_at_the_start() {
    let start = |options| Otlp::start(options, Arc::new(Collector::default())).map(drop).map_err(|error| error.code());
    assert_eq!(start(Options { endpoint: "collector:4318".to_owned(), ..Options::default() }), Err("otlp.endpoint"));
    assert_eq!(start(Options { ratio: 1.5, ..Options::default() }), Err("otlp.ratio"));
    assert_eq!(start(Options { ratio: f64::NAN, ..Options::default() }), Err("otlp.ratio"));
}

#[test]
fn a_receiver_that_says_when_is_asked_then_and_not_before() {
    let now = Instant::now();
    let mut delivery = Delivery::new(Patience::default(), now);
    // One that asks for no time gets our own pause, which is longer each time.
    for (asked, waited) in [(7, 7_000), (0, 1_500), (0, 3_000), (100_000, 300_000)] {
        let answer = Answer { retry_after: Some(Duration::from_secs(asked)), ..answers(429) };
        let Verdict::Again(wait, _) = delivery.judge(Ok(answer), now, 0.5) else { panic!("{asked}") };
        assert_eq!(wait, Wait::Must(Duration::from_millis(waited)));
    }
}

proptest! {
    /// However a receiver answers, the pauses are bounded, and a message is settled within its time and one pause.
    #[test]
    fn a_message_is_settled_in_bounded_time(
        replies in proptest::collection::vec((0_u16..5, proptest::option::of(0_u64..1000), 0.0..1.0_f64), 60),
    ) {
        let patience = Patience::default();
        let begun = Instant::now();
        let mut now = begun;
        let mut delivery = Delivery::new(patience, begun);
        for (kind, asked, luck) in replies {
            let answer = match kind {
                0 => Err(Unreachable("away".to_owned())),
                kind => {
                    let status = [429, 502, 503, 504][usize::from(kind - 1)];
                    Ok(Answer { retry_after: asked.map(Duration::from_secs), ..answers(status) })
                }
            };
            match delivery.judge(answer, now, luck) {
                Verdict::Again(Wait::May(pause) | Wait::Must(pause), _) => {
                    prop_assert!(pause <= Duration::from_secs(300));
                    // Each try takes a moment too.
                    now += pause + Duration::from_millis(1);
                }
                Verdict::Lost(loss, _) => {
                    prop_assert_eq!(loss, SpanLoss::Undelivered);
                    prop_assert!(now - begun <= patience.whole + Duration::from_secs(301));
                    return Ok(());
                }
                Verdict::Arrived { .. } => prop_assert!(false, "nothing has arrived"),
            }
        }
        prop_assert!(now - begun <= patience.whole, "it was never given up");
    }
}
