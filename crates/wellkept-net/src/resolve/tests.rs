//! The claims of the resolver, held against lookups that answer when told to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn options(threads: usize, queue: usize) -> ResolverOptions {
    ResolverOptions { threads, queue, ..ResolverOptions::default() }
}

/// A resolver whose lookups hang until the returned sender is dropped, and the number of lookups begun.
fn hanging(options: ResolverOptions) -> (Arc<Resolver>, mpsc::Sender<()>, Arc<AtomicUsize>) {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let resolver = Resolver::with_lookup(options, move |_name| {
        count.fetch_add(1, Ordering::SeqCst);
        // Whoever does not hold the lock waits for the one that does, which waits for the sender to go.
        let _ = gate.lock().unwrap().recv();
        Ok(vec![HERE])
    });
    (Arc::new(resolver), release, begun)
}

/// Waits until `condition` holds, which the pool's threads bring about; fails after ten seconds.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "never came true: {what}");
        std::thread::yield_now();
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_hanging_names_end_at_the_deadline_on_four_threads() {
    let (resolver, release, _begun) = hanging(options(4, 100));
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let resolver = Arc::clone(&resolver);
        asked.spawn(async move { resolver.resolve(&format!("name-{number}.example"), deadline).await });
    }
    let answers = asked.join_all().await;
    assert_eq!(Instant::now(), deadline);
    let refused = answers.iter().filter(|answer| **answer == Err(ResolveError::Exhausted)).count();
    let late = answers.iter().filter(|answer| **answer == Err(ResolveError::Timeout)).count();
    assert_eq!(refused + late, 1_000);
    // The queue and, as far as they had already taken a name, the threads.
    assert!((100..=104).contains(&late), "{late} waited");
    assert!((3..=4).contains(&resolver.stats().threads), "{:?}", resolver.stats());
    assert_eq!(resolver.stats().refused, refused as u64);

    // What nobody waits for any more makes room for those who come now. The threads live by the real clock.
    tokio::time::resume();
    let later = Instant::now() + Duration::from_secs(10);
    let resolve_anew = resolver.resolve("another.example", later);
    let release_soon = async { drop(release) };
    let (answer, ()) = tokio::join!(resolve_anew, release_soon);
    assert_eq!(answer.as_deref(), Ok(&[HERE][..]));
    eventually("the queue is empty", || resolver.stats().queued == 0);
}

#[tokio::test]
async fn names_that_are_known_are_answered_at_once_while_a_thousand_others_hang() {
    let (release, gate) = mpsc::channel::<()>();
    let (gate, begun) = (Mutex::new(gate), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&begun);
    let resolver = Resolver::with_lookup(ResolverOptions::default(), move |name| {
        if name.starts_with("hangs") {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = gate.lock().unwrap().recv();
        }
        Ok(vec![HERE])
    });
    let resolver = Arc::new(resolver);
    let later = Instant::now() + Duration::from_secs(60);
    for number in 0..20 {
        resolver.resolve(&format!("known-{number}.example"), later).await.unwrap();
    }
    let mut hanging = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let resolver = Arc::clone(&resolver);
        hanging.spawn(async move { resolver.resolve(&format!("hangs-{number}.example"), later).await });
    }
    tokio::task::yield_now().await;
    eventually("twelve of sixteen threads hang", || begun.load(Ordering::SeqCst) == 12);
    for number in 0..20 {
        let soon = Instant::now() + Duration::from_secs(5);
        assert!(resolver.resolve(&format!("known-{number}.example"), soon).await.is_ok(), "{number}");
    }
    assert!(resolver.stats().threads <= 16 && begun.load(Ordering::SeqCst) == 12, "{:?}", resolver.stats());
    assert_eq!(resolver.resolve("new.example", Instant::now()).await, Err(ResolveError::Timeout));
    drop(release);
    assert!(hanging.join_all().await.iter().all(Result::is_ok));
    assert!(resolver.resolve("new.example", later).await.is_ok());
}

#[test]
fn a_name_is_known_by_its_latest_lookup_and_no_more_are_than_may_be() {
    let taken = |name: String, is_known| Taken { name: name.into(), is_known };
    let mut state = State { others: MOST_KNOWN + 2, ..State::default() };
    state.ended(&taken("db".into(), false), QUICK);
    assert!(state.known.contains("db"));
    state.ended(&taken("db".into(), true), QUICK + Duration::from_millis(1));
    assert!(!state.known.contains("db"));
    for number in 0..=MOST_KNOWN {
        state.ended(&taken(number.to_string(), false), Duration::ZERO);
    }
    assert_eq!((state.known.len(), state.others), (1, 0));
}

#[tokio::test]
async fn all_who_ask_for_a_name_share_one_flight() {
    let (resolver, release, begun) = hanging(options(4, 100));
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let resolver = Arc::clone(&resolver);
        asked.spawn(async move { resolver.resolve("db.example", deadline).await });
    }
    // Each task joins the flight when first polled, and this test's runtime polls them in turn.
    tokio::task::yield_now().await;
    drop(release);
    for answer in asked.join_all().await {
        assert_eq!(answer.as_deref(), Ok(&[HERE][..]));
    }
    assert_eq!(begun.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_name_nobody_waits_for_any_more_is_not_looked_up() {
    let (resolver, release, begun) = hanging(options(1, 100));
    let first = Arc::clone(&resolver);
    let later = Instant::now() + Duration::from_secs(10);
    let first = tokio::spawn(async move { first.resolve("first.example", later).await });
    tokio::task::yield_now().await;
    eventually("the first lookup hangs", || begun.load(Ordering::SeqCst) == 1);
    assert_eq!(resolver.resolve("second.example", Instant::now()).await, Err(ResolveError::Timeout));
    assert_eq!(resolver.stats().queued, 1);
    drop(release);
    assert_eq!(first.await.unwrap().as_deref(), Ok(&[HERE][..]));
    eventually("the queue is empty", || resolver.stats().queued == 0 && resolver.stats().idle == 1);
    assert_eq!(begun.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_address_never_waits_for_a_thread() {
    let resolver = Resolver::with_lookup(options(1, 0), |_name| panic!("looked up"));
    let now = Instant::now();
    for (host, address) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[2001:db8::1]", "2001:db8::1")] {
        let expected: IpAddr = address.parse().unwrap();
        assert_eq!(resolver.resolve(host, now).await.as_deref(), Ok(&[expected][..]));
    }
    assert_eq!(resolver.stats().threads, 0);
}

#[tokio::test]
async fn each_failure_has_its_error() {
    let resolver = Resolver::with_lookup(options(2, 10), |name| match name {
        "empty.example" => Ok(Vec::new()),
        "panics.example" => panic!("on purpose"),
        _ => Err(io::Error::other("Name or service not known")),
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    let failed = ResolveError::Failed("Name or service not known".to_owned());
    assert_eq!(resolver.resolve("missing.example", deadline).await, Err(failed));
    assert_eq!(resolver.resolve("empty.example", deadline).await, Err(ResolveError::NoAddress));
    let panicked = resolver.resolve("panics.example", deadline).await.unwrap_err();
    assert_eq!(panicked.code(), "dns");
    for name in ["", "two words", "line\nbreak", "nul\0byte", &"a".repeat(254)] {
        assert_eq!(resolver.resolve(name, deadline).await, Err(ResolveError::InvalidName), "{name:?}");
    }
}

#[tokio::test]
async fn threads_end_when_there_is_nothing_to_do() {
    let idle = Duration::from_millis(1);
    let resolver = Resolver::with_lookup(ResolverOptions { idle, ..options(3, 10) }, |_name| Ok(vec![HERE]));
    let deadline = Instant::now() + Duration::from_secs(10);
    assert_eq!(resolver.resolve("db.example", deadline).await.as_deref(), Ok(&[HERE][..]));
    eventually("no thread is left", || resolver.stats().threads == 0);
    assert_eq!(resolver.resolve("db.example", deadline).await.as_deref(), Ok(&[HERE][..]));
}

#[tokio::test]
async fn the_system_knows_localhost() {
    let addresses = resolve("localhost", Instant::now() + Duration::from_secs(10)).await.unwrap();
    assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
}
