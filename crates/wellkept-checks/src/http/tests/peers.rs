//! The check on real servers, with real certificates and real faults.

use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use wellkept_testkit::{Authority, Fault, FaultProxy, Nginx};

use super::*;

/// Longer than its head.
const PLAIN: &str = "location / { return 200 'from nginx, with sixty bytes or a few more, and once again\
     with sixty bytes or a few more, and once again with sixty bytes or a few more, and once again with sixty bytes\
     or a few more, and once again with sixty bytes or a few more, and that is it'; }";

fn with_tls(authority: &Authority, name: &str, days: i32, more: &str) -> String {
    let issued = authority.issue(name, days);
    let (certificate, key) = (issued.certificate.display(), issued.key.display());
    format!("ssl_certificate {certificate};\n    ssl_certificate_key {key};\n    {more}\n    {PLAIN}")
}

fn secured(nginx: &Nginx, ca_file: &Path) -> Options {
    let url = format!("https://{}/", nginx.address()).parse().unwrap();
    Options { ca_file: Some(ca_file.to_owned()), ..Options::new(url) }
}

async fn asked(options: Options) -> Outcome {
    run(&Http::new(options).unwrap()).await
}

#[tokio::test]
async fn the_days_that_a_certificate_has_left_warn_and_then_fail() {
    let authority = Authority::new();
    for (days, limits, verdict, message) in [
        (10, None, "pass", ""),
        (30, Some(Certificate::default()), "pass", ""),
        (10, Some(Certificate::default()), "threshold", "certificate ends in 10 days"),
        (1, Some(Certificate::default()), "threshold", "certificate ends in 1 day"),
        (0, Some(Certificate::default()), "threshold", "certificate ends in less than a day"),
    ] {
        let nginx = Nginx::with("ssl", &with_tls(&authority, "127.0.0.1", days, ""));
        let outcome = asked(Options { certificate: limits, ..secured(&nginx, &authority.ca_file()) }).await;
        assert_eq!((reason(&outcome), outcome.message()), (verdict, message), "{outcome:?}");
        assert_eq!(outcome.verdict() == wellkept_health::Verdict::Fail, days < 3, "{outcome:?}");
        assert_eq!(outcome.metadata()["certificate_days"], days);
        let end: Timestamp = outcome.metadata()["not_after"].as_str().unwrap().parse().unwrap();
        let end = SystemTime::from(end).duration_since(SystemTime::now()).unwrap();
        assert_eq!(end.as_secs() / 86_400, u64::try_from(days).unwrap());
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told_apart() {
    let authority = Authority::new();
    for (name, days, message) in [
        ("127.0.0.1", -2, "certificate has expired"),
        ("elsewhere.example", 90, "certificate is for another name"),
    ] {
        let nginx = Nginx::with("ssl", &with_tls(&authority, name, days, ""));
        let outcome = asked(secured(&nginx, &authority.ca_file())).await;
        assert_eq!((reason(&outcome), outcome.message()), ("tls", message), "{outcome:?}");
        assert_eq!(outcome.metadata().get("certificate_days"), (days < 0).then(|| (-2).into()).as_ref());
    }
    let nginx = Nginx::with("ssl", &with_tls(&authority, "127.0.0.1", 90, ""));
    let outcome = asked(secured(&nginx, &Authority::new().ca_file())).await;
    assert_eq!(outcome.message(), "certificate is not trusted");
    let old = with_tls(&authority, "127.0.0.1", 90, "ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;");
    let outcome = asked(secured(&Nginx::with("ssl", &old), &authority.ca_file())).await;
    assert_eq!(outcome.message(), "no common version of TLS", "{outcome:?}");
    let plain = Nginx::with("", PLAIN);
    assert_eq!(asked(secured(&plain, &authority.ca_file())).await.message(), "what answers does not speak TLS");
}

#[tokio::test]
async fn http_2_is_agreed_on_in_the_handshake_or_known_before() {
    let authority = Authority::new();
    let both = Nginx::with("ssl http2", &with_tls(&authority, "127.0.0.1", 90, ""));
    let old = Nginx::with("ssl", &with_tls(&authority, "127.0.0.1", 90, ""));
    for (nginx, version, expected) in [
        (&both, Version::Http1, "1.1"),
        (&both, Version::Auto, "2"),
        (&both, Version::Http2, "2"),
        (&old, Version::Auto, "1.1"),
    ] {
        let outcome = asked(Options { version, ..secured(nginx, &authority.ca_file()) }).await;
        assert_eq!(outcome.metadata().get("http_version"), Some(&expected.into()), "{version:?}: {outcome:?}");
        assert_eq!(outcome.metadata()["certificate_days"], 90);
    }
    let outcome = asked(Options { version: Version::Http2, ..secured(&old, &authority.ca_file()) }).await;
    assert_eq!((reason(&outcome), outcome.message()), ("protocol", "no HTTP/2"), "{outcome:?}");

    let expect = Expect { body: Some("from nginx".to_owned()), ..Expect::default() };
    let known = Nginx::with("http2", PLAIN);
    let url: Url = format!("http://{}/", known.address()).parse().unwrap();
    let outcome = asked(Options { version: Version::Http2, expect, ..Options::new(url.clone()) }).await;
    assert_eq!((reason(&outcome), &outcome.metadata()["http_version"]), ("pass", &"2".into()), "{outcome:?}");
    let outcome = asked(Options::new(url)).await;
    assert_ne!(reason(&outcome), "pass", "nginx of this version speaks only HTTP/2 there: {outcome:?}");
}

#[tokio::test]
async fn a_unix_socket_is_asked_and_a_missing_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("app.sock");
    let _nginx = Nginx::with("", &format!("listen unix:{};\n    location / {{ return 200 $host; }}", socket.display()));
    let url: Url = "http://orders.internal/health".parse().unwrap();
    let expect = Expect { body: Some("orders.internal".to_owned()), ..Expect::default() };
    let options = Options { expect, unix_socket: Some(socket.clone()), ..Options::new(url) };
    assert_eq!(reason(&asked(options.clone()).await), "pass");
    let outcome = asked(Options { unix_socket: Some(folder.path().join("missing")), ..options.clone() }).await;
    assert_eq!((reason(&outcome), outcome.message()), ("refused", "connection refused"), "{outcome:?}");

    // A server that has ended leaves its socket's file behind.
    let left = folder.path().join("left");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    assert_eq!(reason(&asked(Options { unix_socket: Some(left), ..options }).await), "refused");
}

#[tokio::test]
async fn a_server_that_stands_still_is_a_timeout_at_its_stage() {
    let authority = Authority::new();
    let mut plain = Nginx::with("", PLAIN);
    let mut tls = Nginx::with("ssl", &with_tls(&authority, "127.0.0.1", 90, ""));
    plain.pause();
    tls.pause();
    let url: Url = format!("http://{}/", plain.address()).parse().unwrap();
    let outcome = run_into_timeout(&check(url.clone())).await;
    assert_eq!(outcome.metadata()["stage"], "first_byte");
    let outcome = run_into_timeout(&Http::new(secured(&tls, &authority.ca_file())).unwrap()).await;
    assert_eq!(outcome.metadata()["stage"], "tls");
    plain.resume();
    assert_eq!(reason(&run(&check(url)).await), "pass");
}

#[tokio::test]
async fn the_faults_of_a_network_are_told_apart() {
    let nginx = Nginx::with("", PLAIN);
    let through = |fault| {
        let proxy = FaultProxy::in_front_of(nginx.address(), fault);
        let url = format!("http://{}/", proxy.address()).parse().unwrap();
        (proxy, check(url))
    };
    for fault in [Fault::ResetAfter(0), Fault::ResetAfter(40), Fault::HalfCloseAfter(40), Fault::HalfCloseAfter(0)] {
        let (_proxy, check) = through(fault);
        let outcome = run(&check).await;
        assert_eq!((reason(&outcome), outcome.message()), ("network", "connection broken"), "{fault:?}: {outcome:?}");
    }
    for (fault, stage) in [
        (Fault::BlackHole, "first_byte"),
        (Fault::SilentAfter(20), "first_byte"),
        // The head has more bytes than half a second has pauses.
        (Fault::Drip(Duration::from_millis(20)), "first_byte"),
        (Fault::SilentAfter(250), "body"),
    ] {
        let (_proxy, check) = through(fault);
        let outcome = run_into_timeout(&check).await;
        assert_eq!(outcome.metadata()["stage"], stage, "{fault:?}: {outcome:?}");
    }
    for fault in [Fault::Drip(Duration::from_micros(100)), Fault::Delay(Duration::from_millis(100))] {
        let (proxy, check) = through(fault);
        assert_eq!(reason(&run(&check).await), "pass", "{fault:?}");
        assert_eq!(proxy.connections(), 1, "one connection for one run");
    }
}

#[tokio::test]
async fn planted_secrets_show_in_no_outcome_of_any_kind_of_failure() {
    let authority = Authority::new();
    let nginx = Nginx::with("", "location / { return 302 /next?$args; } location /next { return 500; }");
    let tls = Nginx::with("ssl", &with_tls(&authority, "elsewhere.example", 90, ""));
    let broken = FaultProxy::in_front_of(nginx.address(), Fault::ResetAfter(20));
    let hole = FaultProxy::in_front_of(nginx.address(), Fault::BlackHole);
    let closed = wellkept_testkit::free_address();
    for (scheme, address) in [
        ("http", nginx.address()),
        ("https", nginx.address()),
        ("https", tls.address()),
        ("http", broken.address()),
        ("http", hole.address()),
        ("http", closed),
    ] {
        for version in [Version::Http1, Version::Http2] {
            for follow in [0, 1, 2] {
                let url = format!("{scheme}://user:{PLANTED}@{address}/{PLANTED}?token={PLANTED}").parse().unwrap();
                let options = Options {
                    headers: vec![("Authorization".to_owned(), SecretString::from(format!("Bearer {PLANTED}")))],
                    redirects: Redirects { follow, to: RedirectTo::SameHost },
                    version,
                    ..Options::new(url)
                };
                let check = Http::new(options).unwrap();
                assert!(!format!("{check:?}").contains(PLANTED));
                let context = Context::within(Duration::from_millis(300));
                let outcome = check.run(&context).await;
                assert!(outcome.reason().is_some(), "{outcome:?}");
                assert_keeps_secrets(&outcome);
            }
        }
    }
}
