//! The claims of the check, held against a real broker; [`workers`] holds those about workers against real workers.

mod workers;

use wellkept_health::Verdict;
use wellkept_testkit::{RabbitMq, Redis, RedisOptions, free_port};

use super::*;
use crate::testing::{PLANTED, assert_keeps_secrets, configured, reason, run, run_into_timeout, untrusted_tls_server};

/// A check by what a configuration would say beside the broker.
fn check(broker: &str, change: impl FnOnce(&mut Options)) -> Celery {
    let mut options = Options::new(broker);
    change(&mut options);
    Celery::new(options).unwrap()
}

fn told(outcome: &Outcome) -> (Verdict, &str, &str) {
    (outcome.verdict(), reason(outcome), outcome.message())
}

/// All keys of a Redis, sorted.
fn keys(redis: &Redis) -> String {
    let mut keys: Vec<_> = redis.execute(&["KEYS", "*"]).lines().map(str::to_owned).collect();
    keys.sort();
    keys.join("\n")
}

/// Connections that checks have at the broker, where nobody else has one.
fn connections(redis: &Redis) -> usize {
    redis.execute(&["CLIENT", "LIST"]).lines().filter(|line| !line.contains("cmd=client|list")).count()
}

#[tokio::test]
async fn without_workers_it_says_so_in_both_modes_at_once_and_leaves_no_key() {
    let redis = Redis::start();
    for mode in [Mode::Passive, Mode::Active] {
        let check = check(&redis.url(), |options| options.mode = mode);
        let begun = Instant::now();
        let outcome = run(&check).await;
        assert_eq!(told(&outcome), (Verdict::Fail, "not_ready", "no worker is there"), "{outcome:?}");
        assert!(begun.elapsed() < Options::REPLY_WITHIN / 2, "{:?}", begun.elapsed());
        assert_eq!(outcome.metadata()["workers"], 0);
    }
    assert_eq!(keys(&redis), "");
}

#[tokio::test]
async fn fifty_runs_take_one_connection_and_one_message_each() {
    let redis = Redis::start();
    for mode in [Mode::Passive, Mode::Active, Mode::Events] {
        let check = check(&redis.url(), |options| {
            options.mode = mode;
            options.workers.minimum = 0;
        });
        redis.execute(&["CONFIG", "RESETSTAT"]);
        for _ in 0..50 {
            assert_eq!(reason(&run(&check).await), "pass");
        }
        assert_eq!(connections(&redis), 1);
        let statistics = redis.execute(&["INFO", "commandstats"]);
        let published = statistics.contains("cmdstat_publish:calls=50,");
        assert_eq!(published, mode != Mode::Events, "{statistics}");
        assert!(statistics.contains("cmdstat_psubscribe:calls=1,"), "{statistics}");
    }
}

#[tokio::test]
async fn a_queue_is_as_long_as_the_lists_of_all_its_priorities() {
    let redis = Redis::start();
    for list in ["mail", "mail\x06\x163", "mail\x06\x166", "mail\x06\x169"] {
        redis.execute(&["LPUSH", list, "task"]);
    }
    let check = check(&redis.url(), |options| {
        options.workers.minimum = 0;
        options.queues = vec![Queue { degraded_above: Some(3), ..Queue::new("mail") }, Queue::new("none")];
    });
    let outcome = run(&check).await;
    assert_eq!(told(&outcome), (Verdict::Warn, "threshold", "a queue is too long"));
    assert_eq!(outcome.detail(), "mail: 4 tasks");
    assert_eq!(outcome.metadata()["queues"]["mail"]["length"], 4);
    assert_eq!(outcome.metadata()["queues"]["none"]["length"], 0);
    redis.execute(&["RPOP", "mail\x06\x169"]);
    assert_eq!(reason(&run(&check).await), "pass");
}

#[tokio::test]
async fn a_task_that_stays_at_the_end_of_its_queue_is_too_old_and_one_that_is_taken_is_not() {
    let redis = Redis::start();
    redis.execute(&["LPUSH", "mail", "first", "second"]);
    let check = check(&redis.url(), |options| {
        options.workers.minimum = 0;
        let limit = Some(Duration::from_nanos(1));
        options.queues = vec![Queue { unhealthy_after: limit, ..Queue::new("mail") }];
    });
    assert_eq!(reason(&run(&check).await), "pass");
    let outcome = run(&check).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "threshold", "a task has been waiting for too long"), "{outcome:?}");
    assert_eq!(outcome.metadata()["queues"]["mail"]["oldest_seconds"], 0);
    redis.execute(&["RPOP", "mail"]);
    assert_eq!(reason(&run(&check).await), "pass");
}

#[tokio::test]
async fn a_broker_that_is_gone_frozen_or_back_is_told_as_such() {
    let mut redis = Redis::start_with(RedisOptions { password: Some("p@ss".to_owned()), ..RedisOptions::default() });
    let check = check(&redis.url(), |options| options.mode = Mode::Events);
    assert_eq!(run_into_timeout(&check).await.message(), "no worker has been heard of yet");
    redis.pause();
    assert_eq!(run_into_timeout(&check).await.detail(), "timed out while waiting for the broker's answer");
    redis.resume();
    redis.stop();
    assert_eq!(reason(&run(&check).await), "refused");
    redis.start_again();
    assert_eq!(run_into_timeout(&check).await.message(), "no worker has been heard of yet");
    assert_eq!(connections(&redis), 1);
}

#[tokio::test]
async fn what_a_user_may_not_do_is_an_auth_failure_and_events_take_no_right_to_publish() {
    let redis = Redis::start();
    let url = format!("redis://prober:{PLANTED}@127.0.0.1:{}/3", redis.port());
    let rights = ["+psubscribe", "+ping", "+llen", "+hello", "+select", "~mail*", "&/3.celeryev/worker.*"];
    let secret = format!(">{PLANTED}");
    redis.execute(&[&["ACL", "SETUSER", "prober", "on", "resetchannels", &secret], &rights[..]].concat());
    let with = |mode| {
        check(&url, |options| {
            options.mode = mode;
            options.queues = vec![Queue::new("mail")];
        })
    };
    assert_eq!(run_into_timeout(&with(Mode::Events)).await.message(), "no worker has been heard of yet");
    for mode in [Mode::Passive, Mode::Active] {
        let outcome = run(&with(mode)).await;
        assert_eq!(told(&outcome), (Verdict::Fail, "auth", "user is not permitted"), "{outcome:?}");
        assert_keeps_secrets(&outcome);
    }
    let more = ["+publish", "&/3.celery.pidbox", "+multi", "+exec", "+sadd", "+rpush", "+pexpire", "+lrange", "+del",
        "+client|tracking", "~_kombu.binding.amq.wellkept.*", "~wellkept.reply.*"];
    redis.execute(&[&["ACL", "SETUSER", "prober"], &more[..]].concat());
    for mode in [Mode::Passive, Mode::Active] {
        let outcome = run(&with(mode)).await;
        assert_eq!(told(&outcome), (Verdict::Fail, "not_ready", "no worker is there"), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_rabbitmq_without_workers_is_told_from_one_that_lets_nobody_in() {
    let server = RabbitMq::shared();
    let url = server.virtual_host("empty");
    for mode in [Mode::Passive, Mode::Active] {
        let check = check(&url, |options| {
            options.mode = mode;
            options.queues = vec![Queue::new("celery")];
        });
        // What does not exist yet is asked for in each run anew.
        for _ in 0..3 {
            let outcome = run(&check).await;
            assert_eq!(told(&outcome), (Verdict::Fail, "not_ready", "no worker is there"), "{outcome:?}");
            assert_eq!(outcome.metadata()["queues"]["celery"]["length"], 0);
        }
    }
    let outcome = run(&check(&server.url("missing"), |_| {})).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "unexpected", "virtual host does not exist"), "{outcome:?}");
    server.put("/api/users/worker", &format!(r#"{{"password": "{PLANTED}", "tags": ""}}"#));
    // What the page says of rights, in an empty virtual host.
    let allow = |configure: &str, write: &str, read: &str| {
        let rights = serde_json::json!({ "configure": configure, "write": write, "read": read });
        server.put("/api/permissions/empty/worker", &rights.to_string());
    };
    server.put("/api/exchanges/empty/celery.pidbox", r#"{"type": "fanout"}"#);
    let own = r"amq\.gen-.*";
    let url = url.replace("guest:guest", &format!("worker:{PLANTED}"));
    allow(own, own, &format!("{own}|celeryev"));
    let outcome = run(&check(&url, |_| {})).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "auth", "user is not permitted"), "{outcome:?}");
    assert_keeps_secrets(&outcome);
    let outcome = run_into_timeout(&check(&url, |options| options.mode = Mode::Events)).await;
    assert_eq!(outcome.message(), "no worker has been heard of yet");
    allow(own, &format!(r"{own}|celery\.pidbox"), &format!("{own}|celeryev"));
    let outcome = run(&check(&url, |_| {})).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "not_ready", "no worker is there"), "{outcome:?}");
}

#[tokio::test]
async fn failures_of_the_connection_are_those_of_every_kind() {
    let outcome = run(&check(&format!("redis://:{PLANTED}@127.0.0.1:{}", free_port()), |_| {})).await;
    assert_eq!((reason(&outcome), outcome.message()), ("refused", "connection refused"));
    assert_keeps_secrets(&outcome);
    let port = untrusted_tls_server().await;
    let outcome = run(&check(&format!("rediss://:{PLANTED}@127.0.0.1:{port}"), |_| {})).await;
    assert_eq!((reason(&outcome), outcome.message()), ("tls", "certificate is not trusted"));
    assert_keeps_secrets(&outcome);
}

#[test]
fn a_configuration_is_read_and_what_is_wrong_in_it_is_reported() {
    configured(
        "celery: { broker: 'redis://127.0.0.1/1', mode: active, workers: { minimum: 2, names: [a@b, c], silent: degraded },
            queues: [{ name: mail, degraded_above: 1, unhealthy_above: 2, degraded_after: 1m, unhealthy_after: 2m }],
            reply_within: 2s, silent_after: 20s, namespace: n, event_exchange: e, global_keyprefix: p, fanout_prefix: '' }",
    )
    .unwrap();
    configured("celery: { broker: 'amqp://broker', queues: [{ name: mail, degraded_above: 1 }] }").unwrap();
    let reported = |text: &str| configured(text).unwrap_err();
    let text = reported("celery: { broker: 'amqp://broker', queues: [{ name: mail, degraded_after: 1s }] }");
    assert!(text.contains("can be told on Redis only"), "{text}");
    let text = reported("celery: { broker: 'amqp://broker', global_keyprefix: p }");
    assert_eq!(text, "test.yaml:1:54: is for Redis only");
    let text = reported(&format!("celery: {{ broker: 'http://:{PLANTED}@cache' }}"));
    assert!(text.starts_with("test.yaml:1:19: expected a Redis URL") && !text.contains(PLANTED), "{text}");
    let text = reported("celery: { broker: 'redis://cache', queues: [{ degraded_above: 1 }] }");
    assert!(text.contains("missing key `name`"), "{text}");
    let text = reported("celery: { broker: 'redis://cache', silent_after: 0s }");
    assert_eq!(text, "test.yaml:1:50: must be more than 0");
    let text = reported("celery: { broker: 'redis://cache', workers: { minimun: 1 } }");
    assert!(text.contains("did you mean `minimum`?"), "{text}");
}
