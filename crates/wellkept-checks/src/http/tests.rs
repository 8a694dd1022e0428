//! The claims of the check and of `fetch`, held against local servers that say what they are told to.

mod peers;
mod redirects;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wellkept_testkit::free_port;

use super::*;
use crate::testing::{
    PATIENCE, PLANTED, Server, assert_keeps_secrets, configured, reason, run, run_into_timeout, untrusted_tls_server,
};

fn check(url: Url) -> Http {
    Http::by_url(url).unwrap()
}

fn expecting(url: Url, expect: Expect) -> Http {
    Http::new(Options { expect, ..Options::new(url) }).unwrap()
}

#[tokio::test]
async fn a_status_from_200_to_299_passes_and_the_request_is_as_it_should_be() {
    let mut server = Server::with_json("204 No Content", "").await;
    let outcome = run(&check(server.url("/health?full=1"))).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    assert_eq!(outcome.metadata()["status"], 204);
    let request = server.asked().await.replace(&server.address.to_string(), "HOST");
    let request = request.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(request.replace("\r\n", "\n").trim_end(), @r"
    GET /health?full=1 HTTP/1.1
    accept: */*
    user-agent: wellkept/VERSION
    host: HOST
    connection: close
    ");
}

#[tokio::test]
async fn another_status_fails_by_what_it_means() {
    for (status, expected) in [
        ("500 Internal Server Error", "unexpected"),
        ("401 Unauthorized", "auth"),
        ("429 Too Many Requests", "exhausted"),
    ] {
        let server = Server::with_json(status, "{\"secret\": 1}").await;
        let outcome = run(&check(server.url("/"))).await;
        assert_eq!(reason(&outcome), expected);
        assert_eq!(outcome.message(), format!("unexpected status {}", &status[..3]));
        assert_eq!(outcome.detail(), format!("expected 2xx, found {status}"));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_judged_by_its_status() {
    let elsewhere = Server::with_json("200 OK", "").await;
    let answer = format!("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url("/"));
    let server = Server::start(answer).await;
    let outcome = run(&check(server.url("/"))).await;
    assert_eq!(outcome.message(), "unexpected status 302");
    let place = elsewhere.url("/").origin().ascii_serialization();
    let told = format!("expected 2xx, found 302 Found; it leads to {place}, and redirects are not followed");
    assert_eq!(outcome.detail(), told);
    let expect = Expect { status: vec![StatusPattern::Exact(302)], ..Expect::default() };
    assert_eq!(reason(&run(&expecting(server.url("/"), expect)).await), "pass");
    assert!(elsewhere.requests.is_empty());
}

#[tokio::test]
async fn every_part_of_what_is_expected_must_hold() {
    let body = r#"{"status": "healthy", "components": [{"up": true, "load": 1.50, "note": null}]}"#;
    let server = Server::with_json("200 OK", body).await;
    let json = |path: &str, value: &str| vec![(path.parse::<JsonPath>().unwrap(), Comparison::equal(value))];
    let none = Expect::default();
    for (expect, message) in [
        (Expect { body: Some("\"healthy\"".to_owned()), ..none.clone() }, ""),
        (Expect { body: Some("unhealthy".to_owned()), ..none.clone() }, "unexpected body"),
        (Expect { json: json("$.status", "healthy"), ..none.clone() }, ""),
        (Expect { json: json("$.status", "degraded"), ..none.clone() }, "unexpected value"),
        (Expect { json: json("$.missing", "healthy"), ..none.clone() }, "unexpected value"),
        (Expect { json: json("$.components", "healthy"), ..none.clone() }, "unexpected value"),
        (Expect { json: json("$.components[0].up", "true"), ..none.clone() }, ""),
        (Expect { json: json("$.components[0].up", "false"), ..none.clone() }, "unexpected value"),
        (Expect { json: json("$.components[0].load", "1.5"), ..none.clone() }, ""),
        (Expect { json: json("$.components[0].load", "1.6"), ..none.clone() }, "unexpected value"),
        (Expect { json: json("$.components[0].note", "null"), ..none.clone() }, ""),
        (Expect { header: vec![("Content-Type".to_owned(), "application/json".to_owned())], ..none.clone() }, ""),
        (Expect { header: vec![("content-type".to_owned(), "text/html".to_owned())], ..none.clone() }, "unexpected header"),
        (Expect { header: vec![("x-ready".to_owned(), "1".to_owned())], ..none.clone() }, "unexpected header"),
    ] {
        let outcome = run(&expecting(server.url("/"), expect.clone())).await;
        assert_eq!(outcome.message(), message, "{expect:?}: {outcome:?}");
        assert_eq!(reason(&outcome), if message.is_empty() { "pass" } else { "unexpected" });
    }
    let server = Server::with_json("200 OK", "<html>").await;
    let expect = Expect { json: json("$.status", "healthy"), ..none };
    assert_eq!(run(&expecting(server.url("/"), expect)).await.message(), "body is not JSON");
}

#[tokio::test]
async fn of_an_unexpected_value_only_operators_see_the_beginning() {
    let long = "x".repeat(10_000);
    let server = Server::with_json("200 OK", &format!("{{\"status\": \"{long}\"}}")).await;
    let expect = Expect { json: vec![("$.status".parse().unwrap(), Comparison::equal("ok"))], ..Expect::default() };
    let outcome = run(&expecting(server.url("/"), expect)).await;
    assert_eq!(outcome.message(), "unexpected value");
    assert_eq!(outcome.detail(), format!("$.status: expected `ok`, found `{}…`", &long[..64]));
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let mut server = Server::with_json("503 Service Unavailable", "").await;
    let mut url = server.url(&format!("/?token={PLANTED}"));
    url.set_username("us er").unwrap();
    url.set_password(Some(PLANTED)).unwrap();
    let options = Options {
        headers: vec![("X-Api-Key".to_owned(), SecretString::from(format!("key-{PLANTED}")))],
        ..Options::new(url)
    };
    assert!(!format!("{options:?}").contains(PLANTED));
    let check = Http::new(options).unwrap();
    assert!(!format!("{check:?}").contains(PLANTED));
    let outcome = run(&check).await;
    assert_eq!(outcome.message(), "unexpected status 503");
    assert_keeps_secrets(&outcome);
    let request = server.asked().await;
    // `us er:hunter2-planted`
    assert!(request.contains("authorization: Basic dXMgZXI6aHVudGVyMi1wbGFudGVk\r\n"), "{request}");
    assert!(request.contains(&format!("x-api-key: key-{PLANTED}\r\n")), "{request}");

    for url in ["http://u:p@127.0.0.1:1/", "https://u:p@127.0.0.1:1/"] {
        let url = url.replace(":p@", &format!(":{PLANTED}@")).replace(":1/", &format!(":{}/", free_port()));
        let outcome = run(&Http::by_url(url.parse().unwrap()).unwrap()).await;
        assert_eq!((reason(&outcome), outcome.message()), ("refused", "connection refused"));
        assert_keeps_secrets(&outcome);
    }
}

#[tokio::test]
async fn a_host_header_of_ones_own_replaces_the_urls() {
    let mut server = Server::with_json("200 OK", "").await;
    let headers = vec![("Host".to_owned(), SecretString::from("orders.internal"))];
    let check = Http::new(Options { headers, method: Method::Head, ..Options::new(server.url("/")) }).unwrap();
    assert_eq!(reason(&run(&check).await), "pass");
    let request = server.asked().await;
    assert!(request.starts_with("HEAD / HTTP/1.1\r\n") && request.contains("host: orders.internal\r\n"), "{request}");
    assert_eq!(request.matches("host: ").count(), 1);
}

#[tokio::test]
async fn an_untrusted_certificate_is_a_tls_failure() {
    let port = untrusted_tls_server().await;
    let outcome = run(&check(format!("https://127.0.0.1:{port}/").parse().unwrap())).await;
    assert_eq!((reason(&outcome), outcome.message()), ("tls", "certificate is not trusted"));
    assert!(outcome.detail().contains("invalid peer certificate"), "{outcome:?}");
}

#[tokio::test]
async fn a_server_without_tls_is_a_tls_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await
    });
    let outcome = run(&check(format!("https://127.0.0.1:{port}/").parse().unwrap())).await;
    assert_eq!((reason(&outcome), outcome.message()), ("tls", "what answers does not speak TLS"), "{outcome:?}");
}

#[tokio::test]
async fn each_stage_has_its_timeout() {
    let silent = Server::start("").await;
    let silent_url = silent.url("/");
    // Accepts, by the kernel, and never says anything.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute_address = mute.local_addr().unwrap();
    let half = Server::start("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    // Keeps the connection open after the half.
    let outcome = run(&check(half.url("/"))).await;
    assert_eq!(reason(&outcome), "network", "{outcome:?}");
    let outcome = run(&check(silent_url)).await;
    assert_eq!(reason(&outcome), "network", "{outcome:?}");
    let outcome = run_into_timeout(&check(format!("http://{mute_address}/").parse().unwrap())).await;
    assert_eq!(outcome.detail(), "timed out while waiting for the response");
    assert_eq!(outcome.metadata()["stage"], "first_byte");
    let outcome = run_into_timeout(&check(format!("https://{mute_address}/").parse().unwrap())).await;
    assert_eq!(outcome.detail(), "timed out while shaking hands for TLS");
    assert_eq!(outcome.metadata()["stage"], "tls");
    for version in [Version::Http1, Version::Http2] {
        let full = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", full.local_addr().unwrap()).parse().unwrap();
        let outcome = run_into_timeout(&Http::new(Options { version, ..Options::new(url) }).unwrap()).await;
        assert_eq!(outcome.metadata()["stage"], "first_byte", "{outcome:?}");
    }
}

#[tokio::test]
async fn a_page_of_a_single_page_application_is_no_answer_in_json() {
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/HTML; charset=utf-8\r\ncontent-length: 15\r\n\r\n";
    let server = Server::start(format!("{page}<title>a</title>")).await;
    let json = |path: &str, value: &str| vec![(path.parse::<JsonPath>().unwrap(), Comparison::equal(value))];
    for expect in [
        Expect { json: json("$.status", "ok"), ..Expect::default() },
        Expect { content_type: Some("application/json".to_owned()), ..Expect::default() },
    ] {
        let outcome = run(&expecting(server.url("/health"), expect)).await;
        assert_eq!((reason(&outcome), outcome.message()), ("unexpected", "unexpected content type"), "{outcome:?}");
    }
    let expect = Expect { content_type: Some("Text/html".to_owned()), ..Expect::default() };
    assert_eq!(reason(&run(&expecting(server.url("/health"), expect)).await), "pass");
}

#[tokio::test]
async fn a_number_in_json_is_held_against_a_limit() {
    let server = Server::with_json("200 OK", r#"{"queue": 120, "state": "idle"}"#).await;
    for (path, comparison, passes) in [
        ("$.queue", "< 100", false),
        ("$.queue", "< 121", true),
        ("$.queue", ">= 120", true),
        ("$.state", "!= failed", true),
        ("$.state", "!= idle", false),
        ("$.state", "< 100", false),
        ("$.missing", "!= failed", false),
    ] {
        let json = vec![(path.parse::<JsonPath>().unwrap(), Comparison::from_scalar(comparison).unwrap())];
        let outcome = run(&expecting(server.url("/"), Expect { json, ..Expect::default() })).await;
        assert_eq!(outcome.reason().is_none(), passes, "{path} {comparison}: {outcome:?}");
        if comparison == "< 100" && path == "$.queue" {
            assert_eq!(outcome.detail(), "$.queue: expected `< 100`, found `120`");
        }
    }
}

#[tokio::test]
async fn what_is_no_http_is_a_protocol_failure() {
    let server = Server::start("220 mail.example ESMTP ready\r\n").await;
    let outcome = run(&check(server.url("/"))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("protocol", "not an answer in HTTP"), "{outcome:?}");
}

#[tokio::test]
async fn a_body_can_be_sent_along() {
    let mut server = Server::with_json("202 Accepted", "").await;
    let request = Request::new(fetch::Method::POST, &server.url("/maintenance")).unwrap().with_json("{}");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let response = request.send(AddressRules::configured(), deadline).await.unwrap();
    assert_eq!(response.status, fetch::StatusCode::ACCEPTED);
    let asked = server.asked().await;
    assert!(asked.starts_with("POST /maintenance HTTP/1.1\r\n") && asked.contains("content-length: 2\r\n"), "{asked}");
}

#[tokio::test]
async fn a_body_is_kept_up_to_one_mib_or_as_far_as_is_asked() {
    let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    answer.resize(answer.len() + 3 * fetch::MOST_OF_A_BODY, b'x');
    let server = Server::start(answer).await;
    let request = Request::get(&server.url("/")).unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let response = request.send(AddressRules::configured(), deadline).await.unwrap();
    assert_eq!((response.body.len(), response.truncated), (fetch::MOST_OF_A_BODY, true));
    for (most, truncated) in [(3 * fetch::MOST_OF_A_BODY - 1, true), (3 * fetch::MOST_OF_A_BODY, false)] {
        let response = request.clone().taking(most).send(AddressRules::configured(), deadline).await.unwrap();
        assert_eq!((response.body.len(), response.truncated), (most, truncated));
    }
    let expect = Expect { body: Some("y".to_owned()), ..Expect::default() };
    let outcome = run(&expecting(server.url("/"), expect)).await;
    assert_eq!(outcome.detail(), "the first MiB of the body does not hold the expected text");
}

#[tokio::test]
async fn endless_headers_end_at_their_limit() {
    let mut answer = b"HTTP/1.1 200 OK\r\nx-long: ".to_vec();
    answer.resize(answer.len() + 4 * fetch::MOST_OF_A_HEAD, b'x');
    let server = Server::start(answer).await;
    let outcome = run(&check(server.url("/"))).await;
    assert_eq!(reason(&outcome), "protocol", "{outcome:?}");
}

#[test]
fn a_configuration_says_what_is_expected() {
    for text in [
        "http: { url: 'https://payments.internal/health', expect: { status: 200, json: { '$.status': healthy } } }",
        "http: { url: 'http://a/', method: HEAD, expect: { status: [200, '2xx', 3xx], header: { x-ready: '1' } } }",
        "http: { url: 'http://a/', headers: { Authorization: 'Bearer x' }, expect: { body: ok, json: { $.n: null } } }",
        "http: { url: 'http://a/', expect: {} }",
        "http: { url: 'http://a/', redirects: { follow: 3, to: any }, version: 2 }",
        "http: { url: 'https://a/', certificate: { degraded_below: 30d }, version: auto }",
        "http: { url: 'http://a/', unix_socket: /run/app.sock, expect: { json: { $.queue: '< 100' } } }",
    ] {
        configured(text).unwrap_or_else(|reported| panic!("{text}: {reported}"));
    }
}

#[test]
fn what_cannot_be_expected_is_reported_where_it_stands() {
    let planted = format!("http: {{ url: 'http://a/', headers: {{ x-key: \"a\\n{PLANTED}\" }} }}");
    let reported = [
        "http: { url: 'ftp://a/' }",
        "http: { url: 'http://a/', method: POST }",
        "http: { url: 'http://a/', expect: { status: 2x } }",
        "http: { url: 'http://a/', expect: { status: 600 } }",
        "http: { url: 'http://a/', expect: { json: { status: ok } } }",
        "http: { url: 'http://a/', expect: { json: { '$.*': ok } } }",
        "http: { url: 'http://a/', expect: { header: { 'a b': ok } } }",
        "http: { url: 'http://a/', expect: { stauts: 200 } }",
        "http: { url: 'http://a/', method: HEAD, expect: { body: ok } }",
        "http: { url: 'http://a/', expect: { json: { $.queue: '< many' } } }",
        "http: { url: 'http://a/', redirects: { follow: 11 } }",
        "http: { url: 'http://a/', unix_socket: /run/app.sock, redirects: { follow: 1, to: any } }",
        "http: { url: 'http://a/', version: 1.0 }",
        "http: { url: 'https://a/', certificate: { degraded_below: 1d, unhealthy_below: 2d } }",
        "http: { url: 'https://a/', ca_file: /missing }",
        &planted,
    ]
    .map(|text| configured(text).unwrap_err());
    insta::assert_snapshot!(reported.join("\n"), @r"
    test.yaml:1:14: the URL must begin with http:// or https://
    test.yaml:1:35: expected GET or HEAD, found `POST`
    test.yaml:1:45: expected a status such as 200, or a class such as 2xx, found `2x`
    test.yaml:1:45: expected a status such as 200, or a class such as 2xx, found `600` (from 100 to 599, or from 1xx to 5xx)
    test.yaml:1:45: a path begins with $, as in $.status
    test.yaml:1:45: a path is made of .name, ['name'] and [0], as in $.components[0].status
    test.yaml:1:47: this is no header's name
    test.yaml:1:37: unknown key `stauts` in `expect`, did you mean `status`?
    test.yaml:1:49: an answer to HEAD has no body: use GET
    test.yaml:1:54: expected a value, or a comparison such as < 100 or != failed, found `< many` (for this very text: == < many)
    test.yaml:1:38: at most 10 are followed
    test.yaml:1:66: through a socket there is only one host
    test.yaml:1:36: expected 1.1, 2 or auto, found `1.0` (did you mean `1.1`?)
    test.yaml:1:41: unhealthy_below must not be above degraded_below
    test.yaml:1:37: the file can't be read: entity not found
    test.yaml:1:36: a header's value holds no line breaks and control characters
    ");
}
