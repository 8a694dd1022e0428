//! What a real server may be in: loading, unable to save, full, a replica, a Sentinel, a node of a cluster.

use std::collections::BTreeSet;
use std::thread;

use wellkept_config::FromNode as _;
use wellkept_testkit::RedisServer;

use super::*;

fn told(outcome: &Outcome) -> (Verdict, &str, &str) {
    (outcome.verdict(), reason(outcome), outcome.message())
}

fn with(server: &Server, change: impl FnOnce(&mut Options)) -> Redis {
    let mut options = Options::new(server.url());
    change(&mut options);
    Redis::new(options).unwrap()
}

fn arguments(arguments: &[&str]) -> Server {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    Server::start_with(RedisOptions { arguments, ..RedisOptions::default() })
}

/// Runs again and again until it is so.
async fn until_told(check: &Redis, is_so: impl Fn(&Outcome) -> bool) -> Outcome {
    let running = async {
        loop {
            let outcome = run(check).await;
            if is_so(&outcome) {
                return outcome;
            }
        }
    };
    tokio::time::timeout(PATIENCE, running).await.expect("it is so in time")
}

/// A primary that sends its data at once, and a replica that has them.
async fn replicated() -> (Server, Server) {
    let primary = arguments(&["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]);
    let replica = Server::start();
    replica.execute(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    until_told(&check(replica.url()), |outcome| outcome.metadata().get("link") == Some(&"up".into())).await;
    (primary, replica)
}

#[tokio::test]
async fn a_server_that_loads_its_data_is_not_ready_and_says_how_far_it_is() {
    let debug = ["--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"];
    let server = arguments(&debug);
    server.execute(&["DEBUG", "POPULATE", "20000"]);
    server.execute(&["CONFIG", "SET", "key-load-delay", "1000"]);
    let check = check(server.url());
    thread::scope(|scope| {
        let reloading = scope.spawn(|| server.execute(&["DEBUG", "RELOAD"]));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = scope.spawn(move || runtime.block_on(until_told(&check, |outcome| reason(outcome) != "pass")));
        let outcome = outcome.join().unwrap();
        assert_eq!(told(&outcome), (Verdict::Fail, "not_ready", "server is loading its data"), "{outcome:?}");
        assert!(outcome.metadata()["loaded_percent"].as_f64().unwrap() < 100.0, "{outcome:?}");
        assert!(outcome.metadata().contains_key("loading_eta_s"), "{outcome:?}");
        server.execute(&["CONFIG", "SET", "key-load-delay", "0"]);
        reloading.join().unwrap();
    });
    let outcome = run(&super::check(server.url())).await;
    assert_eq!(reason(&outcome), "pass");
    assert!(!outcome.metadata().contains_key("loaded_percent"), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_cannot_save_refuses_writes_and_is_degraded() {
    let gone = tempfile::tempdir().unwrap();
    let server = arguments(&["--dir", &gone.path().display().to_string(), "--save", "3600 1"]);
    let check = check(server.url());
    assert_eq!(reason(&run(&check).await), "pass");
    gone.close().unwrap();
    server.execute(&["BGSAVE"]);
    let outcome = until_told(&check, |outcome| reason(outcome) != "pass").await;
    let refused = (Verdict::Warn, "not_ready", "writes are refused as the data can't be saved");
    assert_eq!(told(&outcome), refused, "{outcome:?}");
    assert!(outcome.detail().starts_with("MISCONF") && outcome.detail().ends_with("also: the data could not be saved"));
    server.execute(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    assert_eq!(told(&run(&check).await), (Verdict::Warn, "error", "the data could not be saved"));
    // It would not end without having saved.
    server.execute(&["CONFIG", "SET", "save", ""]);
}

#[tokio::test]
async fn memory_is_held_against_its_limits_before_it_is_full() {
    let server = Server::start();
    server.execute(&["CONFIG", "SET", "maxmemory", "4mb"]);
    let limited = |degraded: &str, unhealthy: &str| {
        with(&server, |options| {
            options.memory_degraded_above = Some(Ratio::from_scalar(degraded).unwrap());
            options.memory_unhealthy_above = Some(Ratio::from_scalar(unhealthy).unwrap());
        })
    };
    let outcome = run(&limited("95%", "99%")).await;
    assert_eq!(reason(&outcome), "pass");
    let (name, left) = outcome.remaining().unwrap();
    assert!(name == "memory_left_bytes" && left > 0.0 && left < 4e6, "{outcome:?}");
    let outcome = run(&limited("1%", "99%")).await;
    assert_eq!((outcome.verdict(), reason(&outcome)), (Verdict::Warn, "threshold"), "{outcome:?}");
    assert!(outcome.message().ends_with("% of memory used"), "{outcome:?}");
    assert_eq!(run(&limited("1%", "2%")).await.verdict(), Verdict::Fail);
    server.execute(&["SETRANGE", "large", "4000000", "x"]);
    server.execute(&["SET", "one", "more"]);
    let full = run(&check(server.url())).await;
    assert_eq!(told(&full), (Verdict::Warn, "exhausted", "writes are refused as the memory is full"), "{full:?}");
    assert!(server.execute(&["SET", "another", "x"]).starts_with("OOM"));
}

#[tokio::test]
async fn connections_near_the_limit_are_degraded() {
    let server = Server::start();
    server.execute(&["CONFIG", "SET", "maxclients", "10"]);
    let strict = with(&server, |options| options.connections_degraded_above = Ratio::from_scalar("5%").unwrap());
    let outcome = run(&strict).await;
    assert_eq!((outcome.verdict(), reason(&outcome)), (Verdict::Warn, "threshold"), "{outcome:?}");
    assert!(outcome.message().ends_with("% of connections used"), "{outcome:?}");
    assert_eq!(outcome.remaining().unwrap().0, "connections_left");
    assert_eq!(reason(&run(&check(server.url())).await), "pass");
}

#[tokio::test]
async fn a_replica_is_told_from_its_primary_and_what_happens_to_the_link_is_told() {
    let (mut primary, replica) = replicated().await;
    let expecting = |server: &Server, role| with(server, |options| options.role = role);
    for (server, role, message) in [
        (&primary, Role::Primary, ""),
        (&replica, Role::Replica, ""),
        (&primary, Role::Replica, "server is a primary, a replica is expected"),
        (&replica, Role::Primary, "server is a replica, a primary is expected"),
    ] {
        let outcome = run(&expecting(server, role)).await;
        assert_eq!(outcome.message(), message, "{outcome:?}");
        assert_eq!(outcome.verdict() == Verdict::Fail, !message.is_empty());
    }
    let of_primary = until_told(&check(primary.url()), |outcome| outcome.metadata().contains_key("lag_s")).await;
    assert_eq!((&of_primary.metadata()["replicas"], &of_primary.metadata()["role"]), (&1.into(), &"primary".into()));
    assert!(of_primary.metadata()["lag_s"].as_f64().unwrap() < 5.0, "{of_primary:?}");

    let patient = check(replica.url());
    let strict = with(&replica, |options| options.lag_unhealthy_above = Some(Duration::from_secs(1)));
    primary.stop();
    let outcome = until_told(&patient, |outcome| reason(outcome) != "pass").await;
    assert_eq!(told(&outcome), (Verdict::Warn, "not_ready", "replica has lost its primary"), "{outcome:?}");
    assert_eq!(outcome.metadata()["link"], "down");
    let outcome = until_told(&strict, |outcome| outcome.verdict() == Verdict::Fail).await;
    assert_eq!(reason(&outcome), "threshold", "{outcome:?}");
    assert!(outcome.message().starts_with("replication is ") && outcome.message().ends_with(" s behind"), "{outcome:?}");
    assert!(outcome.detail().contains("replica has lost its primary"), "{outcome:?}");
    primary.start_again();
    until_told(&patient, |outcome| reason(outcome) == "pass").await;
}

#[tokio::test]
async fn a_replica_that_falls_behind_is_seen_on_its_primary_in_seconds_and_bytes() {
    let (primary, mut replica) = replicated().await;
    let behind = with(&primary, |options| options.lag_degraded_above = Some(Duration::from_secs(1)));
    let by_bytes = with(&primary, |options| {
        options.lag_bytes_degraded_above = Some(ByteSize::from_scalar("1KiB").unwrap());
        options.lag_bytes_unhealthy_above = Some(ByteSize::from_scalar("100KiB").unwrap());
    });
    until_told(&by_bytes, |outcome| reason(outcome) == "pass").await;
    replica.pause();
    let outcome = until_told(&behind, |outcome| reason(outcome) != "pass").await;
    assert_eq!((outcome.verdict(), reason(&outcome)), (Verdict::Warn, "threshold"), "{outcome:?}");
    assert!(outcome.message().ends_with(" s behind"), "{outcome:?}");
    primary.execute(&["SETRANGE", "large", "10000", "x"]);
    primary.execute(&["SET", "text", &"x".repeat(5000)]);
    let outcome = run(&by_bytes).await;
    assert_eq!((outcome.verdict(), reason(&outcome)), (Verdict::Warn, "threshold"), "{outcome:?}");
    assert!(outcome.message().ends_with(" bytes behind"), "{outcome:?}");
    for _ in 0..4 {
        primary.execute(&["SET", "text", &"x".repeat(30_000)]);
    }
    let outcome = run(&by_bytes).await;
    assert_eq!(outcome.verdict(), Verdict::Fail, "{outcome:?}");
    assert!(outcome.metadata()["lag_bytes"].as_u64().unwrap() > 100 * 1024, "{outcome:?}");
    replica.resume();
    until_told(&by_bytes, |outcome| reason(outcome) == "pass").await;
}

#[tokio::test]
async fn a_replica_that_has_never_reached_its_primary_is_as_far_behind_as_can_be() {
    let server = Server::start();
    server.execute(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    let check = with(&server, |options| options.lag_unhealthy_above = Some(Duration::from_secs(3600)));
    let outcome = run(&check).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "threshold", "replication has never begun"), "{outcome:?}");
    assert!(!outcome.metadata().contains_key("lag_s"), "{outcome:?}");
}

#[tokio::test]
async fn a_sentinel_is_known_as_one_and_tells_when_its_primary_is_down() {
    let mut primary = Server::start();
    let options = RedisOptions { server: RedisServer::SentinelOf(primary.port()), ..RedisOptions::default() };
    let sentinel = Server::start_with(options);
    let check = check(sentinel.url());
    let outcome = run(&check).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    assert_eq!(outcome.metadata()["mode"], "sentinel");
    let masters = serde_json::to_string(&outcome.metadata()["masters"]).unwrap();
    assert_eq!(masters, r#"{"mymaster":{"status":"ok","replicas":0,"sentinels":1}}"#);
    let mistaken = run(&with(&sentinel, |options| options.role = Role::Primary)).await;
    assert_eq!(told(&mistaken), (Verdict::Fail, "unexpected", "server is a Sentinel, which holds no data"));
    primary.stop();
    let outcome = until_told(&check, |outcome| outcome.verdict() == Verdict::Fail).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "not_ready", "a primary is down"), "{outcome:?}");
    assert_eq!(outcome.metadata()["masters"]["mymaster"]["status"], "odown");
    assert_eq!(outcome.detail(), "mymaster: odown");
}

#[tokio::test]
async fn a_node_of_a_cluster_tells_whether_the_cluster_is_up_in_one_round_trip() {
    let bus = free_port().to_string();
    let server = arguments(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
    let check = check(server.url());
    let outcome = run(&check).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "not_ready", "cluster is down"), "{outcome:?}");
    assert_eq!(outcome.detail(), "0 of 16384 slots are assigned");
    assert_eq!((&outcome.metadata()["mode"], &outcome.metadata()["cluster"]["state"]), (&"cluster".into(), &"fail".into()));
    server.execute(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let outcome = until_told(&check, |outcome| reason(outcome) == "pass").await;
    assert_eq!(outcome.metadata()["cluster"]["slots_ok"], 16_384);
    let reads = || statistic(&server, "stats", "total_reads_processed");
    let before = reads();
    for _ in 0..50 {
        assert_eq!(reason(&run(&check).await), "pass");
    }
    assert_eq!(reads() - before, 50 + 2, "two of them are the end of one question and the other one");
}

/// One figure of `INFO`.
fn statistic(server: &Server, section: &str, name: &str) -> u64 {
    let told = server.execute(&["INFO", section]);
    let found = told.lines().find_map(|line| line.trim_end().strip_prefix(&format!("{name}:")));
    found.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {told}"))
}

#[tokio::test]
async fn fifty_runs_ask_in_one_round_trip_each_and_read_and_write_no_key() {
    let server = Server::start();
    let check = with(&server, |options| options.role = Role::Primary);
    assert_eq!(reason(&run(&check).await), "pass");
    let before = statistic(&server, "stats", "total_reads_processed");
    for _ in 0..50 {
        assert_eq!(reason(&run(&check).await), "pass");
    }
    // Two of them are the end of one question and the other one.
    assert_eq!(statistic(&server, "stats", "total_reads_processed") - before, 50 + 2);
    let commands = server.execute(&["INFO", "commandstats"]);
    let names = commands.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next());
    // Redis 7.0 knows no CLIENT SETINFO, so that it is not among them, or only as one that was refused.
    let names: BTreeSet<_> = names.filter(|name| !name.starts_with("client")).collect();
    assert_eq!(names, BTreeSet::from(["info", "ping"]), "{commands}");
    assert_eq!(server.execute(&["DBSIZE"]), "0");
}

#[tokio::test]
async fn valkey_is_known_by_its_own_version() {
    let options = RedisOptions { server: RedisServer::Valkey, ..RedisOptions::default() };
    let server = Server::start_with(options);
    let outcome = run(&check(server.url().replace("redis:", "valkey:"))).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    let metadata = outcome.metadata();
    assert_eq!((&metadata["product"], &metadata["server_version"]), (&"valkey".into(), &"9.1.2".into()));
    assert_eq!((&metadata["mode"], &metadata["role"]), (&"standalone".into(), &"primary".into()));
}

#[tokio::test]
async fn what_is_to_be_judged_and_not_to_be_seen_is_not_taken_for_kept() {
    let server = Server::start();
    server.execute(&["ACL", "SETUSER", "prober", "on", ">secret", "+ping"]);
    let url = format!("redis://prober:secret@127.0.0.1:{}", server.port());
    let blind = Redis::new(Options { role: Role::Primary, ..Options::new(url) }).unwrap();
    assert_eq!(told(&run(&blind).await), (Verdict::Warn, "auth", "user may not see what is to be judged"));
    server.execute(&["ACL", "SETUSER", "prober", "+info"]);
    assert_eq!(reason(&run(&blind).await), "pass");
}

#[test]
fn limits_in_the_wrong_order_are_refused() {
    configured("redis: { url: 'redis://h', role: replica, lag_degraded_above: 30s, lag_unhealthy_above: 5m }").unwrap();
    for (key, better, worse) in [("connections", "95%", "90%"), ("memory", "95%", "90%"), ("lag", "9s", "8s"), ("lag_bytes", "9MiB", "8MiB")] {
        let text = format!("redis: {{ url: 'redis://h', {key}_degraded_above: {better}, {key}_unhealthy_above: {worse} }}");
        let reported = configured(&text).unwrap_err();
        assert!(reported.ends_with(&format!("must not be below {key}_degraded_above")), "{reported}");
    }
}
