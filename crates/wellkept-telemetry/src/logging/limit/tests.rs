//! Claims about lines that repeat.

use std::time::Instant;

use serde_json::Value;
use tracing::{error, info, info_span, warn};

use super::*;
use crate::logging::{Format, Options, SinkOptions};
use crate::memory::Memory;

const HOUR: Duration = Duration::from_secs(3600);

fn limited(work: impl FnOnce()) -> Vec<Value> {
    let memory = Memory::default();
    let options = Options::to(SinkOptions::writer(Format::Json, memory.clone()));
    let repeats = Some(RepeatLimit { lines: 3, within: HOUR });
    memory.logged(Options { repeats, ..options }, |logging| {
        let before = logging.suppressed();
        work();
        assert!(logging.suppressed() >= before);
    })
}

#[test]
fn a_line_that_repeats_is_counted_and_told_of_and_its_fields_may_differ() {
    let lines = limited(|| {
        for attempt in 0..1237 {
            warn!(attempt, "can't connect");
        }
        info!("another place");
    });
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_eq!(lines[2]["attempt"], 2);
    let told = &lines[4];
    assert_eq!(told["message"], "can't connect … repeated 1,234 times in 1 s");
    assert_eq!((&told["repeated"], &told["level"]), (&1234.into(), &"warning".into()));
    assert_eq!((&told["of"], &told["target"]), (&module_path!().into(), &"wellkept::log".into()));
}

#[test]
fn other_words_from_the_same_place_are_another_line() {
    let lines = limited(|| {
        for name in ["a", "b", "a", "a", "b", "a", "b", "b"] {
            error!("can't read {name}");
        }
    });
    let told: Vec<&str> =
        lines.iter().filter(|line| line["repeated"] == 1).filter_map(|it| it["message"].as_str()).collect();
    assert_eq!(lines.len(), 8);
    assert_eq!(told.len(), 2, "{lines:?}");
    assert!(told.iter().any(|words| words.starts_with("can't read a … repeated 1 times")), "{told:?}");
}

#[test]
fn without_a_message_all_fields_tell_lines_apart() {
    let lines = limited(|| {
        for order in 0..10 {
            info!(order, state = "new");
        }
    });
    assert_eq!(lines.len(), 10);
    let lines = limited(|| (0..10).for_each(|_| info!(state = "new")));
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[3]["message"], "a line … repeated 7 times in 1 s");
}

#[test]
fn what_must_not_be_missed_is_never_left_out() {
    let lines = limited(|| {
        let events = crate::events::Events::default();
        let placed = events.business("order_placed").unwrap();
        for _ in 0..10 {
            crate::critical!("on fire");
            events.security(crate::events::SecurityEvent::AuthnLoginFail { user: "ann" }).log();
            crate::business!(placed);
        }
    });
    assert_eq!(lines.len(), 30);
}

#[test]
fn a_long_text_and_a_secret_are_not_repeated() {
    let lines = limited(|| {
        for _ in 0..5 {
            info!("{}", "x".repeat(MAX_TEXT_BYTES + 1));
            info!("url is postgres://app:hunter2@db/x");
        }
    });
    let told: Vec<&Value> = lines.iter().filter(|line| line["repeated"] == 2).collect();
    assert_eq!(told.len(), 2);
    assert!(told.iter().any(|line| line["message"] == "a line … repeated 2 times in 1 s"), "{told:?}");
    assert!(told.iter().any(|line| line["message"].as_str().unwrap().starts_with("url is postgres://")));
    assert!(!lines.iter().any(|line| line.to_string().contains("hunter2")));
}

#[test]
fn a_value_that_logs_while_it_is_shown_harms_nobody() {
    struct Chatty;
    impl fmt::Debug for Chatty {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            info!("inner");
            formatter.write_str("chatty")
        }
    }
    let lines = limited(|| (0..5).for_each(|_| info!("outer {:?}", Chatty)));
    assert!(lines.iter().any(|line| line["message"].as_str().unwrap().starts_with("outer chatty … repeated 2")));
}

#[test]
fn a_summary_comes_although_nothing_more_is_logged() {
    let memory = Memory::default();
    let options = Options::to(SinkOptions::writer(Format::Json, memory.clone()));
    let repeats = Some(RepeatLimit { lines: 1, within: Duration::ZERO });
    let (subscriber, logging) = crate::logging::subscriber(Options { repeats, ..options }).unwrap();
    let dispatch = tracing::Dispatch::new(subscriber);
    tracing::dispatcher::with_default(&dispatch, || (0..3).for_each(|_| warn!("once")));
    let end = Instant::now() + Duration::from_secs(10);
    while !memory.text().contains("once … repeated 2 times in ") {
        assert!(Instant::now() < end, "{}", memory.text());
        std::thread::yield_now();
    }
    assert_eq!(logging.suppressed(), 2);
}

/// What a place is known by.
fn place() -> &'static Metadata<'static> {
    let memory = Memory::default();
    let options = Options::to(SinkOptions::writer(Format::Json, memory));
    let (subscriber, _logging) = crate::logging::subscriber(options).unwrap();
    tracing::subscriber::with_default(subscriber, || info_span!("place").metadata().unwrap())
}

#[test]
fn in_the_next_period_it_is_written_again_and_no_count_is_lost() {
    let (place, text) = (place(), Text::default());
    let repeats = Repeats::new(RepeatLimit { lines: 2, within: Duration::from_secs(10) });
    let written = |key, now| repeats.counts(place, key, &text, now);
    assert_eq!([0, 1, 2, 9_999].map(|now| written(7, now)), [true, true, false, false]);
    assert!(repeats.take_due(Due::Over, Duration::from_millis(9_999)).is_empty());
    // The next period has begun before anybody told of the one before.
    assert_eq!([10_000, 10_001, 10_002].map(|now| written(7, now)), [true, true, false]);
    let due = repeats.take_due(Due::Over, Duration::from_millis(10_500));
    assert_eq!(due.iter().map(|it| (it.count, it.over.as_millis())).collect::<Vec<_>>(), [(3, 10_500)]);
    assert!(repeats.take_due(Due::All, Duration::from_secs(60)).is_empty(), "it is told of once");
    assert!(!written(7, 11_000), "having told of it begins no new period");
    assert_eq!(repeats.take_due(Due::All, Duration::from_secs(12)).len(), 1);
    assert_eq!(repeats.suppressed(), 4);
}

#[test]
fn with_more_lines_than_are_counted_all_are_written_and_no_count_is_lost() {
    let (place, text) = (place(), Text::default());
    let repeats = Repeats::new(RepeatLimit { lines: 1, within: HOUR });
    // Fill one set with lines that repeat.
    let same_set = |number: u64| number * SETS as u64;
    for key in (0..WAYS as u64).map(same_set) {
        assert!(repeats.counts(place, key, &text, 1));
        assert!(!repeats.counts(place, key, &text, 2));
    }
    for key in (100..200).map(same_set) {
        assert!(repeats.counts(place, key, &text, 3) && repeats.counts(place, key, &text, 3));
    }
    assert!(!repeats.counts(place, 0, &text, 4), "what is counted goes on being counted");
    let told: u64 = repeats.take_due(Due::All, HOUR).iter().map(|summary| summary.count).sum();
    assert_eq!((told, repeats.suppressed()), (WAYS as u64 + 1, WAYS as u64 + 1));
}

#[test]
fn from_many_threads_written_and_left_out_add_up() {
    let lines = limited(|| {
        let log = tracing::dispatcher::get_default(Clone::clone);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    tracing::dispatcher::with_default(&log, || (0..500).for_each(|number| info!(number, "busy")));
                });
            }
        });
    });
    let told: u64 = lines.iter().filter_map(|line| line["repeated"].as_u64()).sum();
    let written = lines.iter().filter(|line| line["message"] == "busy").count();
    assert_eq!((written, told), (3, 1997));
}
