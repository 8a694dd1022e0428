//! What windows add up to.

use proptest::prelude::*;

use std::time::Duration;

use super::*;
use crate::outcome::Verdict;
use crate::status::Status;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const KEPT: [i64; 3] = [120, 288, 744];

fn past(tier: Tier, buckets: impl IntoIterator<Item = (i64, Bucket)>) -> Past {
    let mut past = Past { kept: KEPT, ..Past::default() };
    past.tiers[tier as usize] = buckets.into_iter().collect();
    past
}

fn bucket(times: &[(Status, u32)]) -> Bucket {
    let mut bucket = Bucket::default();
    for (status, time) in times {
        bucket.add_time(*status, *time);
    }
    bucket
}

fn whole(seconds: &Seconds) -> f64 {
    let Seconds { healthy, degraded, unhealthy, unknown, maintenance, gap } = seconds;
    healthy + degraded + unhealthy + unknown + maintenance + gap
}

#[test]
fn availability_is_time_up_of_the_time_known_and_all_else_stands_apart() {
    let now = at("2026-01-15T10:30:00Z");
    let first = Tier::Minute.slot(now) - 60;
    let minutes = [
        (first, bucket(&[(Status::Healthy, 60_000)])),
        (first + 1, bucket(&[(Status::Degraded, 30_000), (Status::Unhealthy, 30_000)])),
        (first + 2, bucket(&[(Status::Unknown, 60_000)])),
        (first + 3, bucket(&[(Status::Maintenance, 60_000)])),
        (first - 1, bucket(&[(Status::Unhealthy, 60_000)])),
    ];
    let window = past(Tier::Minute, minutes).sum_up("db", now).windows.hour;
    assert_eq!(window.availability, Some(0.75), "90 s of 120 s; the minute before the window is not in it");
    assert_eq!((window.from, window.to), (at("2026-01-15T09:30:00Z"), now));
    let seconds = serde_json::to_string(&window.seconds).unwrap();
    insta::assert_snapshot!(seconds, @r#"{"healthy":60.0,"degraded":30.0,"unhealthy":30.0,"unknown":60.0,"maintenance":60.0,"gap":3360.0}"#);
    assert!((window.observed - 0.0667).abs() < 1e-9);
}

#[test]
fn nothing_known_is_no_availability_and_no_percentile() {
    let trend = past(Tier::Hour, []).sum_up("db", at("2026-01-15T10:30:00Z"));
    for window in [trend.windows.hour, trend.windows.day, trend.windows.week, trend.windows.month] {
        assert_eq!((window.availability, window.response_time_ms), (None, None));
        assert_eq!(window.failures_trend.direction, Course::Unclear);
    }
}

#[test]
fn a_slot_counts_for_no_longer_than_it_has_lasted() {
    // All of the minute was counted before the clock was set back into it.
    let now = at("2026-01-15T10:30:10Z");
    let minutes = [(Tier::Minute.slot(now), bucket(&[(Status::Healthy, 30_000), (Status::Unhealthy, 30_000)]))];
    let window = past(Tier::Minute, minutes).sum_up("db", now).windows.hour;
    assert!((window.seconds.healthy - 5.0).abs() < 1e-9, "{window:?}");
    assert_eq!(window.availability, Some(0.5));
}

#[test]
fn what_is_in_no_tier_yet_counts_in_every_window() {
    let now = at("2026-01-15T10:30:30Z");
    let mut past = past(Tier::Hour, []);
    let bucket = bucket(&[(Status::Healthy, 30_000)]);
    past.open.push(MinutePart { component: "db".into(), minute: Tier::Minute.slot(now), bucket });
    let windows = past.sum_up("db", now).windows;
    for window in [windows.hour, windows.day, windows.week, windows.month] {
        assert!((window.seconds.healthy - 30.0).abs() < 1e-9);
    }
}

#[test]
fn percentiles_of_a_window_are_those_of_all_its_runs() {
    let now = at("2026-01-15T10:30:00Z");
    let last = Tier::TenMinutes.slot(now);
    let slots = (0..100).map(|slot| {
        let mut bucket = Bucket::default();
        (0..10).for_each(|run| bucket.add_run(Verdict::Pass, f64::from(slot * 10 + run + 1)));
        (last - i64::from(slot), bucket)
    });
    let times = past(Tier::TenMinutes, slots).sum_up("db", now).windows.day.response_time_ms.unwrap();
    for (found, exact) in [(times.p50, 500.0), (times.p95, 950.0), (times.p99, 990.0)] {
        assert!((found - exact).abs() / exact <= times.relative_error, "{found} for {exact}");
    }
}

#[test]
fn slower_and_failing_are_seen_as_rising() {
    let now = at("2026-01-15T10:30:00Z");
    let last = Tier::Minute.slot(now);
    let slots = (0..60_u32).map(|minute| {
        let mut bucket = Bucket::default();
        for run in 0..20 {
            let verdict = if run * 3 < minute { Verdict::Fail } else { Verdict::Pass };
            bucket.add_run(verdict, 10.0 + f64::from(minute));
        }
        (last - 60 + i64::from(minute), bucket)
    });
    let window = past(Tier::Minute, slots).sum_up("db", now).windows.hour;
    assert_eq!(window.failures_trend.direction, Course::Rising, "{:?}", window.failures_trend);
    assert_eq!(window.response_time_trend.direction, Course::Rising, "{:?}", window.response_time_trend);
    assert!(window.response_time_trend.confidence > 0.99);
}

#[test]
fn a_window_whose_tier_is_not_kept_is_read_from_a_coarser_one() {
    assert_eq!(Span::Hour.tier(&KEPT), Tier::Minute);
    assert_eq!(Span::Day.tier(&KEPT), Tier::TenMinutes);
    assert_eq!(Span::Month.tier(&KEPT), Tier::Hour);
    let memory = [0, 7, 25];
    assert_eq!(Span::Hour.tier(&memory), Tier::TenMinutes);
    assert_eq!(Span::Day.tier(&memory), Tier::Hour);
    assert_eq!(Span::Month.tier(&memory), Tier::Hour, "as much of it as there is");
}

#[test]
fn a_reading_that_shrinks_has_an_end_and_is_read_by_ten_minutes_while_it_is_young() {
    let now = at("2026-01-15T10:30:00Z");
    let last = Tier::TenMinutes.slot(now);
    let slots = (0..60_i32).map(|slot| {
        let mut bucket = Bucket::default();
        bucket.set_remaining(f64::from(100 + slot) * 1e6);
        (last - i64::from(slot), bucket)
    });
    let mut past = past(Tier::TenMinutes, slots);
    assert_eq!(past.clone().sum_up("disk", now).forecast, None, "nothing that the component names");
    past.reading = Some("free_bytes");
    let forecast = past.sum_up("disk", now).forecast.unwrap();
    let Outlook::RunsOut { at: end, .. } = forecast.outlook else { panic!("{forecast:?}") };
    assert!((forecast.remaining - 1e8).abs() < 1e-9);
    assert_eq!(end, at("2026-01-16T03:10:00Z"), "a hundred times ten minutes later");
}

#[test]
fn a_brief_says_what_the_windows_say() {
    let now = at("2026-01-15T10:30:00Z");
    let last = Tier::Hour.slot(now);
    let hours = (0..500).map(|back| {
        let mut bucket = bucket(&[(Status::Healthy, 3_000_000), (Status::Unhealthy, 600_000)]);
        bucket.add_run(Verdict::Pass, 5.0);
        (last - back, bucket)
    });
    let mut past = past(Tier::Hour, hours);
    past.kept = [0, 7, 744];
    let (brief, windows) = (past.brief(now), past.sum_up("db", now).windows);
    assert_eq!(brief.availability_24h, windows.day.availability);
    assert_eq!(brief.availability_30d, windows.month.availability);
    assert_eq!(brief.p95_ms_24h, windows.day.response_time_ms.map(|times| times.p95));
    assert!(brief.availability_24h.unwrap() < 0.84);
    assert_eq!((brief.observed_s_24h, brief.observed_s_30d), (24 * 3600 + 1800, 499 * 3600 + 1800));
    assert_eq!((brief.short_of_24h(), brief.short_of_30d()), (None, Some(Duration::from_secs(499 * 3600 + 1800))));
}

#[test]
fn the_shape_is_the_one_that_was_promised() {
    let now = at("2026-01-15T10:30:00Z");
    let minutes = [(Tier::Minute.slot(now) - 1, bucket(&[(Status::Healthy, 60_000)]))];
    let trend = serde_json::to_value(past(Tier::Minute, minutes).sum_up("db", now)).unwrap();
    insta::assert_snapshot!(trend["windows"]["1h"], @r#"{"from":"2026-01-15T09:30:00Z","to":"2026-01-15T10:30:00Z","availability":1.0,"observed":0.0167,"seconds":{"healthy":60.0,"degraded":0.0,"unhealthy":0.0,"unknown":0.0,"maintenance":0.0,"gap":3540.0},"runs":{"passed":0,"warned":0,"failed":0},"response_time_ms":null,"response_time_trend":{"direction":"unclear","confidence":0.0,"change":null},"failures_trend":{"direction":"unclear","confidence":0.0,"change":null}}"#);
    let keys: Vec<_> = trend["windows"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["1h", "24h", "7d", "30d"]);
}

proptest! {
    #[test]
    fn the_times_of_a_window_add_up_to_it_exactly(
        slots in prop::collection::vec((0_i64..130, prop::array::uniform5(0_u32..40_000)), 0..80),
        into in 0_i64..60_000,
    ) {
        let now = Timestamp::from_millisecond(1_768_473_000_000 + into).unwrap();
        let last = Tier::Minute.slot(now);
        let buckets = slots.into_iter().map(|(back, times)| {
            let times: Vec<_> = Status::ALL.into_iter().zip(times).collect();
            let mut joined = Bucket::default();
            joined.join(&bucket(&times), Tier::Minute);
            (last - back, joined)
        });
        let window = past(Tier::Minute, buckets).sum_up("db", now).windows.hour;
        let length = (window.to.as_millisecond() - window.from.as_millisecond()) as f64 / 1000.0;
        prop_assert!((whole(&window.seconds) - length).abs() < 1e-6, "{:?} in {}", window.seconds, length);
        prop_assert!((0.0..=1.0).contains(&window.observed));
        prop_assert!(window.availability.is_none_or(|share| (0.0..=1.0).contains(&share)));
        prop_assert!(window.seconds.gap >= 0.0);
    }
}
