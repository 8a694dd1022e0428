//! What the tracker promises to those who hold its guards and to those who wait.

use std::task::Poll;

use super::*;

#[test]
fn the_limit_refuses_and_an_exempt_request_passes_it() {
    let tracker = Tracker::new(1);
    let first = tracker.start_request().unwrap();
    assert_eq!(tracker.start_request().unwrap_err(), Refused::TooManyInFlight);
    let probe = tracker.start_exempt_request();
    assert_eq!(tracker.in_flight_requests(), 2);
    drop((first, probe));
    assert_eq!(tracker.in_flight_requests(), 0);
    assert!(tracker.start_request().is_ok());
    assert_eq!(tracker.stats().refused_requests_total, 1);
}

#[test]
fn after_the_stop_requests_are_refused_and_those_in_flight_go_on() {
    let tracker = Tracker::default();
    let running = tracker.start_request().unwrap();
    tracker.stop_accepting_new();
    assert!(!tracker.is_accepting_new());
    assert_eq!(tracker.start_request().unwrap_err(), Refused::Draining);
    assert_eq!(tracker.in_flight_requests(), 1);
    drop(running);
    assert_eq!(tracker.in_flight_requests(), 0);
}

#[tokio::test]
async fn the_wait_ends_with_the_last_guard_and_not_before() {
    let tracker = Tracker::default();
    let (connection, one, two) =
        (tracker.register_connection(), tracker.start_request().unwrap(), tracker.start_request().unwrap());
    let mut requests = std::pin::pin!(tracker.requests_ended());
    let mut everything = std::pin::pin!(tracker.idle());
    let poll = |future: std::pin::Pin<&mut dyn Future<Output = ()>>| {
        future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    };
    assert_eq!(poll(requests.as_mut()), Poll::Pending);
    drop(one);
    assert_eq!(poll(requests.as_mut()), Poll::Pending);
    drop(two);
    assert_eq!(poll(requests.as_mut()), Poll::Ready(()));
    assert_eq!(poll(everything.as_mut()), Poll::Pending);
    drop(connection);
    assert_eq!(poll(everything.as_mut()), Poll::Ready(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_end_is_missed_when_ends_and_the_wait_race() {
    for _ in 0..500 {
        let tracker = Tracker::default();
        let guard = tracker.start_request().unwrap();
        let waiter = tokio::spawn({
            let tracker = tracker.clone();
            async move { tracker.requests_ended().await }
        });
        drop(guard);
        tokio::time::timeout(std::time::Duration::from_secs(5), waiter).await.expect("the wait ends").unwrap();
    }
}

#[test]
fn what_has_a_name_is_listed_with_the_oldest_first_until_its_guard_goes() {
    let tracker = Tracker::default();
    let connection = tracker.register_named_connection(Work::new("consumer", "orders").detail("partition 3"));
    let first = tracker.start_work(Work::new("import", "a")).unwrap();
    // Its clock steps by some milliseconds.
    while tracker.in_flight(2).iter().any(|one| one.age.is_zero()) {
        std::thread::yield_now();
    }
    let second = std::thread::scope(|scope| {
        scope.spawn(|| tracker.start_work(Work::new("import", "b")).unwrap()).join().unwrap()
    });
    let _nameless = tracker.start_request().unwrap();
    let names = |limit| tracker.in_flight(limit).into_iter().map(|one| one.name.into_owned()).collect::<Vec<_>>();
    assert_eq!(names(10).len(), 3);
    assert_eq!(names(10).last().unwrap(), "b");
    assert_eq!(names(2).len(), 2);
    let line = tracker.in_flight(10).into_iter().find(|one| one.kind == InFlightKind::Connection).unwrap().to_string();
    assert!(line.starts_with("consumer orders (partition 3) for "), "{line}");
    drop((connection, first));
    assert_eq!(names(10), ["b"]);
    drop(second);
    assert!(names(10).is_empty());
    assert_eq!((tracker.connections(), tracker.in_flight_requests()), (0, 1));
}

#[tokio::test]
async fn a_forced_close_reaches_all_who_hold_something_and_lets_nothing_in() {
    let tracker = Tracker::default();
    let holder = tokio::spawn({
        let tracker = tracker.clone();
        async move {
            let request = tracker.start_request().unwrap();
            let connection = tracker.register_connection();
            assert!(!request.is_cut());
            tokio::join!(request.cut(), connection.cut());
        }
    });
    while tracker.connections() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tracker.force_close_all(), Left { requests: 1, connections: 1 });
    assert_eq!(tracker.start_request().unwrap_err(), Refused::Draining);
    holder.await.unwrap();
    assert!(tracker.drain_connections(Duration::ZERO).await.is_nothing());
}

#[tokio::test(start_paused = true)]
async fn a_drain_tells_what_is_left_when_its_time_is_over() {
    let tracker = Tracker::default();
    let request = tracker.start_request().unwrap();
    let limit = Duration::from_secs(1);
    assert_eq!(tracker.drain_connections(limit).await, Left { requests: 1, connections: 0 });
    drop(request);
    assert!(tracker.drain_connections(limit).await.is_nothing());
}
