//! The claims of the check, held against nginx, a mail server and PostgreSQL.

use std::fs;
use std::net::SocketAddr;

use wellkept_testkit::{Authority, Fault, FaultProxy, Issued, Nginx, Postgres, Smtp, SmtpOptions, SmtpTls, free_address};

use super::*;
use crate::testing::{PATIENCE, configured, reason, run, run_into_timeout};

fn server(issued: &Issued, more: &str) -> Nginx {
    let (certificate, key) = (issued.certificate.display(), issued.key.display());
    Nginx::with("ssl", &format!("ssl_certificate {certificate}; ssl_certificate_key {key}; {more}"))
}

fn trusting(authority: &Authority, address: SocketAddr) -> Options {
    Options { ca_file: Some(authority.ca_file()), ..Options::new(address.to_string()) }
}

async fn asked(options: Options) -> Outcome {
    run(&Tls::new(options).unwrap()).await
}

#[tokio::test]
async fn a_handshake_tells_the_version_and_the_days_of_the_certificate() {
    let authority = Authority::new();
    for (days, verdict, message) in [
        (90, "pass", ""),
        (13, "threshold", "certificate ends in 13 days"),
        (2, "threshold", "certificate ends in 2 days"),
        (-1, "tls", "certificate has expired"),
    ] {
        let nginx = server(&authority.issue("127.0.0.1", days), "ssl_protocols TLSv1.3;");
        let outcome = asked(trusting(&authority, nginx.address())).await;
        assert_eq!((reason(&outcome), outcome.message()), (verdict, message), "{outcome:?}");
        assert_eq!(outcome.verdict() == Verdict::Fail, days < 3, "{outcome:?}");
        assert_eq!(outcome.metadata()["certificate_days"], days);
        assert_eq!(outcome.metadata().get("tls_version"), (days > 0).then(|| "1.3".into()).as_ref());
    }
}

#[tokio::test]
async fn a_certificate_is_for_the_name_that_is_asked_for_and_comes_from_whom_is_trusted() {
    let authority = Authority::new();
    let nginx = server(&authority.issue("orders.example", 90), "");
    let options = trusting(&authority, nginx.address());
    let by_name = Options { server_name: Some("orders.example".to_owned()), ..options.clone() };
    assert_eq!(reason(&asked(by_name.clone()).await), "pass");
    assert_eq!(asked(options).await.message(), "certificate is for another name");
    let stranger = Authority::new();
    let outcome = asked(Options { ca_file: Some(stranger.ca_file()), ..by_name.clone() }).await;
    assert_eq!((reason(&outcome), outcome.message()), ("tls", "certificate is not trusted"));
    let outcome = asked(Options { ca_file: None, ..by_name }).await;
    assert_eq!(outcome.message(), "certificate is not trusted", "the system does not know it either");
}

#[tokio::test]
async fn a_version_that_is_too_old_is_told_from_no_common_one() {
    let authority = Authority::new();
    let issued = authority.issue("127.0.0.1", 90);
    let of_2008 = server(&issued, "ssl_protocols TLSv1.2;");
    let options = trusting(&authority, of_2008.address());
    let outcome = asked(options.clone()).await;
    assert_eq!((reason(&outcome), &outcome.metadata()["tls_version"]), ("pass", &"1.2".into()));
    let outcome = asked(Options { min_version: MinVersion::Tls13, ..options }).await;
    assert_eq!((reason(&outcome), outcome.message()), ("tls", "TLS 1.2 is too old"), "{outcome:?}");
    let of_2006 = server(&issued, "ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;");
    let outcome = asked(trusting(&authority, of_2006.address())).await;
    assert_eq!((reason(&outcome), outcome.message()), ("tls", "no common version of TLS"), "{outcome:?}");
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_seen_in_the_next_run() {
    let authority = Authority::new();
    let issued = authority.issue("127.0.0.1", 10);
    let address = free_address();
    let start = |days| {
        let renewed = authority.issue("127.0.0.1", days);
        fs::copy(renewed.certificate, &issued.certificate).unwrap();
        fs::copy(renewed.key, &issued.key).unwrap();
        server(&issued, &format!("listen {address} ssl;"))
    };
    let check = Tls::new(trusting(&authority, address)).unwrap();
    let before = start(11);
    assert_eq!(run(&check).await.metadata()["certificate_days"], 11);
    drop(before);
    let _after = start(80);
    assert_eq!(run(&check).await.metadata()["certificate_days"], 80);
}

#[tokio::test]
async fn what_is_no_tls_server_and_what_breaks_off_is_told_apart() {
    let authority = Authority::new();
    let plain = Nginx::with("", "");
    let outcome = asked(trusting(&authority, plain.address())).await;
    assert_eq!((reason(&outcome), outcome.message()), ("tls", "what answers does not speak TLS"), "{outcome:?}");
    assert_eq!(reason(&asked(trusting(&authority, free_address())).await), "refused");

    let mut nginx = server(&authority.issue("127.0.0.1", 90), "");
    for fault in [Fault::ResetAfter(0), Fault::ResetAfter(100), Fault::HalfCloseAfter(100)] {
        let proxy = FaultProxy::in_front_of(nginx.address(), fault);
        let outcome = asked(trusting(&authority, proxy.address())).await;
        assert_eq!((reason(&outcome), outcome.message()), ("network", "connection broken"), "{fault:?}: {outcome:?}");
    }
    for fault in [Fault::BlackHole, Fault::SilentAfter(100)] {
        let proxy = FaultProxy::in_front_of(nginx.address(), fault);
        let outcome = run_into_timeout(&Tls::new(trusting(&authority, proxy.address())).unwrap()).await;
        assert_eq!(outcome.detail(), "timed out while shaking hands for TLS");
    }
    nginx.pause();
    run_into_timeout(&Tls::new(trusting(&authority, nginx.address())).unwrap()).await;
}

#[tokio::test]
async fn a_mail_server_begins_in_plain_text() {
    let authority = Authority::new();
    let issued = authority.issue("127.0.0.1", 30);
    let server = Smtp::with(SmtpOptions { tls: SmtpTls::Start(issued), ..SmtpOptions::default() });
    let options = Options { starttls: Some(StartTls::Smtp), ..trusting(&authority, server.address()) };
    let outcome = asked(options.clone()).await;
    assert_eq!((reason(&outcome), &outcome.metadata()["certificate_days"]), ("pass", &30.into()), "{outcome:?}");
    let outcome = asked(Options { starttls: None, ..options.clone() }).await;
    assert_eq!(outcome.message(), "what answers does not speak TLS");
    let plain = Smtp::with(SmtpOptions::default());
    let outcome = asked(Options { address: plain.address().to_string(), ..options }).await;
    assert_eq!((reason(&outcome), outcome.message()), ("protocol", "TLS is not begun there"), "{outcome:?}");
}

#[tokio::test]
async fn postgresql_begins_in_its_own_way_and_says_when_it_does_not() {
    let authority = Authority::new();
    let issued = authority.issue("127.0.0.1", 30);
    let postgres = Postgres::start();
    let address = SocketAddr::from(([127, 0, 0, 1], postgres.port()));
    let options = Options { starttls: Some(StartTls::Postgres), ..trusting(&authority, address) };
    let outcome = asked(options.clone()).await;
    assert_eq!((reason(&outcome), outcome.message()), ("protocol", "TLS is not begun there"), "{outcome:?}");

    // Its own user has to write the files, which are nobody else's to read.
    for (file, path) in [("server.crt", issued.certificate), ("server.key", issued.key)] {
        let text = fs::read_to_string(path).unwrap();
        let lines = format!("SELECT unnest(string_to_array('{}', chr(10)))", text.trim_end());
        postgres.execute(&format!("COPY ({lines}) TO PROGRAM 'umask 077; cat > {file}'"));
    }
    postgres.execute("ALTER SYSTEM SET ssl = on");
    postgres.execute("SELECT pg_reload_conf()");
    let until_it_has_read_them = async {
        loop {
            let outcome = asked(options.clone()).await;
            if outcome.message() != "TLS is not begun there" {
                return outcome;
            }
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, until_it_has_read_them).await.unwrap();
    assert_eq!((reason(&outcome), &outcome.metadata()["certificate_days"]), ("pass", &30.into()), "{outcome:?}");
}

#[test]
fn a_configuration_says_what_is_asked_of_a_handshake() {
    configured("tls: { address: 'a:443', server_name: b, min_version: 1.3, starttls: smtp, certificate: { degraded_below: 2d } }")
        .unwrap();
    let reported = [
        "tls: { address: a }",
        "tls: { address: 'a:1', min_version: 1.1 }",
        "tls: { address: 'a:1', starttls: ftp }",
        "tls: { address: 'a:1', certificate: { unhealthy_below: 20d } }",
    ]
    .map(|text| configured(text).unwrap_err());
    insta::assert_snapshot!(reported.join("\n"), @r"
    test.yaml:1:17: the port is missing: write host:port
    test.yaml:1:37: expected 1.2 or 1.3, found `1.1` (did you mean `1.2`?)
    test.yaml:1:34: expected smtp or postgres, found `ftp`
    test.yaml:1:37: unhealthy_below must not be above degraded_below
    ");
}
