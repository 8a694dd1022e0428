//! Claims about caches: which lookups are judged, and what is told.

use std::time::Duration;

use wellkept_health::{Checker, Settings, Status};

use super::*;
use crate::testing::{reason, run};

/// A cache whose figures are set by hand.
#[derive(Debug, Clone, Default)]
struct ByHand(Arc<Mutex<CacheStats>>);

impl ByHand {
    fn looked_up(&self, hits: u64, misses: u64) {
        let mut stats = self.0.lock().unwrap();
        *stats = CacheStats { hits: stats.hits + hits, misses: stats.misses + misses, ..*stats };
    }
}

impl CountedCache for ByHand {
    fn stats(&self) -> CacheStats {
        *self.0.lock().unwrap()
    }
}

fn options(degraded_below: f64) -> Options {
    Options { degraded_below: Ratio::new(degraded_below), ..Options::default() }
}

#[tokio::test]
async fn the_latest_lookups_are_judged_once_they_are_enough() {
    let cache = ByHand::default();
    let check = Cache::new(cache.clone(), options(0.8)).unwrap();
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), outcome.metadata().get("hit_rate")), ("pass", None), "nothing was looked up");
    cache.looked_up(0, 99);
    assert_eq!(reason(&run(&check).await), "pass", "99 lookups say nothing");
    cache.looked_up(0, 1);
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), outcome.message()), ("threshold", "0.0% of the lookups found something"));
    cache.looked_up(99, 0);
    assert_eq!(reason(&run(&check).await), "threshold", "the judgement stands until there are enough anew");
    cache.looked_up(0, 24);
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), outcome.metadata()["hit_rate"].as_f64()), ("pass", Some(99.0 / 123.0)));
    cache.looked_up(80, 20);
    assert_eq!(reason(&run(&check).await), "pass", "just as many as there must be");
    cache.looked_up(79, 21);
    assert_eq!(reason(&run(&check).await), "threshold");
    // The application has made it anew: with it the counters.
    *cache.0.lock().unwrap() = CacheStats { hits: 100, ..CacheStats::default() };
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), outcome.metadata()["hit_rate"].as_f64()), ("pass", Some(1.0)));
    let refused = Cache::new(cache, Options { min_lookups: 0, ..Options::default() }).unwrap_err();
    assert_eq!(refused.to_string(), "`min_lookups`: must be more than 0");
}

#[tokio::test]
async fn what_a_cache_knows_of_its_size_is_told_and_no_more() {
    let told = async |stats: CacheStats| {
        let check = Cache::new(ByHand(Arc::new(Mutex::new(stats))), Options::default()).unwrap();
        serde_json::to_string(run(&check).await.metadata()).unwrap()
    };
    insta::assert_snapshot!(
        told(CacheStats { hits: 95, misses: 5, entries: 3, ..CacheStats::default() }).await,
        @r#"{"cache":{"hits":95,"misses":5,"entries":3},"hit_rate":0.95}"#
    );
    let full =
        CacheStats { entries: 3, size: Some(450), capacity: Some(1000), evictions: Some(7), ..CacheStats::default() };
    insta::assert_snapshot!(
        told(full).await,
        @r#"{"cache":{"hits":0,"misses":0,"entries":3,"size":450,"capacity":1000,"evictions":7},"memory_usage":0.45}"#
    );
    insta::assert_snapshot!(
        told(CacheStats { entries: 3, capacity: Some(4), ..CacheStats::default() }).await,
        @r#"{"cache":{"hits":0,"misses":0,"entries":3,"capacity":4},"memory_usage":0.75}"#
    );
    insta::assert_snapshot!(
        told(CacheStats { capacity: Some(0), ..CacheStats::default() }).await,
        @r#"{"cache":{"hits":0,"misses":0,"entries":0,"capacity":0}}"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_cache_is_a_component_that_no_probe_sees_unless_a_group_is_named() {
    let (checker, engine) = Checker::new(Settings::new("orders"));
    let cache = ByHand::default();
    cache.looked_up(1, 99);
    checker.register(Cache::new(cache.clone(), options(0.5)).unwrap().component("prices")).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    tokio::time::sleep(Duration::from_secs(1)).await; // pace: on paused time
    let snapshot = checker.snapshot();
    let health = snapshot.component("prices").unwrap();
    assert_eq!((snapshot.overall(), &health.metadata["hit_rate"]), (Status::Degraded, &0.01.into()));
    assert!(checker.readiness().ready && health.groups.is_empty());
}

#[cfg(feature = "moka")]
mod of_moka {
    use super::*;

    #[tokio::test]
    async fn a_moka_cache_of_either_kind_tells_its_lookups_and_its_size() {
        let lookups = Lookups::default();
        let listening = lookups.clone();
        let on_threads = ::moka::sync::Cache::builder()
            .max_capacity(100)
            .weigher(|_key: &u32, value: &u32| *value)
            .eviction_listener(move |_key, _value, cause| {
                if cause.was_evicted() {
                    listening.evicted();
                }
            })
            .build();
        let check = Cache::new(Counted::new(on_threads.clone(), lookups.clone()), options(0.5)).unwrap();
        assert_eq!(lookups.of(on_threads.get(&1)), None);
        assert!(lookups.of_entry(on_threads.entry(1).or_insert_with(|| 60)).is_fresh());
        assert_eq!(lookups.of_entry(on_threads.entry(1).or_insert_with(|| 60)).into_value(), 60);
        assert_eq!(lookups.of(on_threads.get(&1)), Some(60));
        on_threads.get(&7);
        on_threads.run_pending_tasks();
        let told = async || run(&check).await.metadata()["cache"].to_string();
        assert_eq!(told().await, r#"{"hits":2,"misses":2,"entries":1,"size":60,"capacity":100}"#);
        assert_eq!(run(&check).await.metadata()["memory_usage"], 0.6);
        on_threads.insert(2, 60);
        on_threads.run_pending_tasks();
        assert!(told().await.ends_with(r#""evictions":1}"#), "{}", told().await);

        let lookups = Lookups::default();
        let of_tasks: ::moka::future::Cache<u32, u32> = ::moka::future::Cache::new(10);
        let check = Cache::new(Counted::new(of_tasks.clone(), lookups.clone()), options(0.5)).unwrap();
        assert_eq!(lookups.of(of_tasks.get(&1).await), None);
        assert!(lookups.of_entry(of_tasks.entry(1).or_insert_with(async { 3 }).await).is_fresh());
        assert_eq!(lookups.of(of_tasks.get(&1).await), Some(3));
        for _ in 0..97 {
            lookups.of(of_tasks.get(&9).await);
        }
        of_tasks.run_pending_tasks().await;
        let outcome = run(&check).await;
        assert_eq!((reason(&outcome), outcome.metadata()["hit_rate"].as_f64()), ("threshold", Some(0.01)));
        assert_eq!(
            outcome.metadata()["cache"].to_string(),
            r#"{"hits":1,"misses":99,"entries":1,"size":1,"capacity":10}"#
        );
    }
}
