//! The claims of the check, held against a real server.

use wellkept_health::Verdict;
use wellkept_testkit::{RabbitMq as RealServer, free_port, until};

use super::*;
use crate::testing::{
    PATIENCE, PLANTED, Server as HttpServer, assert_keeps_secrets, configured, reason, run, run_into_timeout,
    untrusted_tls_server,
};

fn check(url: &str, queues: Vec<Queue>) -> RabbitMq {
    RabbitMq::new(Options { queues, ..Options::new(url) }).unwrap()
}

fn told(outcome: &Outcome) -> (Verdict, &str, &str) {
    (outcome.verdict(), reason(outcome), outcome.message())
}

/// A connection that consumes a queue for as long as it is there, and takes one message at most.
async fn consumer(url: &str, queue: &str) -> Connection {
    let deadline = Instant::now() + PATIENCE;
    let mut connection = Server::parse("url", url).unwrap().connect(drop, deadline).await.unwrap();
    let mut batch = Batch::default();
    batch.method(1, method::CHANNEL_OPEN, Arguments::default().shortstr(""));
    batch.method(1, method::BASIC_QOS, Arguments::default().long(0).short(1).octet(0));
    let consume = Arguments::default().short(0).shortstr(queue).shortstr("").octet(0).table(&[]);
    connection.send(batch.method(1, method::BASIC_CONSUME, consume)).await.unwrap();
    for id in [method::CHANNEL_OPEN_OK, method::BASIC_QOS_OK, method::BASIC_CONSUME_OK] {
        connection.expect(1, id).await.unwrap();
    }
    connection
}

/// A queue with messages.
fn fill(server: &RealServer, virtual_host: &str, queue: &str, messages: usize) {
    server.put(&format!("/api/queues/{virtual_host}/{queue}"), "{}");
    let message = r#"{"properties": {}, "routing_key": "QUEUE", "payload": "x", "payload_encoding": "string"}"#;
    for _ in 0..messages {
        server.post(
            &format!("/api/exchanges/{virtual_host}/amq.default/publish"),
            &message.replace("QUEUE", queue),
        );
    }
}

#[tokio::test]
async fn queues_are_told_apart_by_being_there_their_consumers_and_their_length() {
    let server = RealServer::shared();
    let url = server.virtual_host("queues");
    fill(&server, "queues", "mail", 5);
    let outcome = run(&check(&url, vec![Queue::new("mail")])).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "not_ready", "a queue has no consumer"), "{outcome:?}");
    assert_eq!(outcome.detail(), "mail: 5 messages, 0 consumers");
    assert_eq!(outcome.metadata()["product"], "RabbitMQ");
    assert!(outcome.metadata()["server_version"].as_str().unwrap().contains('.'), "{outcome:?}");

    let _consumer = consumer(&url, "mail").await;
    // One of the five is on its way to the consumer.
    let with = |degraded_above, unhealthy_above, consumers| {
        check(&url, vec![Queue { degraded_above, unhealthy_above, consumers, ..Queue::new("mail") }])
    };
    let outcome = run(&with(Some(4), None, 1)).await;
    assert_eq!(told(&outcome).1, "pass", "{outcome:?}");
    assert_eq!(serde_json::to_string(&outcome.metadata()["queues"]).unwrap(), r#"{"mail":{"messages":4,"consumers":1}}"#);
    assert_eq!(told(&run(&with(Some(3), None, 1)).await), (Verdict::Warn, "threshold", "a queue is too long"));
    assert_eq!(told(&run(&with(Some(1), Some(3), 1)).await), (Verdict::Fail, "threshold", "a queue is too long"));
    let outcome = run(&with(None, None, 2)).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "not_ready", "a queue has fewer consumers than it should have"));

    // A queue that is missing closes its channel only, in each run anew.
    let check = check(&url, vec![Queue::new("missing"), Queue::new("mail")]);
    for _ in 0..3 {
        let outcome = run(&check).await;
        assert_eq!(told(&outcome), (Verdict::Fail, "unexpected", "a queue does not exist"), "{outcome:?}");
        assert_eq!(outcome.metadata()["queues"]["mail"]["messages"], 4);
    }
    fill(&server, "queues", "missing", 0);
    assert_eq!(told(&run(&check).await).2, "a queue has no consumer");
}

#[tokio::test]
async fn fifty_runs_take_one_connection() {
    let server = RealServer::shared();
    let url = server.virtual_host("fifty");
    server.put("/api/queues/fifty/mail", "{}");
    let check = check(&url, vec![Queue { consumers: 0, ..Queue::new("mail") }]);
    for _ in 0..50 {
        assert_eq!(reason(&run(&check).await), "pass");
    }
    let connections = || server.ask("/api/vhosts/fifty/connections").as_array().map_or(0, Vec::len);
    until(PATIENCE, "the connection to be counted", || connections() > 0);
    assert_eq!(connections(), 1);
}

#[tokio::test]
async fn who_is_not_let_in_hears_why_without_the_password() {
    let server = RealServer::shared();
    let url = server.virtual_host("doors");
    let outcome = run(&check(&url.replace("guest:guest", &format!("guest:{PLANTED}")), Vec::new())).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "auth", "user or password not accepted"), "{outcome:?}");
    assert_keeps_secrets(&outcome);
    let outcome = run(&check(&server.url("nowhere"), Vec::new())).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "unexpected", "virtual host does not exist"), "{outcome:?}");

    server.put("/api/users/prober", &format!(r#"{{"password": "{PLANTED}", "tags": ""}}"#));
    let prober = url.replace("guest:guest", &format!("prober:{PLANTED}"));
    let outcome = run(&check(&prober, Vec::new())).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "auth", "user may not use the virtual host"), "{outcome:?}");
    server.put("/api/permissions/doors/prober", r#"{"configure": "", "write": "", "read": ""}"#);
    let outcome = run(&check(&prober, Vec::new())).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "auth", "user is not permitted"), "{outcome:?}");
    assert!(outcome.detail().contains("amq.default"), "{outcome:?}");
    assert_keeps_secrets(&outcome);
    let quiet = RabbitMq::new(Options { alarms: false, ..Options::new(prober.clone()) }).unwrap();
    assert_eq!(reason(&run(&quiet).await), "pass");
    server.put("/api/permissions/doors/prober", r#"{"configure": "", "write": "amq\\.default", "read": ""}"#);
    assert_eq!(reason(&run(&check(&prober, Vec::new())).await), "pass");
}

#[tokio::test]
async fn alarms_stops_and_freezes_are_told_apart_and_pass_with_the_same_check() {
    let mut server = RealServer::start();
    let url = server.url("/");
    server.put("/api/queues/%2F/mail", r#"{"durable": true}"#);
    let check = check(&url, vec![Queue { consumers: 0, ..Queue::new("mail") }]);
    assert_eq!(reason(&run(&check).await), "pass");

    server.control(&["set_vm_memory_high_watermark", "0.000001"]);
    let outcome = run(&check).await;
    assert_eq!(told(&outcome), (Verdict::Warn, "exhausted", "messages are refused as memory is low"), "{outcome:?}");
    assert_eq!(outcome.metadata()["queues"]["mail"]["messages"], 0);
    assert_eq!(told(&run(&check).await).2, "messages are refused as memory is low");
    server.control(&["set_vm_memory_high_watermark", "0.9"]);
    server.control(&["set_disk_free_limit", "mem_relative", "1000.0"]);
    assert_eq!(told(&run(&check).await).2, "messages are refused as disk space is low");
    server.control(&["set_disk_free_limit", "1MB"]);
    assert_eq!(reason(&run(&check).await), "pass");

    server.pause();
    assert_eq!(run_into_timeout(&check).await.detail(), "timed out while waiting for the server's answer");
    assert_eq!(run_into_timeout(&check).await.detail(), "timed out while logging in");
    server.resume();
    assert_eq!(reason(&run(&check).await), "pass");
    server.stop();
    assert_eq!(reason(&run(&check).await), "refused");
    server.start_again();
    assert_eq!(reason(&run(&check).await), "pass");
    // The kept connection was closed with a last word, and nobody has heard it yet.
    server.stop();
    server.start_again();
    let outcome = run(&check).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
}

#[tokio::test]
async fn what_is_no_amqp_is_told_as_such() {
    let outcome = run(&check(&format!("amqp://u:{PLANTED}@127.0.0.1:{}", free_port()), Vec::new())).await;
    assert_eq!(told(&outcome).1, "refused");
    assert_keeps_secrets(&outcome);
    let http = HttpServer::start("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let outcome = run_into_timeout(&check(&format!("amqp://{}", http.address), Vec::new())).await;
    assert_eq!(outcome.detail(), "timed out while logging in");
    let port = untrusted_tls_server().await;
    let outcome = run(&check(&format!("amqps://u:{PLANTED}@127.0.0.1:{port}"), Vec::new())).await;
    assert_eq!(told(&outcome).1, "tls");
    assert_keeps_secrets(&outcome);
}

#[tokio::test]
async fn what_does_not_speak_amqp_is_a_protocol_failure() {
    use tokio::io::AsyncWriteExt as _;
    for answer in ["AMQP\0\0\u{9}\u{1}", "220 mail ESMTP\r\n"] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream
        };
        let check = check(&format!("amqp://{address}"), Vec::new());
        let (outcome, _stream) = tokio::join!(run(&check), answering);
        assert_eq!(told(&outcome), (Verdict::Fail, "protocol", "not an answer that the server gives"), "{outcome:?}");
    }
}

#[test]
fn a_configuration_is_read_and_what_is_wrong_in_it_is_reported() {
    configured(
        "rabbitmq: { url: 'amqp://a:b@[::1]/shop', alarms: false,
            queues: [{ name: mail, degraded_above: 1, unhealthy_above: 2, consumers: 0 }] }",
    )
    .unwrap();
    for url in [
        format!("http://:{PLANTED}@host"),
        format!("amqp://:{PLANTED}@"),
        format!("amqp://:{PLANTED}%ff@host"),
        format!("{PLANTED}@host"),
    ] {
        let reported = configured(&format!("rabbitmq: {{ url: \"{url}\" }}")).unwrap_err();
        assert!(reported.starts_with("test.yaml:1:18: ") && !reported.contains(PLANTED), "{reported}");
    }
    let reported = configured("rabbitmq: { url: 'amqp://host', queues: [{ name: '' }] }").unwrap_err();
    assert!(reported.ends_with("a queue's name has 1 to 255 bytes"), "{reported}");
    let options = Options::new(format!("amqp://:{PLANTED}@host"));
    assert!(!format!("{options:?} {:?}", RabbitMq::new(options.clone()).unwrap()).contains(PLANTED));
}
