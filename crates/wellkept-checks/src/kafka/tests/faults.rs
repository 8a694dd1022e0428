//! What no broker at hand can be brought to, on fake ones.

use kafka_protocol::messages::ApiKey;
use wellkept_health::Verdict;

use super::fake::{Fake, all_versions};
use super::{check, told};
use crate::kafka::{Kafka, Lag, Mechanism, Options};
use crate::testing::{PLANTED, assert_keeps_secrets, reason, run, run_into_timeout};

/// Three brokers, on which a topic's partitions have a leader each, and a group that has two messages before it.
async fn cluster() -> Fake {
    let fake = Fake::start(3).await;
    let mut state = fake.state();
    state.coordinator = 2;
    state.topics.insert("orders", (0, vec![(0, 3), (1, 3), (2, 3)]));
    state.committed = [(("orders", 0), 10), (("orders", 1), 10)].into();
    state.ends = [(("orders", 0), 12), (("orders", 1), 10), (("orders", 2), 7)].into();
    drop(state);
    fake
}

fn following(fake: &Fake, change: impl FnOnce(&mut Options)) -> Kafka {
    check(&fake.addresses[0], |options| {
        options.topics = vec!["orders".to_owned()];
        options.group = Some("billing".to_owned());
        change(options);
    })
}

#[tokio::test]
async fn each_broker_is_asked_once_per_run_on_one_connection() {
    let fake = cluster().await;
    let check = following(&fake, |_| {});
    let first = run(&check).await;
    assert_eq!(reason(&first), "pass", "{first:?}");
    assert_eq!(first.metadata()["group"]["lag"], 2);
    fake.asked();
    for _ in 0..50 {
        assert_eq!(reason(&run(&check).await), "pass");
        let mut asked: Vec<_> = fake.asked().into_iter().map(|(node, key, _)| (node, key)).collect();
        asked.sort_by_key(|(node, key)| (*node, *key as i16));
        let of_the_coordinator = [ApiKey::ListOffsets, ApiKey::Metadata, ApiKey::OffsetFetch, ApiKey::DescribeGroups];
        let of_the_coordinator = of_the_coordinator.into_iter().chain([ApiKey::ConsumerGroupDescribe]);
        let expected: Vec<_> = [(0, ApiKey::ListOffsets), (1, ApiKey::ListOffsets)]
            .into_iter()
            .chain(of_the_coordinator.map(|key| (2, key)))
            .collect();
        assert_eq!(asked, expected);
    }
    assert_eq!(fake.state().connections, 3);
}

#[tokio::test]
async fn every_version_of_the_protocol_tells_the_same() {
    for back in 0..12 {
        let fake = cluster().await;
        fake.state().versions = match back {
            0 => all_versions,
            1 => |key| only(key, 0),
            2 => |key| only(key, 1),
            3 => |key| only(key, 2),
            4 => |key| only(key, 3),
            5 => |key| only(key, 4),
            6 => |key| only(key, 5),
            7 => |key| only(key, 6),
            8 => |key| only(key, 7),
            9 => |key| only(key, 8),
            10 => |key| only(key, 11),
            _ => |key| only(key, i16::MAX),
        };
        let outcome = run(&following(&fake, |_| {})).await;
        assert_eq!(reason(&outcome), "pass", "{back}: {outcome:?}");
        let group = &outcome.metadata()["group"];
        assert_eq!((&group["lag"], &group["members"]), (&2.into(), &1.into()), "{back}: {outcome:?}");
    }
}

/// The version that is so many above the lowest one of those that are spoken, and no other.
#[expect(clippy::reversed_empty_ranges, reason = "an empty range says that nothing is spoken")]
fn only(key: ApiKey, above: i16) -> std::ops::RangeInclusive<i16> {
    let (first, last) = match key {
        ApiKey::ListOffsets => (1, 7),
        ApiKey::Metadata => (4, 12),
        ApiKey::OffsetFetch => (2, 8),
        ApiKey::FindCoordinator => (1, 4),
        ApiKey::DescribeGroups => (0, 6),
        ApiKey::SaslAuthenticate => (0, 2),
        ApiKey::ConsumerGroupDescribe if above < 5 => return 1..=0,
        ApiKey::ConsumerGroupDescribe => return if above == 5 { 0..=0 } else { 1..=1 },
        _ => return all_versions(key),
    };
    let version = last.min(above.saturating_add(first));
    version..=version
}

#[tokio::test]
async fn a_group_of_the_new_protocol_is_found_by_the_new_question() {
    for versions in [all_versions, |key| only(key, 5)] {
        let fake = cluster().await;
        fake.state().versions = versions;
        fake.state().speaks_new_protocol = true;
        let check = following(&fake, |_| {});
        let outcome = run(&check).await;
        assert_eq!(reason(&outcome), "pass", "{outcome:?}");
        fake.state().group_state = "Reconciling";
        assert_eq!(run(&check).await.metadata()["group"]["state"], "Reconciling");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_cluster_is_told_apart() {
    let fake = cluster().await;
    let check = following(&fake, |options| {
        options.min_brokers = 3;
        options.min_in_sync = 2;
    });
    assert_eq!(reason(&run(&check).await), "pass");
    let (fail, warn) = (Verdict::Fail, Verdict::Warn);

    fake.state().controller = -1;
    let outcome = run(&check).await;
    assert_eq!(told(&outcome), (warn, "not_ready", "the cluster has no controller"));
    assert!(outcome.metadata().get("controller").is_none());
    fake.state().controller = 1;

    fake.state().topics.insert("orders", (0, vec![(0, 3), (1, 2), (2, 3)]));
    let outcome = run(&check).await;
    assert_eq!(told(&outcome), (warn, "not_ready", "a partition has replicas that are not in sync"));
    assert_eq!(outcome.detail(), "orders: 1 of 3 partitions, 1");
    fake.state().topics.insert("orders", (0, vec![(0, 1), (1, 2), (2, 3)]));
    assert_eq!(told(&run(&check).await), (fail, "not_ready", "a partition has too few replicas in sync"));
    fake.state().topics.insert("orders", (0, vec![(0, 3), (-1, 0), (2, 3)]));
    let outcome = run(&check).await;
    assert_eq!(told(&outcome), (fail, "not_ready", "a partition has no leader"), "{outcome:?}");
    assert_eq!(outcome.metadata()["topics"]["orders"]["without_leader"], 1);
    // The others are still told of.
    assert_eq!(run(&check).await.metadata()["group"]["partitions"], 2);

    for (code, reason, message) in [
        (3, "unexpected", "a topic does not exist"),
        (29, "auth", "user may not see a topic"),
        (5, "not_ready", "a topic has no leader yet"),
        (17, "unexpected", "no topic can have this name"),
    ] {
        fake.state().topics.insert("orders", (code, Vec::new()));
        assert_eq!(told(&run(&check).await), (fail, reason, message));
    }
    fake.state().topics.remove("orders");
    assert_eq!(told(&run(&check).await).2, "a topic does not exist");
    fake.state().topics.insert("orders", (0, vec![(0, 3), (1, 3), (2, 3)]));
    assert_eq!(reason(&run(&check).await), "pass");

    // Nobody leads there, and nobody is asked there.
    fake.state().topics.insert("orders", (0, vec![(0, 3), (0, 3), (2, 3)]));
    fake.state().told = 2;
    fake.state().coordinator = 0;
    let outcome = run(&check).await;
    assert_eq!(told(&outcome), (fail, "not_ready", "the cluster has too few brokers"), "{outcome:?}");
    assert!(outcome.detail().starts_with("2 of 3"), "{outcome:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_group_is_told_apart_and_a_rebalance_is_nothing_wrong() {
    let fake = cluster().await;
    let check = following(&fake, |options| options.min_members = 2);
    let (fail, pass) = (Verdict::Fail, (Verdict::Pass, "pass", ""));
    for (state, members, expected) in [
        ("Stable", 2, pass),
        ("PreparingRebalance", 2, pass),
        ("CompletingRebalance", 3, pass),
        ("Assigning", 2, pass),
        ("Stable", 1, (fail, "not_ready", "the group has too few members")),
        ("Empty", 0, (fail, "not_ready", "the group has no members")),
        ("Dead", 0, (fail, "unexpected", "the group does not exist")),
    ] {
        (fake.state().group_state, fake.state().members) = (state, members);
        let outcome = run(&check).await;
        assert_eq!(told(&outcome), expected, "{state}: {outcome:?}");
        assert_eq!(outcome.metadata()["group"]["state"], state);
    }
    (fake.state().group_state, fake.state().members) = ("Stable", 2);
    for (code, reason, message) in [
        (30, "auth", "user may not see the group"),
        (14, "not_ready", "the group's coordinator is loading"),
        (15, "not_ready", "the group has no coordinator"),
        (-1, "error", "refused by the broker"),
    ] {
        fake.state().group_code = code;
        assert_eq!(told(&run(&check).await), (fail, reason, message));
    }
    fake.state().group_code = 0;
    let fresh = following(&fake, |_| {});
    fake.state().coordinator_code = 15;
    assert_eq!(told(&run(&fresh).await), (fail, "not_ready", "the group has no coordinator"));
    fake.state().coordinator_code = 0;
    assert_eq!(told(&run(&fresh).await), pass);
}

#[tokio::test]
async fn who_has_moved_is_found_within_the_run() {
    let fake = cluster().await;
    let check = following(&fake, |_| {});
    assert_eq!(reason(&run(&check).await), "pass");
    // The coordinator says that it is none any more, and a leader that it leads no more.
    fake.state().group_code = 16;
    assert_eq!(told(&run(&check).await).2, "the group has no coordinator");
    fake.state().group_code = 0;
    fake.state().coordinator = 1;
    fake.state().topics.insert("orders", (0, vec![(1, 3), (1, 3), (1, 3)]));
    let outcome = run(&check).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    fake.asked();
    assert_eq!(reason(&run(&check).await), "pass");
    assert!(fake.asked().iter().all(|(node, ..)| *node == 1));
    let end = fake.state().ends.remove(&("orders", 0)).unwrap();
    let outcome = run(&check).await;
    assert_eq!(outcome.metadata()["group"]["partitions"], 2, "{outcome:?}");
    fake.state().ends.insert(("orders", 0), end);
    assert_eq!(run(&check).await.metadata()["group"]["partitions"], 3);
}

#[tokio::test]
async fn the_others_take_over_from_a_broker_that_dies() {
    let mut fake = cluster().await;
    let check = following(&fake, |_| {});
    assert_eq!(reason(&run(&check).await), "pass");
    // It led a partition and coordinated the group. At first nobody has noticed.
    fake.kill(2).await;
    let outcome = run(&check).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "refused", "connection refused"), "{outcome:?}");
    assert!(outcome.detail().contains(&fake.addresses[2]), "{outcome:?}");
    assert_eq!(outcome.metadata()["brokers"], 3);
    fake.state().told = 2;
    fake.state().coordinator = 1;
    fake.state().topics.insert("orders", (0, vec![(0, 2), (1, 2), (0, 2)]));
    let outcome = run(&check).await;
    assert_eq!(told(&outcome).2, "a partition has replicas that are not in sync", "{outcome:?}");
    assert_eq!(outcome.metadata()["group"]["partitions"], 3);
    // Nor was a connection opened in vain, once it was known.
    let connections = fake.state().connections;
    assert_eq!(run(&check).await.verdict(), Verdict::Warn);
    assert_eq!(fake.state().connections, connections);
}

#[tokio::test]
async fn who_has_moved_away_from_a_frozen_broker_is_found_by_the_next_run() {
    let fake = cluster().await;
    let check = following(&fake, |_| {});
    assert_eq!(reason(&run(&check).await), "pass");
    fake.state().frozen = Some(2);
    run_into_timeout(&check).await;
    fake.state().coordinator = 1;
    fake.state().topics.insert("orders", (0, vec![(0, 3), (1, 3), (0, 3)]));
    let outcome = run(&check).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    assert_eq!(outcome.metadata()["group"]["partitions"], 3);
}

#[tokio::test]
async fn lag_is_held_against_its_limits() {
    let fake = cluster().await;
    let limited = |degraded_above, unhealthy_above| {
        let lag = Lag { degraded_above, unhealthy_above, ..Lag::default() };
        following(&fake, |options| options.lag = lag)
    };
    assert_eq!(told(&run(&limited(Some(2), Some(2))).await).1, "pass");
    let behind = "the group is 2 messages behind";
    assert_eq!(told(&run(&limited(Some(1), Some(2))).await), (Verdict::Warn, "threshold", behind));
    let check = limited(Some(0), Some(1));
    assert_eq!(told(&run(&check).await), (Verdict::Fail, "threshold", behind));
    fake.state().committed.insert(("orders", 0), 11);
    let outcome = run(&check).await;
    assert_eq!(told(&outcome), (Verdict::Warn, "threshold", "the group is 1 message behind, and catching up"));
    assert_eq!(outcome.metadata()["group"]["pace"], "catching_up");
}

#[tokio::test]
async fn a_group_that_stands_still_is_stuck_however_small_its_lag() {
    let fake = cluster().await;
    let check = following(&fake, |_| {});
    assert_eq!(reason(&run(&check).await), "pass");
    pass_minutes(4).await;
    assert_eq!(reason(&run(&check).await), "pass");
    pass_minutes(1).await;
    let outcome = run(&check).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "stuck", "the group takes none of its messages"), "{outcome:?}");
    assert_eq!(outcome.metadata()["group"]["pace"], "stuck");
    assert!(outcome.detail().starts_with("1 of 3 partitions: orders/0 for 30"), "{outcome:?}");
    // One message taken, and more to do than before.
    fake.state().committed.insert(("orders", 0), 11);
    fake.state().ends.insert(("orders", 0), 1000);
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), &outcome.metadata()["group"]["pace"]), ("pass", &"falling_behind".into()));
    let ends = fake.state().ends.clone();
    fake.state().committed = ends;
    pass_minutes(60).await;
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), &outcome.metadata()["group"]["pace"]), ("pass", &"idle".into()));
}

/// Time goes on at once; only in between does the clock stand, as the brokers' answers take real time.
async fn pass_minutes(minutes: u64) {
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(60 * minutes)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn who_is_not_let_in_hears_why_without_the_password() {
    let fake = cluster().await;
    fake.state().user = Some(("app", PLANTED));
    let with = |mechanism, user: &str, password: &str| {
        let (user, password) = (Some(user.to_owned()), Some(password.into()));
        following(&fake, |options| (options.mechanism, options.user, options.password) = (mechanism, user, password))
    };
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256] {
        let check = with(mechanism, "app", PLANTED);
        let outcome = run(&check).await;
        assert_eq!(reason(&outcome), "pass", "{outcome:?}");
        assert!(!format!("{check:?}").contains(PLANTED));
        for outcome in [run(&with(mechanism, "app", "wrong")).await, run(&with(mechanism, "other", PLANTED)).await] {
            assert_eq!(told(&outcome), (Verdict::Fail, "auth", "user or password not accepted"), "{outcome:?}");
            assert_keeps_secrets(&outcome);
        }
    }
    let outcome = run(&with(Mechanism::ScramSha512, "app", PLANTED)).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "auth", "this way to log in is not offered"), "{outcome:?}");
    assert!(outcome.detail().ends_with("offered: PLAIN, SCRAM-SHA-256"), "{outcome:?}");
    // A broker hangs up on who does not begin with a login.
    assert_eq!(told(&run(&following(&fake, |_| {})).await), (Verdict::Fail, "network", "connection broken"));
}

#[tokio::test]
async fn a_broker_that_is_too_old_is_told_as_such() {
    let fake = cluster().await;
    fake.state().versions = |key| if key == ApiKey::Metadata { 0..=3 } else { all_versions(key) };
    let outcome = run(&following(&fake, |_| {})).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "protocol", "no common version of the protocol"), "{outcome:?}");
}

#[tokio::test]
async fn the_next_address_is_asked_when_one_is_silent_or_refuses() {
    let fake = cluster().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_address = silent.local_addr().unwrap().to_string();
    let closed = wellkept_testkit::free_address().to_string();
    let check = following(&fake, |options| options.brokers = vec![closed.clone(), fake.addresses[1].clone()]);
    assert_eq!(reason(&run(&check).await), "pass");
    let check = following(&fake, |options| options.brokers = vec![silent_address.clone(), fake.addresses[1].clone()]);
    let context = wellkept_health::Context::within(std::time::Duration::from_secs(2));
    let outcome = wellkept_health::Check::run(&check, &context).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");

    let check = following(&fake, |options| options.brokers = vec![closed.clone(), silent_address.clone()]);
    let context = wellkept_health::Context::within(std::time::Duration::from_millis(300));
    let outcome = wellkept_health::Check::run(&check, &context).await;
    assert_eq!(told(&outcome).1, "refused");
    assert!(outcome.detail().contains("also: no answer in time"), "{outcome:?}");
    run_into_timeout(&following(&fake, |options| options.brokers = vec![silent_address])).await;
}
