//! Real workers, of the current release and of an older one, on both brokers.

use std::sync::Arc;

use tokio::runtime::Runtime;
use wellkept_testkit::{CeleryOptions, CeleryRelease, CeleryWorker, RabbitMq, Signal, until, until_some};

use super::*;

/// Workers take seconds to start, and heartbeats come every two.
const PATIENCE: Duration = Duration::from_secs(60);

/// A check with a runtime of its own, as the test itself waits for processes.
struct Watch {
    check: Celery,
    runtime: Runtime,
}

impl Watch {
    fn new(broker: &str, change: impl FnOnce(&mut Options)) -> Self {
        // Events come in on its thread while the test waits.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { check: check(broker, change), runtime }
    }

    fn run(&self) -> Outcome {
        self.runtime.block_on(run(&self.check))
    }

    /// One run that is dropped while it waits for answers.
    fn run_cut_off(&self) {
        let cut = Duration::from_millis(200);
        let outcome = self.runtime.block_on(async { tokio::time::timeout(cut, run(&self.check)).await });
        assert!(outcome.is_err(), "{outcome:?}");
    }

    /// Runs until an outcome has this message and this state of a worker.
    #[track_caller]
    fn comes_to(&self, message: &str, name: &str, state: &str) -> Outcome {
        until_some(PATIENCE, &format!("{message:?} and {name} {state}"), || {
            let outcome = self.run();
            let is_state = outcome.metadata().get("names").is_some_and(|names| names[name] == state);
            (outcome.message() == message && is_state).then_some(outcome)
        })
    }
}

fn passive(options: &mut Options) {
    // Three heartbeats.
    options.silent_after = Duration::from_secs(6);
}

fn active(options: &mut Options) {
    passive(options);
    options.mode = Mode::Active;
}

fn events(options: &mut Options) {
    passive(options);
    options.mode = Mode::Events;
}

/// A broker of a test's own.
enum Broker {
    Redis(Box<Redis>),
    RabbitMq { server: Arc<RabbitMq>, virtual_host: String },
}

impl Broker {
    fn redis() -> Self {
        Self::Redis(Box::new(Redis::start()))
    }

    fn rabbitmq(virtual_host: String) -> Self {
        let server = RabbitMq::shared();
        server.virtual_host(&virtual_host);
        Self::RabbitMq { server, virtual_host }
    }

    fn both(name: &str) -> [Self; 2] {
        [Self::redis(), Self::rabbitmq(name.to_owned())]
    }

    fn url(&self) -> String {
        match self {
            Self::Redis(redis) => redis.url(),
            Self::RabbitMq { server, virtual_host } => server.url(virtual_host),
        }
    }

    fn worker(&self, release: CeleryRelease, pool: &'static str) -> CeleryWorker {
        CeleryWorker::start(&self.url(), "w", CeleryOptions { release, pool, ..CeleryOptions::default() })
    }

    /// The names of all that is kept in it.
    fn kept(&self) -> String {
        match self {
            Self::Redis(redis) => keys(redis),
            Self::RabbitMq { server, virtual_host } => {
                let of = |what| server.ask(&format!("/api/{what}/{virtual_host}?columns=name"));
                let names = ["queues", "exchanges"].map(|what| of(what).to_string());
                names.join("\n")
            }
        }
    }

    /// Whether no worker is connected any more.
    fn is_left(&self) -> bool {
        match self {
            // Those of the checks.
            Self::Redis(redis) => redis.execute(&["PUBSUB", "NUMPAT"]) == "1",
            Self::RabbitMq { server, virtual_host } => {
                !server.ask(&format!("/api/queues/{virtual_host}?columns=name")).to_string().contains("pidbox")
            }
        }
    }
}

/// Waits until a worker listens for commands: a moment after it says that it is ready.
#[track_caller]
fn listened_to(broker: &str) {
    let watch = Watch::new(broker, passive);
    until(PATIENCE, "a worker to listen", || reason(&watch.run()) == "pass");
}

/// For a pool whose main process answers while it works.
fn a_worker_is_followed_through_its_life(broker: &Broker, release: CeleryRelease, pool: &'static str) {
    let mut worker = broker.worker(release, pool);
    let before = broker.kept();
    listened_to(&broker.url());
    for change in [passive, active] {
        let watch = Watch::new(&broker.url(), change);
        assert_eq!(told(&watch.run()), (Verdict::Pass, "pass", ""));
        let outcome = watch.comes_to("", worker.name(), "idle");
        assert_eq!(outcome.metadata()["workers"], 1, "{outcome:?}");
    }
    until(PATIENCE, "the broker to be as before", || broker.kept() == before);

    let watches = [passive, active].map(|change| Watch::new(&broker.url(), change));
    worker.occupy();
    for watch in &watches {
        watch.comes_to("", worker.name(), "busy");
    }
    worker.signal(Signal::TERM);
    for watch in &watches {
        let message = "no worker takes tasks: the last ones drain or have ended";
        let outcome = watch.comes_to(message, worker.name(), "draining");
        assert_eq!(told(&outcome).1, "not_ready");
    }
    worker.release();
    assert!(worker.wait().success(), "{}", worker.output());
    assert!(!worker.output().contains("Traceback"), "{}", worker.output());
}

#[test]
fn a_prefork_worker_of_the_current_release_is_followed_through_its_life() {
    for broker in Broker::both("prefork") {
        a_worker_is_followed_through_its_life(&broker, CeleryRelease::Current, "prefork");
    }
}

#[test]
fn a_prefork_worker_of_an_older_release_is_followed_through_its_life() {
    for broker in Broker::both("older") {
        a_worker_is_followed_through_its_life(&broker, CeleryRelease::Older, "prefork");
    }
}

#[test]
fn a_worker_with_threads_is_followed_through_its_life() {
    for broker in Broker::both("threads") {
        for release in CeleryRelease::ALL {
            a_worker_is_followed_through_its_life(&broker, release, "threads");
        }
    }
}

/// The keys that are not the workers', with the milliseconds that each has left; negative when it stays.
fn own_keys(redis: &Redis) -> Vec<(String, i64)> {
    let keys = redis.execute(&["KEYS", "*wellkept*"]);
    let keys = keys.lines().filter(|key| !key.is_empty());
    keys.map(|key| (key.to_owned(), redis.execute(&["PTTL", key]).parse().unwrap())).collect()
}

#[test]
fn a_busy_solo_worker_is_silent_and_its_late_answer_leaves_nothing() {
    for release in CeleryRelease::ALL {
        for broker in Broker::both(&format!("solo-{release:?}")) {
            let worker = broker.worker(release, "solo");
            let before = broker.kept();
            let watch = Watch::new(&broker.url(), active);
            let tolerant = Watch::new(&broker.url(), |options| {
                active(options);
                options.workers.silent = Silent::Degraded;
                options.reply_within = Duration::from_millis(50);
            });
            watch.comes_to("", worker.name(), "idle");
            worker.occupy();
            let outcome = watch.run();
            assert_eq!(told(&outcome), (Verdict::Fail, "timeout", "workers give no sign"), "{outcome:?}");
            assert_eq!(outcome.metadata()["silent"], 1);
            assert_eq!(told(&tolerant.run()), (Verdict::Warn, "timeout", "workers give no sign"));
            if let Broker::Redis(redis) = &broker {
                assert_eq!(own_keys(redis), []);
            }
            // It answers what it was asked long ago, and then to a run that waits for it.
            worker.release();
            watch.comes_to("", worker.name(), "idle");
            drop((watch, tolerant));
            until(PATIENCE, "the broker to be as before", || broker.kept() == before);
            assert!(!worker.output().contains("Traceback"), "{}", worker.output());
        }
    }
}

#[test]
fn a_prober_that_is_cut_off_leaves_keys_that_expire_and_a_late_answer_none() {
    for release in CeleryRelease::ALL {
        let redis = Redis::start();
        let worker = CeleryWorker::start(
            &redis.url(),
            "w",
            CeleryOptions { release, pool: "solo", ..CeleryOptions::default() },
        );
        let before = keys(&redis);
        let watch = Watch::new(&redis.url(), active);
        watch.comes_to("", worker.name(), "idle");
        worker.occupy();
        watch.run_cut_off();
        let left = own_keys(&redis);
        let find = |part: &str| left.iter().find(|(key, _)| key.contains(part)).unwrap();
        // The way to the list goes before the list.
        let (way, list) = (find("_kombu.binding."), find("wellkept.reply."));
        assert!(way.1 > 0 && list.1 > way.1, "{left:?}");
        worker.release();
        until(PATIENCE, "the late answer", || redis.execute(&["LLEN", &list.0]) == "2");
        assert!(own_keys(&redis).iter().all(|(_, left)| *left > 0), "{:?}", own_keys(&redis));

        // When both have gone, as they do by themselves, a late answer brings neither back.
        worker.occupy();
        watch.run_cut_off();
        for (key, _) in own_keys(&redis) {
            redis.execute(&["DEL", &key]);
        }
        worker.release();
        watch.comes_to("", worker.name(), "idle");
        assert_eq!(keys(&redis), before);
        assert!(!worker.output().contains("Traceback"), "{}", worker.output());
    }
}

#[test]
fn a_killed_worker_is_gone_at_once_and_a_stopped_one_is_silent() {
    for broker in Broker::both("killed") {
        let mut worker = broker.worker(CeleryRelease::Current, "prefork");
        let watches = [passive, active].map(|change| Watch::new(&broker.url(), change));
        for watch in &watches {
            watch.comes_to("", worker.name(), "idle");
        }
        worker.signal(Signal::STOP);
        for watch in &watches {
            let outcome = watch.comes_to("workers give no sign", worker.name(), "silent");
            assert_eq!((told(&outcome).0, told(&outcome).1), (Verdict::Fail, "timeout"));
        }
        worker.signal(Signal::CONT);
        for watch in &watches {
            watch.comes_to("", worker.name(), "idle");
        }
        worker.kill();
        until(PATIENCE, "the broker to notice", || broker.is_left());
        for watch in &watches {
            assert_eq!(told(&watch.run()), (Verdict::Fail, "not_ready", "no worker is there"));
        }
    }
}

#[test]
fn a_worker_without_remote_control_is_known_by_its_heartbeats() {
    for broker in Broker::both("uncontrolled") {
        let settings = r#"{"worker_enable_remote_control": false}"#;
        let worker = CeleryWorker::start(&broker.url(), "w", CeleryOptions { settings, ..CeleryOptions::default() });
        for change in [passive, events] {
            Watch::new(&broker.url(), change).comes_to("", worker.name(), "idle");
        }
        let outcome = Watch::new(&broker.url(), active).run();
        assert_eq!(told(&outcome), (Verdict::Fail, "not_ready", "no worker is there"));
    }
}

#[test]
fn workers_are_counted_and_looked_for_by_name_behind_other_names_and_prefixes() {
    for broker in Broker::both("names") {
        let is_redis = matches!(broker, Broker::Redis(_));
        let url = if is_redis { broker.url().replace("/0", "/5") } else { broker.url() };
        let settings = if is_redis {
            r#"{"control_exchange": "shop", "event_exchange": "shopev", "worker_prefetch_multiplier": 1,
                "broker_transport_options": {"global_keyprefix": "shop:", "fanout_prefix": "/shop-{db}."}}"#
        } else {
            r#"{"control_exchange": "shop", "event_exchange": "shopev", "worker_prefetch_multiplier": 1}"#
        };
        let options = CeleryOptions { settings, ..CeleryOptions::default() };
        let first = CeleryWorker::start(&url, "first", options.clone());
        let _second = CeleryWorker::start(&url, "second", options);
        let with = |mode, minimum, names: &[&str]| {
            Watch::new(&url, |options| {
                passive(options);
                options.mode = mode;
                options.namespace = "shop".to_owned();
                options.event_exchange = "shopev".to_owned();
                if is_redis {
                    options.global_keyprefix = "shop:".to_owned();
                    options.fanout_prefix = "/shop-{db}.".to_owned();
                }
                options.queues = vec![Queue::new("celery")];
                options.workers.minimum = minimum;
                options.workers.names = names.iter().map(|name| (*name).to_owned()).collect();
            })
        };
        until(PATIENCE, "workers to listen", || reason(&with(Mode::Active, 2, &[]).run()) == "pass");
        for mode in [Mode::Passive, Mode::Active, Mode::Events] {
            let outcome = with(mode, 2, &["first", "second@here"]).run();
            assert_eq!(told(&outcome), (Verdict::Pass, "pass", ""), "{mode:?} {outcome:?}");
            assert_eq!(outcome.metadata()["workers"], 2);
            let outcome = with(mode, 2, &["first", "third"]).run();
            assert_eq!(told(&outcome), (Verdict::Fail, "not_ready", "a worker is missing"), "{mode:?} {outcome:?}");
            assert_eq!(outcome.detail(), "2 of 2 there; missing: third");
        }
        for mode in [Mode::Passive, Mode::Active] {
            let outcome = with(mode, 3, &[]).run();
            assert_eq!(told(&outcome).2, "fewer workers than there should be", "{mode:?} {outcome:?}");
        }
        // Each works on one task and has taken another in advance: the fifth waits.
        for _ in 0..5 {
            first.send();
        }
        let long = with(Mode::Passive, 2, &[]);
        until(PATIENCE, "a task to wait", || long.run().metadata()["queues"]["celery"]["length"] != 0);
    }
}

#[test]
fn the_verdict_comes_with_the_last_answer() {
    for broker in Broker::both("answers") {
        let worker = broker.worker(CeleryRelease::Current, "prefork");
        let watch = Watch::new(&broker.url(), active);
        watch.comes_to("", worker.name(), "idle");
        let took = (0..50).map(|_| {
            let begun = std::time::Instant::now();
            assert_eq!(reason(&watch.run()), "pass");
            begun.elapsed()
        });
        // A busy machine makes some runs slow. What a run would wait for without need is far longer.
        let fastest = took.min().unwrap();
        assert!(fastest < Duration::from_millis(50), "{fastest:?}");
    }
}
