//! The claims of the check, held against Unbound, and against packets that no server would send.

use std::time::Duration;

use tokio::net::UdpSocket;
use wellkept_testkit::{Unbound, free_address};

use super::*;
use crate::testing::{configured, reason, run, run_into_timeout};

const RECORDS: [&str; 10] = [
    "orders.test. 300 IN A 192.0.2.7",
    "orders.test. 60 IN A 192.0.2.8",
    "orders.test. 300 IN AAAA 2001:db8::7",
    "www.test. 300 IN CNAME orders.test.",
    "test. 300 IN MX 10 Mail.Test.",
    "test. 300 IN NS ns1.test.",
    "_ldap._tcp.test. 300 IN SRV 0 5 389 dc1.test.",
    "test. 300 IN CAA 0 issue ca.example",
    "spf.test. 300 IN TXT \"v=spf1 include:example.com\" \" -all\"",
    "7.test. 300 IN PTR orders.test.",
];

fn options(name: &str, r#type: RecordType, unbound: &Unbound, expect: &[&str]) -> Options {
    Options {
        r#type,
        resolver: Some(unbound.address().to_string()),
        expect: expect.iter().map(ToString::to_string).collect(),
        ..Options::new(name)
    }
}

async fn asked(options: Options) -> Outcome {
    run(&Dns::new(options).unwrap()).await
}

#[tokio::test]
async fn records_of_each_type_are_held_against_what_is_expected() {
    let unbound = Unbound::with(&RECORDS);
    for (name, record_type, expect) in [
        ("orders.test", RecordType::A, &["192.0.2.8", "192.0.2.7"][..]),
        ("ORDERS.test.", RecordType::Aaaa, &["2001:db8::7"]),
        ("www.test", RecordType::Cname, &["orders.test"]),
        ("test", RecordType::Mx, &["10 mail.test"]),
        ("test", RecordType::Ns, &["ns1.test."]),
        ("_ldap._tcp.test", RecordType::Srv, &["0 5 389 dc1.test"]),
        ("test", RecordType::Caa, &["0 issue \"ca.example\""]),
        ("spf.test", RecordType::Txt, &["v=spf1 include:example.com -all"]),
        ("7.test", RecordType::Ptr, &["orders.test"]),
    ] {
        let outcome = asked(options(name, record_type, &unbound, expect)).await;
        assert_eq!(reason(&outcome), "pass", "{name} {record_type:?}: {outcome:?}");
        assert_eq!(outcome.metadata()["records"].as_array().unwrap().len(), expect.len());
    }
    let outcome = asked(options("orders.test", RecordType::A, &unbound, &["192.0.2.9"])).await;
    assert_eq!((reason(&outcome), outcome.message()), ("unexpected", "expected record is missing"));
    assert_eq!((outcome.detail(), &outcome.metadata()["ttl_seconds"]), ("`192.0.2.9` is missing", &60.into()));
    let outcome = asked(options("spf.test", RecordType::Txt, &unbound, &["V=SPF1 include:example.com -all"])).await;
    assert_eq!(reason(&outcome), "unexpected", "a text is as it is");
}

#[tokio::test]
async fn why_there_is_no_record_is_told_apart() {
    let mut unbound = Unbound::with(&RECORDS);
    for (name, record_type, expected, message) in [
        ("missing.test", RecordType::A, "nxdomain", "name does not exist"),
        ("www.test", RecordType::Mx, "unexpected", "no such record"),
        ("a.broken.test", RecordType::A, "servfail", "resolver could not find it out"),
        ("a.refused.test", RecordType::A, "auth", "resolver refuses to answer"),
    ] {
        let outcome = asked(options(name, record_type, &unbound, &[])).await;
        assert_eq!((reason(&outcome), outcome.message()), (expected, message), "{name}: {outcome:?}");
    }
    let check = Dns::new(options("orders.test", RecordType::A, &unbound, &[])).unwrap();
    unbound.pause();
    let outcome = run_into_timeout(&check).await;
    assert_eq!(outcome.detail(), "timed out while waiting for the resolver's answer");
    unbound.resume();
    assert_eq!(reason(&run(&check).await), "pass");
    let nobody = Options { resolver: Some(free_address().to_string()), ..Options::new("orders.test") };
    assert_eq!(reason(&asked(nobody).await), "refused");
}

#[tokio::test]
async fn a_long_answer_is_taken_over_tcp() {
    let long: Vec<String> = (0..20).map(|number| format!("long.test. 60 IN TXT \"{number} {}\"", "x".repeat(200))).collect();
    let records: Vec<&str> = long.iter().map(String::as_str).collect();
    let unbound = Unbound::with(&records);
    let last = format!("19 {}", "x".repeat(200));
    let outcome = asked(options("long.test", RecordType::Txt, &unbound, &[&last])).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    assert_eq!(outcome.metadata()["records"].as_array().unwrap().len(), MOST_SHOWN);
}

/// A resolver that answers the packets it is sent one by one, with what `answer` makes of each.
async fn resolver(answers: Vec<fn(Vec<u8>) -> Vec<u8>>) -> Options {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        for answer in answers {
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            let answer = answer(buffer[..length].to_vec());
            if !answer.is_empty() {
                socket.send_to(&answer, client).await.unwrap();
            }
        }
        // Nobody hears "connection refused" before the test has ended.
        std::future::pending::<()>().await;
    });
    Options { resolver: Some(address.to_string()), ..Options::new("orders.test") }
}

/// That the name has one address, 192.0.2.1.
fn answering(mut query: Vec<u8>) -> Vec<u8> {
    query[2] |= 0x80;
    query[7] = 1;
    query.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01");
    query
}

#[tokio::test]
async fn a_lost_packet_is_sent_again_and_what_answers_no_question_of_ours_is_passed_over() {
    let lost = |_| Vec::new();
    let check = Dns::new(resolver(vec![lost, answering]).await).unwrap();
    let outcome = check.run(&Context::within(Duration::from_secs(6))).await;
    assert_eq!((reason(&outcome), &outcome.metadata()["records"][0]), ("pass", &"192.0.2.1".into()), "{outcome:?}");

    let forged: fn(Vec<u8>) -> Vec<u8> = |mut query| {
        query[0] ^= 1;
        answering(query)
    };
    let other_name: fn(Vec<u8>) -> Vec<u8> = |mut query| {
        query[13] ^= 1;
        answering(query)
    };
    for wrong in [forged, other_name, |_| b"?".to_vec()] {
        run_into_timeout(&Dns::new(resolver(vec![wrong, wrong, wrong]).await).unwrap()).await;
    }
    let cut: fn(Vec<u8>) -> Vec<u8> = |query| {
        let mut answer = answering(query);
        answer.truncate(answer.len() - 3);
        answer
    };
    let outcome = asked(resolver(vec![cut]).await).await;
    assert_eq!((reason(&outcome), outcome.message()), ("protocol", "not an answer in DNS"), "{outcome:?}");
}

#[tokio::test]
async fn without_a_resolver_the_system_is_asked() {
    let outcome = asked(Options { expect: vec!["127.0.0.1".to_owned()], ..Options::new("localhost") }).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    let outcome = asked(Options::new("no-such-name.invalid")).await;
    assert_eq!((reason(&outcome), outcome.message()), ("dns", "name could not be resolved"), "{outcome:?}");
}

#[test]
fn a_configuration_says_whom_to_ask_and_for_what() {
    configured("dns: { name: a.example, type: TXT, resolver: 10.0.0.2, expect: [x, y] }").unwrap();
    configured("dns: { name: a.example, type: MX, resolver: '[::1]:5353', expect: 10 mail.example }").unwrap();
    let reported = [
        "dns: { name: 'a..b' }",
        "dns: { name: a, type: MX }",
        "dns: { name: a, type: ANY, resolver: 10.0.0.2 }",
        "dns: { name: a, resolver: dns.example }",
    ]
    .map(|text| configured(text).unwrap_err());
    insta::assert_snapshot!(reported.join("\n"), @r"
    test.yaml:1:14: empty label
    test.yaml:1:23: the system tells A and AAAA only: name a `resolver`
    test.yaml:1:23: expected A, AAAA, CAA, CNAME, MX, NS, PTR, SOA, SRV or TXT, found `ANY`
    test.yaml:1:27: the port is missing: write host:port
    ");
}
