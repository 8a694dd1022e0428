//! The claims of the check, held against a real server, and against small false ones for what a real one does rarely.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use wellkept_health::Verdict;
use wellkept_testkit::{Authority, Fault, FaultProxy, Smtp as RealServer, SmtpOptions, SmtpTls, free_port, until};

use super::*;
use crate::testing::{PATIENCE, PLANTED, assert_keeps_secrets, configured, reason, run, run_into_timeout};

fn told(outcome: &Outcome) -> (Verdict, &str, &str) {
    (outcome.verdict(), reason(outcome), outcome.message())
}

async fn asked(options: Options) -> Outcome {
    run(&Smtp::new(options).unwrap()).await
}

/// What the server was told, without the addresses of those who said it.
fn heard(server: &RealServer) -> Vec<String> {
    server.log().lines().filter_map(|line| Some(line.split_once(" >> b'")?.1.trim_end_matches('\'').to_owned())).collect()
}

#[tokio::test]
async fn a_server_that_greets_passes_with_what_it_offers_and_hears_two_words() {
    let server = RealServer::with(SmtpOptions::default());
    let outcome = asked(Options::new(format!("smtp://{}", server.address()))).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    let metadata = outcome.metadata();
    assert_eq!((&metadata["server_name"], &metadata["encrypted"]), (&"mail.example".into(), &false.into()));
    assert_eq!(metadata["max_size_bytes"], 33_554_432);
    assert!(metadata["capabilities"].as_array().unwrap().contains(&"8BITMIME".into()), "{metadata:?}");
    until(PATIENCE, "the farewell", || heard(&server).len() > 1);
    assert_eq!(heard(&server), ["EHLO wellkept.invalid", "QUIT"]);
}

#[tokio::test]
async fn what_is_expected_must_be_offered() {
    let server = RealServer::with(SmtpOptions::default());
    let with = |capabilities: &[&str]| Options {
        capabilities: capabilities.iter().map(|&text| text.to_owned()).collect(),
        helo: "monitor.example".to_owned(),
        ..Options::new(format!("smtp://{}", server.address()))
    };
    assert_eq!(reason(&asked(with(&["size", "SIZE 33554432", "HELP"])).await), "pass");
    let outcome = asked(with(&["SIZE", "STARTTLS", "SIZE 1"])).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "unexpected", "server does not offer what is expected"));
    assert_eq!(outcome.detail(), "missing: STARTTLS, SIZE 1");
    assert!(heard(&server).contains(&"EHLO monitor.example".to_owned()));
}

#[tokio::test]
async fn tls_is_begun_in_both_ways_and_its_certificate_is_judged() {
    let authority = Authority::new();
    let start = |days, how: fn(_) -> SmtpTls| {
        RealServer::with(SmtpOptions { tls: how(authority.issue("mail.example", days)), ..SmtpOptions::default() })
    };
    let trusting = |scheme: &str, server: &RealServer| Options {
        ca_file: Some(authority.ca_file()),
        server_name: Some("mail.example".to_owned()),
        starttls: (scheme == "smtp").then_some(true),
        ..Options::new(format!("{scheme}://{}", server.address()))
    };
    for (scheme, how) in [("smtp", SmtpTls::Start as fn(_) -> _), ("smtps", SmtpTls::Only)] {
        for (days, verdict, message) in
            [(90, "pass", ""), (13, "threshold", "certificate ends in 13 days"), (-1, "tls", "certificate has expired")]
        {
            let outcome = asked(trusting(scheme, &start(days, how))).await;
            assert_eq!((reason(&outcome), outcome.message()), (verdict, message), "{scheme}: {outcome:?}");
            assert_eq!(outcome.metadata()["certificate_days"], days);
        }
        let server = start(90, how);
        let outcome = asked(Options { capabilities: vec!["SIZE".to_owned()], ..trusting(scheme, &server) }).await;
        assert_eq!((reason(&outcome), &outcome.metadata()["encrypted"]), ("pass", &true.into()));
        let outcome = asked(Options { server_name: None, ..trusting(scheme, &server) }).await;
        assert_eq!(told(&outcome), (Verdict::Fail, "tls", "certificate is for another name"));
        let outcome = asked(Options { ca_file: None, ..trusting(scheme, &server) }).await;
        assert_eq!(told(&outcome), (Verdict::Fail, "tls", "certificate is not trusted"));
    }
    let starting = start(90, SmtpTls::Start);
    let before_tls = Options { capabilities: vec!["STARTTLS".to_owned()], ..trusting("smtp", &starting) };
    assert_eq!(reason(&asked(before_tls).await), "pass");
    assert_eq!(asked(trusting("smtps", &starting)).await.message(), "what answers does not speak TLS");
    let plain = RealServer::with(SmtpOptions::default());
    let outcome = asked(trusting("smtp", &plain)).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "tls", "server does not offer STARTTLS"));
}

#[tokio::test]
async fn a_login_is_made_over_tls_only_and_a_wrong_one_told_apart() {
    let authority = Authority::new();
    let login = Some(("prober".to_owned(), "p@ss".to_owned()));
    for without in ["LOGIN", "PLAIN"] {
        let tls = SmtpTls::Start(authority.issue("127.0.0.1", 90));
        let server = RealServer::with(SmtpOptions { tls, login: login.clone(), without: Some(without) });
        let with = |password: &str| Options {
            ca_file: Some(authority.ca_file()),
            ..Options::new(format!("smtp://prober:{password}@{}", server.address()))
        };
        let outcome = asked(with("p%40ss")).await;
        assert_eq!((reason(&outcome), &outcome.metadata()["encrypted"]), ("pass", &true.into()), "{outcome:?}");
        let outcome = asked(with(PLANTED)).await;
        assert_eq!(told(&outcome), (Verdict::Fail, "auth", "user or password not accepted"), "{outcome:?}");
        assert!(outcome.detail().starts_with("535 "), "{outcome:?}");
        assert_keeps_secrets(&outcome);
        until(PATIENCE, "both farewells", || heard(&server).iter().filter(|said| *said == "QUIT").count() == 2);
        let heard = heard(&server);
        assert!(heard.iter().position(|said| said == "STARTTLS") < heard.iter().position(|said| said.starts_with("AUTH")));
        // What it would take for a mail.
        assert!(!heard.iter().any(|said| said.starts_with("MAIL")), "{heard:?}");
    }
    let open = RealServer::with(SmtpOptions::default());
    let options = Options::new(format!("smtp://prober:{PLANTED}@{}", open.address()));
    let outcome = asked(options.clone()).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "tls", "server does not offer STARTTLS"));
    let outcome = asked(Options { starttls: Some(false), ..options }).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "auth", "server offers no login that is spoken here"));
    let plain = RealServer::with(SmtpOptions { login, ..SmtpOptions::default() });
    let options = Options::new(format!("smtp://prober:p%40ss@{}", plain.address()));
    assert_eq!(reason(&asked(Options { starttls: Some(false), ..options }).await), "pass");
}

#[tokio::test]
async fn a_frozen_server_is_given_up_in_time_and_passes_once_it_goes_on() {
    let mut server = RealServer::with(SmtpOptions::default());
    let check = Smtp::by_url(format!("smtp://{}", server.address())).unwrap();
    assert_eq!(reason(&run(&check).await), "pass");
    server.pause();
    assert_eq!(run_into_timeout(&check).await.detail(), "timed out while waiting for the server's greeting");
    server.resume();
    assert_eq!(reason(&run(&check).await), "pass");
}

#[tokio::test]
async fn the_faults_of_a_network_are_told_apart() {
    let login = Some(("prober".to_owned(), PLANTED.to_owned()));
    let server = RealServer::with(SmtpOptions { login, ..SmtpOptions::default() });
    let through = |fault| {
        let proxy = FaultProxy::in_front_of(server.address(), fault);
        let url = format!("smtp://prober:{PLANTED}@{}", proxy.address());
        let check = Smtp::new(Options { starttls: Some(false), ..Options::new(url) }).unwrap();
        assert!(!format!("{check:?}").contains(PLANTED));
        (proxy, check)
    };
    for (fault, expected) in [
        (Fault::Drip(Duration::from_micros(100)), "pass"),
        (Fault::ResetAfter(0), "network"),
        (Fault::ResetAfter(60), "network"),
        (Fault::HalfCloseAfter(0), "network"),
        (Fault::HalfCloseAfter(9), "protocol"),
    ] {
        let (_proxy, check) = through(fault);
        let outcome = run(&check).await;
        assert_eq!(reason(&outcome), expected, "{fault:?}: {outcome:?}");
        assert_keeps_secrets(&outcome);
    }
    for fault in [Fault::BlackHole, Fault::SilentAfter(60), Fault::Drip(Duration::from_secs(1))] {
        let (_proxy, check) = through(fault);
        assert_keeps_secrets(&run_into_timeout(&check).await);
    }
    let outcome = asked(Options::new(format!("smtp://u:{PLANTED}@127.0.0.1:{}", free_port()))).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "refused", "connection refused"));
    assert_keeps_secrets(&outcome);
}

/// A server that says the first of these at once, and another to each line that it is told.
async fn false_server(says: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let (reader, mut writer) = stream.split();
        let mut lines = BufReader::new(reader).lines();
        for answer in says {
            writer.write_all(format!("{answer}\r\n").as_bytes()).await?;
            lines.next_line().await?;
        }
        std::io::Result::Ok(())
    });
    address
}

#[tokio::test]
async fn refusals_that_a_real_server_gives_rarely_are_told_apart() {
    const READY: &str = "220 mail.example ESMTP";
    const OFFER: &str = "250-mail.example\r\n250-STARTTLS\r\n250 AUTH PLAIN";
    let later = (Verdict::Warn, "not_ready", "server asks to come back later");
    for (says, expected) in [
        (&["421 4.3.2 mail.example shutting down"][..], later),
        (&["450 4.7.0 too many connections"], later),
        (&["554 5.7.1 no SMTP service here"], (Verdict::Fail, "not_ready", "server takes no mail")),
        (&["200 OK"], (Verdict::Fail, "protocol", "greeting is none of a mail server")),
        (&["HTTP/1.1 400 Bad Request"], (Verdict::Fail, "protocol", "not an answer that the server gives")),
        (&[READY, "421 later"], later),
        (&[READY, "550 you again"], (Verdict::Fail, "error", "EHLO is refused")),
        (&[READY, OFFER, "235 welcome"], (Verdict::Pass, "pass", "")),
        (&[READY, OFFER, "535 5.7.8 no"], (Verdict::Fail, "auth", "user or password not accepted")),
        (&[READY, OFFER, "454 4.7.0 later"], (Verdict::Warn, "not_ready", "login is not possible for now")),
        (&[READY, OFFER, "530 5.7.0 STARTTLS first"], (Verdict::Fail, "auth", "login is refused")),
    ] {
        let url = format!("smtp://u:{PLANTED}@{}", false_server(says).await);
        let outcome = asked(Options { starttls: Some(false), ..Options::new(url) }).await;
        assert_eq!(told(&outcome), expected, "{says:?}: {outcome:?}");
        assert_keeps_secrets(&outcome);
    }
    for (answer, expected) in [
        ("454 4.7.0 later", (Verdict::Fail, "tls", "STARTTLS is refused")),
        // Said ahead of the handshake, by whoever sits in between.
        ("220 go ahead\r\n250 injected", (Verdict::Fail, "protocol", "not an answer that the server gives")),
    ] {
        let says: &'static [&'static str] = Box::leak(Box::new([READY, OFFER, answer]));
        let url = format!("smtp://u:{PLANTED}@{}", false_server(says).await);
        let outcome = asked(Options::new(url)).await;
        assert_eq!(told(&outcome), expected, "{answer}: {outcome:?}");
    }
}

#[test]
fn what_is_offered_is_looked_up_by_word_and_by_what_stands_behind_it() {
    let lines = ["mx.example at your service", "AUTH  plain login", "auth cram-md5", "SIZE", "8BITMIME"];
    let offer = Offer::of(&Reply { code: 250, lines: lines.map(ToOwned::to_owned).to_vec() });
    assert_eq!(offer.server_name, "mx.example");
    for (wanted, is_there) in
        [("AUTH", true), ("AUTH PLAIN CRAM-MD5", true), ("AUTH GSSAPI", false), ("BITMIME", false), ("8bitmime", true)]
    {
        assert_eq!(offer.has(wanted), is_there, "{wanted}");
    }
    assert_eq!(offer.max_size(), None);
}

#[test]
fn a_configuration_is_read_and_what_is_wrong_in_it_is_reported() {
    configured("smtp: { url: 'smtps://u:p@[::1]', server_name: a, helo: b, capabilities: [SIZE, AUTH PLAIN] }").unwrap();
    let reported = [
        "smtp: { url: 'http://host' }",
        "smtp: { url: 'smtp://user@host' }",
        "smtp: { url: 'smtps://host', starttls: true }",
        "smtp: { url: 'smtp://host', helo: 'a b' }",
        "smtp: { url: 'smtp://host', capabilities: ['SIZE  1'] }",
        "smtp: { url: 'smtp://host', capabilities: '[SIZE, HELP]' }",
        "smtp: { url: 'smtp://host', certificate: { unhealthy_below: 20d } }",
    ]
    .map(|text| configured(text).unwrap_err());
    insta::assert_snapshot!(reported.join("\n"), @r"
    test.yaml:1:14: expected a URL such as smtp://user:password@host:587, special characters in user and password percent-encoded
    test.yaml:1:14: write both user and password
    test.yaml:1:40: with smtps:// TLS is spoken from the first byte on
    test.yaml:1:35: expected a name such as monitor.example.com
    test.yaml:1:43: expected words such as SIZE or AUTH PLAIN
    test.yaml:1:43: expected words such as SIZE or AUTH PLAIN
    test.yaml:1:42: unhealthy_below must not be above degraded_below
    ");
    for url in [format!("smtp://:{PLANTED}@"), format!("smtp://u:{PLANTED}%0d%0a@host"), format!("smtp://:{PLANTED}@host")] {
        let reported = configured(&format!("smtp: {{ url: \"{url}\" }}")).unwrap_err();
        assert!(!reported.contains(PLANTED), "{reported}");
    }
}
