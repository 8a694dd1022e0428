//! The claims of the check, held against real brokers. What these can't be brought to is in `faults`, on fake ones.

mod door;
mod fake;
mod faults;
mod frames;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use wellkept_health::Verdict;
use wellkept_testkit::{
    Authority, Fault, FaultProxy, Issued, KafkaClient, Tansu, TansuOptions, free_address, free_port,
};

use super::*;
use crate::testing::{
    PLANTED, Server as HttpServer, assert_keeps_secrets, configured, reason, run, run_into_timeout,
    untrusted_tls_server,
};

fn check(address: &str, change: impl FnOnce(&mut Options)) -> Kafka {
    let mut options = Options::new([address]);
    change(&mut options);
    Kafka::new(options).unwrap()
}

fn told(outcome: &Outcome) -> (Verdict, &str, &str) {
    (outcome.verdict(), reason(outcome), outcome.message())
}

fn of_group(address: &str, lag: Lag) -> Kafka {
    check(address, |options| {
        options.topics = vec!["orders".to_owned()];
        options.group = Some("billing".to_owned());
        options.lag = lag;
    })
}

#[tokio::test]
async fn a_group_is_followed_from_its_first_message_to_its_last_member() {
    let tansu = Tansu::start();
    let address = tansu.address().to_string();
    let mut client = KafkaClient::start(&address);
    client.create("orders", 2);
    client.produce("orders", 0, 3);
    client.produce("orders", 1, 2);
    client.join("billing", "orders");
    client.take("billing", 4);
    client.produce("orders", 1, 3);
    let stuck_after = Duration::from_nanos(1);
    let (patient, impatient) = (of_group(&address, Lag::default()), of_group(&address, Lag { stuck_after, ..Lag::default() }));
    let group = |outcome: &Outcome| outcome.metadata()["group"].clone();

    let outcome = run(&patient).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    assert_eq!(group(&outcome)["state"], "Stable");
    assert_eq!(outcome.metadata()["brokers"], 1);
    assert_eq!(run(&impatient).await.verdict(), Verdict::Pass, "nobody is stuck at first sight");
    let outcome = run(&impatient).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "stuck", "the group takes none of its messages"), "{outcome:?}");
    client.take("billing", 3);
    let outcome = run(&patient).await;
    assert_eq!((reason(&outcome), &group(&outcome)["lag"], &group(&outcome)["pace"]), ("pass", &1.into(), &"catching_up".into()));
    client.take("billing", 1);
    for check in [&patient, &impatient, &impatient] {
        let outcome = run(check).await;
        assert_eq!((reason(&outcome), &group(&outcome)["lag"], &group(&outcome)["pace"]), ("pass", &0.into(), &"idle".into()));
    }
    client.produce("orders", 1, 5);
    let outcome = run(&of_group(&address, Lag { degraded_above: Some(4), ..Lag::default() })).await;
    assert_eq!(told(&outcome), (Verdict::Warn, "threshold", "the group is 5 messages behind"));
    let all = check(&address, |options| options.group = Some("billing".to_owned()));
    for _ in 0..2 {
        let outcome = run(&all).await;
        assert_eq!((reason(&outcome), &group(&outcome)["lag"]), ("pass", &5.into()), "{outcome:?}");
    }
    client.leave("billing");
    let outcome = run(&patient).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "not_ready", "the group has no members"), "{outcome:?}");
    assert_eq!(group(&outcome)["lag"], 5);
}

#[tokio::test]
async fn fifty_runs_leave_topics_groups_and_messages_as_they_are_and_take_one_connection() {
    let port = free_port();
    let proxy = FaultProxy::in_front_of((std::net::Ipv4Addr::LOCALHOST, port).into(), Fault::None);
    let advertised = Some(proxy.address());
    let tansu = Tansu::start_with(port, TansuOptions { advertised, ..TansuOptions::default() });
    let mut client = KafkaClient::start(&tansu.address().to_string());
    client.create("orders", 2);
    client.produce("orders", 0, 3);
    client.join("billing", "orders");
    client.take("billing", 1);
    let before = client.everything();
    let others = proxy.connections();
    let check = of_group(&proxy.address().to_string(), Lag::default());
    let missing = self::check(&proxy.address().to_string(), |options| {
        options.topics = vec!["missing".to_owned()];
        options.group = Some("nobody-yet".to_owned());
    });
    for _ in 0..50 {
        assert_eq!(reason(&run(&check).await), "pass");
    }
    assert_eq!(proxy.connections() - others, 1);
    for _ in 0..5 {
        let outcome = run(&missing).await;
        assert_eq!(told(&outcome), (Verdict::Fail, "unexpected", "a topic does not exist"), "{outcome:?}");
    }
    assert_eq!(client.everything(), before);
    // The member is still in its group, and has not lost its place.
    client.take("billing", 2);
}

#[tokio::test]
async fn every_leader_of_a_cluster_is_asked_for_its_partitions() {
    let mut client = KafkaClient::with_own_cluster(3);
    let brokers = client.brokers();
    assert_eq!(brokers.len(), 3);
    for partition in 0..4 {
        client.produce("orders", partition, 5);
        client.commit("billing", "orders", partition, 3);
    }
    let check = of_group(&brokers[1], Lag::default());
    for _ in 0..3 {
        let outcome = run(&check).await;
        // It tells nothing of a group's members.
        assert_eq!(reason(&outcome), "pass", "{outcome:?}");
        assert_eq!(outcome.metadata()["brokers"], 3, "{outcome:?}");
        let group = &outcome.metadata()["group"];
        assert_eq!((&group["lag"], &group["partitions"]), (&8.into(), &4.into()), "{outcome:?}");
    }
    // It makes topics of which it hears for the first time, unless it is told not to.
    let missing = self::check(&brokers[0], |options| options.topics = vec!["missing".to_owned()]);
    assert_eq!(told(&run(&missing).await), (Verdict::Fail, "unexpected", "a topic does not exist"));
    assert_eq!(client.topics(), serde_json::json!({ "orders": 4 }));
}

#[tokio::test]
async fn a_killed_and_a_frozen_broker_pass_again_with_the_same_check() {
    let mut tansu = Tansu::start();
    let check = Kafka::at([tansu.address().to_string()]).unwrap();
    assert_eq!(reason(&run(&check).await), "pass");
    tansu.kill();
    assert_eq!(told(&run(&check).await), (Verdict::Fail, "refused", "connection refused"));
    tansu.start_again();
    assert_eq!(reason(&run(&check).await), "pass");
    // The kept connection is broken, and nobody has noticed yet.
    tansu.kill();
    tansu.start_again();
    let outcome = run(&check).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    tansu.pause();
    let outcome = run_into_timeout(&check).await;
    assert!(outcome.detail().contains("timed out while waiting for a broker's answer"), "{outcome:?}");
    let outcome = run_into_timeout(&check).await;
    assert!(outcome.detail().contains("waiting for the versions"), "{outcome:?}");
    tansu.resume();
    assert_eq!(reason(&run(&check).await), "pass");
}

#[tokio::test]
async fn a_login_is_begun_as_a_real_broker_expects() {
    let tansu = Tansu::start_with(free_port(), TansuOptions { authentication: true, ..TansuOptions::default() });
    let address = tansu.address().to_string();
    let outcome = run(&check(&address, |options| {
        (options.user, options.password) = (Some("app".to_owned()), Some(PLANTED.into()));
    }))
    .await;
    assert_eq!(told(&outcome), (Verdict::Fail, "auth", "user or password not accepted"), "{outcome:?}");
    assert!(outcome.detail().contains("unknown-user"), "{outcome:?}");
    assert_keeps_secrets(&outcome);
    assert_eq!(reason(&run(&check(&address, |_| {})).await), "network");
}

#[tokio::test]
async fn tls_is_spoken_with_those_who_are_trusted() {
    let authority = Authority::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let advertised = Some(address);
    let tansu = Tansu::start_with(free_port(), TansuOptions { advertised, ..TansuOptions::default() });
    tokio::spawn(unwrapped(listener, authority.issue("127.0.0.1", 90), tansu.address()));
    let address = address.to_string();
    let trusting = check(&address, |options| (options.tls, options.ca_file) = (true, Some(authority.ca_file())));
    for _ in 0..2 {
        let outcome = run(&trusting).await;
        assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    }
    let outcome = run(&check(&address, |options| options.tls = true)).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "tls", "certificate is not trusted"), "{outcome:?}");
    // A broker that wants TLS does not understand who begins without.
    let outcome = run(&check(&address, |_| {})).await;
    assert_eq!(told(&outcome).1, "protocol");
    assert!(outcome.detail().ends_with("TLS may be expected there"), "{outcome:?}");
}

/// Takes TLS off for a broker that does not speak it here.
async fn unwrapped(listener: tokio::net::TcpListener, issued: Issued, broker: std::net::SocketAddr) {
    let certificates = CertificateDer::pem_file_iter(issued.certificate).unwrap().map(Result::unwrap).collect();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, PrivateKeyDer::from_pem_file(issued.key).unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    while let Ok((stream, _)) = listener.accept().await {
        if let Ok(mut stream) = acceptor.accept(stream).await {
            tokio::spawn(async move {
                let mut broker = tokio::net::TcpStream::connect(broker).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut broker).await
            });
        }
    }
}

#[tokio::test]
async fn faults_of_the_network_are_told_apart() {
    let tansu = Tansu::start();
    for (fault, expected) in [
        (Fault::ResetAfter(0), "network"),
        (Fault::ResetAfter(20), "network"),
        (Fault::HalfCloseAfter(20), "network"),
        (Fault::BlackHole, "timeout"),
        (Fault::SilentAfter(20), "timeout"),
        (Fault::Drip(Duration::from_secs(1)), "timeout"),
    ] {
        let proxy = FaultProxy::in_front_of(tansu.address(), fault);
        let check = Kafka::at([proxy.address().to_string()]).unwrap();
        let outcome = if expected == "timeout" { run_into_timeout(&check).await } else { run(&check).await };
        assert_eq!(reason(&outcome), expected, "{fault:?}: {outcome:?}");
    }
    let outcome = run(&Kafka::at([free_address().to_string()]).unwrap()).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "refused", "connection refused"));
    let untrusted = format!("127.0.0.1:{}", untrusted_tls_server().await);
    assert_eq!(reason(&run(&check(&untrusted, |options| options.tls = true)).await), "tls");
    let plain = tansu.address().to_string();
    let outcome = run_into_timeout(&check(&plain, |options| options.tls = true)).await;
    assert!(outcome.detail().contains("shaking hands for TLS"), "{outcome:?}");
}

#[tokio::test]
async fn what_is_no_broker_is_a_protocol_failure() {
    use tokio::io::AsyncWriteExt as _;
    let http = HttpServer::start("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    run_into_timeout(&Kafka::at([http.address.to_string()]).unwrap()).await;
    for answer in [
        &b"220 mail ESMTP\r\n"[..],
        // Another question's answer, one that ends too early, and one that announces two thousand million entries.
        b"\x00\x00\x00\x0a\x00\x00\x00\x63\x00\x00\x00\x00\x00\x00",
        b"\x00\x00\x00\x06\x00\x00\x00\x01\x00\x00",
        b"\x00\x00\x00\x0a\x00\x00\x00\x01\x00\x00\x7f\xff\xff\xff",
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let check = Kafka::at([listener.local_addr().unwrap().to_string()]).unwrap();
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream
        };
        let (outcome, _stream) = tokio::join!(run(&check), answering);
        assert_eq!(told(&outcome), (Verdict::Fail, "protocol", "not an answer that a broker gives"), "{outcome:?}");
    }
}

#[test]
fn a_configuration_is_read_and_what_is_wrong_in_it_is_reported() {
    configured(
        "kafka: { brokers: ['a:9092', '[::1]:9092'], tls: true, user: app, password: secret, mechanism: plain,
            min_brokers: 2, topics: [orders], min_in_sync: 2, group: billing, min_members: 0,
            lag: { degraded_above: 1, unhealthy_above: 2, stuck_after: 1m } }",
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{PLANTED}\n")).unwrap();
    configured(&format!("kafka: {{ brokers: ['a:9092'], user: app, password_file: '{}' }}", file.display())).unwrap();
    for (keys, told) in [
        ("brokers: []", "1 to 16 addresses are expected"),
        ("brokers: [a]", "the port is missing: write host:port"),
        ("brokers: ['a:1'], user: app", "its password is missing"),
        (&format!("brokers: ['a:1'], password: {PLANTED}"), "say in `user` whose it is"),
        (&format!("brokers: ['a:1'], user: a, password: {PLANTED}, password_file: /none"), "take one of the two"),
        ("brokers: ['a:1'], ca_file: /none", "is for `tls: true`"),
        ("brokers: ['a:1'], mechanism: kerberos", "expected plain, scram-sha-256 or scram-sha-512"),
        ("brokers: ['a:1'], group: ''", "must have 1 to 32767 bytes"),
        ("brokers: ['a:1'], topics: ['']", "a topic's name has 1 to 249 bytes"),
        ("brokers: ['a:1'], lag: { stuck_after: 0s }", "stuck_after must be more than 0"),
        ("brokers: ['a:1'], lag: { degraded_above: 2, unhealthy_above: 1 }", "must not be below degraded_above"),
    ] {
        let reported = configured(&format!("kafka: {{ {keys} }}")).unwrap_err();
        assert!(reported.contains(told) && !reported.contains(PLANTED), "{keys}: {reported}");
    }
}
