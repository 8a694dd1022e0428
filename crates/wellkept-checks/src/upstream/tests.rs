//! The claims of the check, held against local servers that answer as the frameworks do.

mod bodies;
mod hostile;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use wellkept_health::{Identity, Part, Reason};
use wellkept_testkit::free_port;

use super::*;
use crate::fetch::{Response, StatusCode, header};
use crate::testing::{
    PLANTED, Server, assert_keeps_secrets, configured, reason, run, run_into_timeout, untrusted_tls_server,
};

/// An answer with these headers.
fn answer(code: u16, headers: &[(&'static str, &str)], body: impl Into<Vec<u8>>) -> Response {
    let headers = headers.iter().map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()));
    Response {
        status: StatusCode::from_u16(code).unwrap(),
        headers: headers.collect(),
        body: body.into().into(),
        truncated: false,
        trailers: header::HeaderMap::default(),
        http2: false,
        not_after: None,
    }
}

fn judge() -> judge::Judge {
    judge::Judge { format: Format::Auto, max_age: None, identity: None, now: Instant::now() }
}

/// What becomes of one answer.
fn judged(code: u16, headers: &[(&'static str, &str)], body: &str) -> Outcome {
    judge().judge(&answer(code, headers, body), None).0
}

fn outline(parts: &[Part]) -> String {
    let parts = parts.iter().map(|part| {
        let message = if part.message().is_empty() { String::new() } else { format!(" {:?}", part.message()) };
        let below = if part.parts().is_empty() { String::new() } else { format!(" [{}]", outline(part.parts())) };
        format!("{} {}{message}{below}", part.name(), part.status())
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Verdict, reason, message and parts in a line.
fn told(outcome: &Outcome) -> String {
    let parts = outcome.parts().map(|parts| outline(parts.list())).unwrap_or_default();
    let format = outcome.metadata().get("format").and_then(|format| format.as_str()).unwrap_or("-");
    format!("{format}: {} {:?} <{parts}>", reason(outcome), outcome.message())
}

fn check(url: Url) -> Upstream {
    Upstream::by_url(url).unwrap()
}

#[tokio::test]
async fn an_answer_is_read_over_the_network_with_the_headers_that_are_configured() {
    let body = r#"{"status":"healthy","service":"billing","version":"2.0","uptime_seconds":3}"#;
    let mut server = Server::with_json("200 OK", body).await;
    let options = Options {
        headers: vec![("Authorization".to_owned(), SecretString::from(format!("Bearer {PLANTED}")))],
        ..Options::new(server.url(&format!("/health?key={PLANTED}")))
    };
    assert!(!format!("{options:?}").contains(PLANTED));
    let check = Upstream::new(options).unwrap();
    let outcome = run(&check).await;
    assert_eq!(told(&outcome), "wellkept: pass \"\" <>");
    assert_eq!(outcome.metadata()["service"], "billing");
    assert_eq!(outcome.metadata()["status"], 200);
    assert_keeps_secrets(&outcome);
    assert!(!format!("{check:?}").contains(PLANTED));
    let request = server.asked().await;
    assert!(request.contains(&format!("authorization: Bearer {PLANTED}\r\n")), "{request}");
    assert!(request.contains("accept: application/json, application/health+json;q=0.9, "), "{request}");
    assert!(!request.contains(Origins::ASKER), "nobody is there to be looked at: {request}");
}

#[tokio::test]
async fn a_service_says_which_one_it_is() {
    let mut server = Server::with_json("200 OK", r#"{"status":"pass"}"#).await;
    let identity = Identity::named("orders");
    let context = Context::within(crate::testing::PATIENCE).within_service(Some(identity));
    assert_eq!(reason(&check(server.url("/")).run(&context).await), "pass");
    let request = server.asked().await;
    assert!(request.contains(&format!("wellkept-asker: {identity}\r\n")), "{request}");
}

#[tokio::test]
async fn a_web_page_is_not_healthy_whatever_its_status_and_type_unless_only_the_status_counts() {
    for (kind, page) in [
        ("text/html; charset=utf-8", "<!DOCTYPE html><html><body>Please log in</body></html>"),
        ("text/html", ""),
        ("application/xhtml+xml", "<?xml version=\"1.0\"?><html/>"),
        ("application/json", "\u{feff}\n <!doctype HTML><title>status: healthy</title>"),
        ("text/plain", "<HTML><body>healthy</body></HTML>"),
    ] {
        let outcome = judged(200, &[("content-type", kind)], page);
        assert_eq!((reason(&outcome), outcome.message()), ("protocol", "a web page, not a health answer"), "{kind}");
    }
    let page = answer(200, &[("content-type", "text/html")], "<html>");
    let by_status = judge::Judge { format: Format::Status, ..judge() };
    assert_eq!(reason(&by_status.judge(&page, None).0), "pass");
    assert_eq!(judged(502, &[("content-type", "text/html")], "<html>").message(), "unexpected status 502");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_not_healthy() {
    let elsewhere = Server::with_json("200 OK", r#"{"status":"pass"}"#).await;
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "304 Not Modified"] {
        let location = elsewhere.url("/");
        let server =
            Server::start(format!("HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")).await;
        let options = Options { format: Format::Status, ..Options::new(server.url("/")) };
        for check in [check(server.url("/")), Upstream::new(options).unwrap()] {
            let outcome = run(&check).await;
            assert_eq!((reason(&outcome), outcome.message()), ("unexpected", "a redirect, not a health answer"));
        }
    }
    assert!(elsewhere.requests.is_empty());
}

#[test]
fn the_worse_of_body_and_status_counts_and_the_message_says_so() {
    let json = [("content-type", "application/json")];
    for (code, body, expected) in [
        (200, r#"{"status":"UP"}"#, "spring: pass \"\" <>"),
        (503, r#"{"status":"UP"}"#, "spring: unexpected \"status 503, although it says that it is healthy\" <>"),
        (200, r#"{"status":"DOWN"}"#, "spring: upstream \"it says that it is unhealthy, with status 200\" <>"),
        (503, r#"{"status":"DOWN"}"#, "spring: upstream \"it says that it is unhealthy\" <>"),
        (503, r#"{"status":"warn"}"#, "health+json: unexpected \"status 503, although it says that it is degraded\" <>"),
        (200, r#"{"status":"warn"}"#, "health+json: upstream \"it says that it is degraded\" <>"),
        (503, r#"{"status":"OUT_OF_SERVICE"}"#, "spring: not_ready \"it says that it is in maintenance\" <>"),
        (503, r#"{"ready":false,"status":"healthy","reason":"draining","dependencies":{}}"#, "wellkept: not_ready \"it says that it is on its way out\" <>"),
        (503, r#"{"ready":false,"status":"unknown","reason":"starting","dependencies":{}}"#, "wellkept: not_ready \"it says that it is still starting\" <>"),
        (503, r#"{"started":false}"#, "wellkept: not_ready \"it says that it is still starting\" <>"),
        (503, r#"{"alive":false}"#, "wellkept: upstream \"it says that it is unhealthy\" <>"),
        (200, r#"{"status":"unhealthy","lifecycle":"running","components":{}}"#, "wellkept: upstream \"it says that it is unhealthy\" <>"),
        (401, r#"{"status":"UP"}"#, "-: auth \"not allowed to ask\" <>"),
        (429, r#"{"status":"UP"}"#, "-: exhausted \"asked too often\" <>"),
        (404, r#"{"timestamp":"2026-01-15T10:30:00Z","status":404,"error":"Not Found"}"#, "-: unexpected \"unexpected status 404\" <>"),
    ] {
        assert_eq!(told(&judged(code, &json, body)), expected, "{code} {body}");
    }
    let outcome = judged(200, &json, r#"{"status":"DOWN"}"#);
    assert_eq!(outcome.verdict(), wellkept_health::Verdict::Fail);
}

#[test]
fn what_says_nothing_but_its_status_counts_by_that_and_what_is_not_understood_fails() {
    for (kind, body, expected) in [
        ("text/plain", "", "status: pass \"\" <>"),
        ("text/plain", "pong", "status: pass \"\" <>"),
        ("application/json", r#"{"message":"alive"}"#, "status: pass \"\" <>"),
        ("application/json", "[]", "status: pass \"\" <>"),
        ("text/plain", "Healthy", "aspnet: pass \"\" <>"),
        ("text/plain", "Degraded\n", "aspnet: upstream \"it says that it is degraded\" <>"),
        ("application/json", r#"{"status":"green"}"#, "-: protocol \"an unknown status word\" <>"),
        ("application/json", r#"{"status":200,"message":"alive"}"#, "status: pass \"\" <>"),
        ("application/json", r#"{"status":true}"#, "health+json: pass \"\" <>"),
        ("application/json", r#"{"status":false}"#, "health+json: upstream \"it says that it is unhealthy, with status 200\" <>"),
        ("application/json", r#"{"healthy":false}"#, "health+json: upstream \"it says that it is unhealthy, with status 200\" <>"),
        ("application/json", r#"{"status":"UP","ok":false}"#, "spring: upstream \"it says that it is unhealthy, with status 200\" <>"),
        ("application/json", r#"{"healthy":["a","b"]}"#, "status: pass \"\" <>"),
        ("application/json", r#"{"success":true}"#, "health+json: pass \"\" <>"),
        ("application/json", r#"{"status":{"indicator":"critical"}}"#, "-: protocol \"an unknown status word\" <>"),
        ("application/json", r#"{"status":null}"#, "-: protocol \"an unknown status word\" <>"),
        ("application/json", r#"{"status":500}"#, "-: protocol \"an unknown status word\" <>"),
        ("application/json", r#"[{"name":"db","status":"UP"},{"status":"DOWN"},{"a":1}]"#, "health+json: upstream \"it says that it is unhealthy, with status 200\" <2 unhealthy, db healthy>"),
        ("application/json", r#"[{"status":"UP"},{"status":"purple"}]"#, "-: protocol \"an unknown status word\" <>"),
        ("application/json", "{\"status\":", "-: protocol \"not JSON\" <>"),
        ("application/json", "OK", "-: protocol \"not JSON\" <>"),
    ] {
        assert_eq!(told(&judged(200, &[("content-type", kind)], body)), expected, "{kind} {body}");
    }
    assert_eq!(judged(503, &[], "").message(), "unexpected status 503");
    assert_eq!(judged(500, &[("content-type", "application/json")], "[]").message(), "unexpected status 500");
}

#[test]
fn an_answer_that_is_not_in_the_configured_format_fails() {
    for (format, body) in [
        (Format::Spring, "pong"),
        (Format::Wellkept, "[]"),
        (Format::HealthJson, r#"{"message":"alive"}"#),
        (Format::AspNet, "well"),
    ] {
        let outcome = judge::Judge { format, ..judge() }.judge(&answer(200, &[], body), None).0;
        assert_eq!(outcome.message(), "not a health answer of the configured format", "{format:?}");
        assert!(outcome.detail().contains(format.as_str()));
    }
}

#[test]
fn a_copy_of_an_answer_is_stale_however_far_the_clocks_are_apart() {
    let own = r#"{"status":"healthy","timestamp":"2001-01-15T10:30:00.000Z","uptime_seconds":3}"#;
    let date = ("date", "Mon, 15 Jan 2001 10:30:01 GMT");
    assert_eq!(reason(&judged(200, &[date], own)), "pass", "its clock is decades behind, and that is all");
    let outcome = judged(200, &[date, ("age", "61")], own);
    assert_eq!((reason(&outcome), outcome.message()), ("stale", "an old copy of an answer"));
    assert_eq!(outcome.verdict(), wellkept_health::Verdict::Fail);
    let patient = judge::Judge { max_age: Some(Duration::from_secs(100)), ..judge() };
    assert_eq!(reason(&patient.judge(&answer(200, &[("age", "61")], own), None).0), "pass");
}

#[test]
fn a_proxy_with_another_clock_makes_no_copy_and_an_answer_that_falls_behind_is_one() {
    let at = |written: &str, date: &str, watch| {
        let body = format!(r#"{{"status":"healthy","timestamp":"2001-01-15T{written}Z","uptime_seconds":3}}"#);
        let (outcome, watch) =
            judge().judge(&answer(200, &[("date", &format!("Mon, 15 Jan 2001 {date} GMT"))], body), watch);
        (reason(&outcome).to_owned(), watch)
    };
    let (first, watch) = at("10:00:00", "10:30:00", None);
    let (second, watch) = at("10:00:10", "10:30:10", watch);
    assert_eq!((first.as_str(), second.as_str()), ("pass", "pass"));
    let (first, watch) = at("10:00:11", "10:30:50", watch);
    let (second, watch) = at("10:00:12", "10:31:20", watch);
    assert_eq!((first.as_str(), second.as_str()), ("pass", "stale"), "its time goes on more slowly than its date");
    assert_eq!(at("10:00:22", "10:31:30", watch).0, "pass", "a clock that was set is no copy for ever");
}

#[test]
fn an_answer_that_does_not_go_on_is_stale() {
    let now = Instant::now();
    let at = |seconds| judge::Judge { now: now + Duration::from_secs(seconds), ..judge() };
    let same = answer(200, &[], r#"{"status":"healthy","timestamp":"2026-01-15T10:30:00.000Z","uptime_seconds":3}"#);
    let (outcome, watch) = at(0).judge(&same, None);
    assert_eq!(reason(&outcome), "pass");
    let (outcome, watch) = at(60).judge(&same, watch);
    assert_eq!(reason(&outcome), "pass");
    let (outcome, watch) = at(61).judge(&same, watch);
    assert_eq!(reason(&outcome), "stale", "{outcome:?}");
    let dated = answer(200, &[("date", "Mon, 15 Jan 2001 10:30:00 GMT")], r#"{"status":"UP"}"#);
    let (outcome, watch) = at(62).judge(&dated, watch);
    assert_eq!(reason(&outcome), "pass", "another answer begins anew");
    assert_eq!(reason(&at(123).judge(&dated, watch).0), "stale");
}

#[test]
fn old_readings_are_a_warning() {
    let time = r#"{"status":"pass","checks":{"db:latency":[{"status":"pass","time":"2026-01-15T10:28:00Z"},{"status":"pass","time":"2026-01-15T10:29:59Z"}]}}"#;
    let outcome = judged(200, &[("date", "Thu, 15 Jan 2026 10:30:00 GMT")], time);
    assert_eq!((reason(&outcome), outcome.verdict()), ("stale", wellkept_health::Verdict::Warn));
    assert!(outcome.detail().contains("120 s"), "{outcome:?}");
    assert_eq!(reason(&judged(200, &[], time)), "pass", "without its clock nothing is said of the readings");

    let own = r#"{"status":"healthy","timestamp":"2026-01-15T10:30:00.000Z","checked_at":"2026-01-15T10:28:00.000Z","uptime_seconds":3}"#;
    let detailed = r#"{"status":"healthy","timestamp":"2026-01-15T10:30:00.000Z","uptime":"1","lifecycle":"running","components":{"db":{"status":"healthy","age_ms":90000}}}"#;
    for body in [own, detailed] {
        assert_eq!(reason(&judged(200, &[], body)), "pass", "it calls what is too old unknown by itself");
        let strict = judge::Judge { max_age: Some(Duration::from_secs(60)), ..judge() };
        assert_eq!(reason(&strict.judge(&answer(200, &[], body), None).0), "stale", "{body}");
    }
}

/// What one service makes of another's answer that says so and has these origins.
fn in_a_loop(status: &str, code: u16, origins: &str) -> Outcome {
    let body = format!(r#"{{"status":"{status}","service":"billing","uptime_seconds":3}}"#);
    let (me, it, third) = (Identity::named("me"), Identity::named("it"), Identity::named("third"));
    let names = [("ME", me), ("IT", it), ("THIRD", third)];
    let origins = names.iter().fold(origins.to_owned(), |text, (name, one)| text.replace(name, &one.to_string()));
    let judge = judge::Judge { identity: Some(me), ..judge() };
    judge.judge(&answer(code, &[("wellkept-origins", &origins)], body), None).0
}

#[test]
fn what_comes_back_from_this_service_is_named_and_left_out() {
    let outcome = in_a_loop("unhealthy", 503, "unhealthy IT>stock:THIRD>orders:ME; healthy IT; healthy IT>stock:THIRD");
    assert_eq!(told(&outcome), "wellkept: loop \"not healthy only because of this service\" <>");
    assert_eq!(outcome.verdict(), wellkept_health::Verdict::Warn);
    assert_eq!(outcome.detail(), "it looks back at this service: billing → stock → this service");
    assert_eq!(outcome.metadata()["loop"], "billing → stock → this service");

    let outcome = in_a_loop("healthy", 200, "healthy IT; healthy IT>ME");
    assert_eq!(told(&outcome), "wellkept: pass \"\" <>", "a loop alone is no trouble");
    assert_eq!(outcome.metadata()["loop"], "billing → this service");

    let outcome = in_a_loop("degraded", 200, "healthy IT; healthy IT>ME");
    assert_eq!(reason(&outcome), "pass", "it is degraded by nothing but the loop");

    let outcome = in_a_loop("unhealthy", 503, "unhealthy IT>ME; degraded IT>THIRD; healthy IT");
    assert_eq!((reason(&outcome), outcome.verdict()), ("upstream", wellkept_health::Verdict::Warn));

    let outcome = in_a_loop("unhealthy", 503, "unhealthy IT>ME; unhealthy IT");
    assert_eq!(told(&outcome), "wellkept: upstream \"it says that it is unhealthy\" <>");

    let itself = in_a_loop("unhealthy", 503, "unhealthy ME");
    assert_eq!((reason(&itself), &itself.metadata()["loop"]), ("loop", &"this service".into()));
}

#[test]
fn trouble_that_no_origin_explains_is_the_services_own() {
    let (me, it) = (Identity::named("me"), Identity::named("it"));
    let asked = |code, kind: &str, body: &str, origins: &str| {
        let origins = origins.replace("IT", &it.to_string()).replace("ME", &me.to_string());
        let judge = judge::Judge { identity: Some(me), ..judge() };
        judge.judge(&answer(code, &[("content-type", kind), ("wellkept-origins", &origins)], body), None).0
    };
    let detailed = |stage: &str| {
        format!(r#"{{"status":"healthy","uptime":"00:00:03","ready":false,"lifecycle":"{stage}","components":{{}}}}"#)
    };
    let json = "application/json";
    let draining = r#"{"status":"fail","notes":["draining"]}"#;
    for (outcome, expected) in [
        (asked(200, json, &detailed("draining"), "healthy IT"), "not_ready"),
        (asked(200, json, &detailed("starting"), "healthy IT"), "not_ready"),
        (asked(200, json, &detailed("draining"), "unhealthy IT>ME; healthy IT"), "not_ready"),
        (asked(503, "application/health+json", r#"{"status":"fail"}"#, "healthy IT"), "upstream"),
        (asked(503, "application/health+json", draining, "unhealthy IT>ME; healthy IT"), "not_ready"),
        (asked(503, json, r#"{"status":"unhealthy","uptime_seconds":3}"#, "healthy IT; healthy IT>ME"), "upstream"),
        (asked(503, json, r#"{"status":"unhealthy","uptime_seconds":3}"#, "degraded IT>ME; healthy IT"), "upstream"),
    ] {
        assert_eq!((reason(&outcome), outcome.verdict()), (expected, wellkept_health::Verdict::Fail), "{outcome:?}");
        assert_eq!(outcome.origins().unwrap().to_string(), format!("unhealthy {it}"));
    }
}

#[test]
fn what_this_side_has_against_an_answer_comes_from_the_service_that_gave_it() {
    let it = Identity::named("it");
    let outcome = in_a_loop("healthy", 503, "healthy IT; healthy IT>ME");
    assert_eq!(reason(&outcome), "unexpected");
    assert_eq!(outcome.origins().unwrap().to_string(), format!("unhealthy {it}"));
}

#[test]
fn origins_that_are_none_are_passed_over() {
    for origins in ["", "unhealthy", "healthy x", "healthy 0123456789ab>"] {
        let outcome = judged(200, &[("wellkept-origins", origins)], r#"{"status":"healthy"}"#);
        assert_eq!((reason(&outcome), outcome.origins()), ("pass", None), "{origins}");
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_fails_by_what_is_in_the_way() {
    let outcome = run(&check(format!("http://127.0.0.1:{}/", free_port()).parse().unwrap())).await;
    assert_eq!((reason(&outcome), outcome.message()), ("refused", "connection refused"));
    let port = untrusted_tls_server().await;
    let outcome = run(&check(format!("https://127.0.0.1:{port}/").parse().unwrap())).await;
    assert_eq!((reason(&outcome), outcome.message()), ("tls", "certificate is not trusted"));
}

#[test]
fn a_configuration_names_the_url_and_little_else() {
    for text in [
        "upstream: { url: 'https://billing.internal/health' }",
        "upstream: { url: 'http://a/', format: health+json, max_age: 5m, headers: { authorization: 'Bearer x' } }",
    ] {
        configured(text).unwrap_or_else(|reported| panic!("{text}: {reported}"));
    }
    let reported = [
        "upstream: {}",
        "upstream: { url: 'ftp://a/' }",
        "upstream: { url: 'http://a/', format: sprint }",
        "upstream: { url: 'http://a/', max_age: 0s }",
        "upstream: { url: 'http://a/', maxage: 5s }",
        "upstream: { url: 'http://a/', headers: { 'a b': c } }",
    ]
    .map(|text| configured(text).unwrap_err());
    insta::assert_snapshot!(reported.join("\n"), @r"
    test.yaml:1:11: missing key `url` in `upstream`: expected a URL such as https://example.com/health
    test.yaml:1:18: the URL must begin with http:// or https://
    test.yaml:1:39: expected auto, wellkept, health+json, spring, aspnet, microprofile, terminus or status, found `sprint` (did you mean `spring`?)
    test.yaml:1:40: must be more than 0
    test.yaml:1:31: unknown key `maxage` in `upstream`, did you mean `max_age`?
    test.yaml:1:40: a header's name holds letters, digits and hyphens
    ");
    let words = Format::EXPECTED.replace(" or ", ", ");
    assert!(words.split(", ").eq(Format::WORDS.map(|(word, _)| word)), "{words}");
    assert_eq!(Reason::Upstream.as_str(), KIND.name);
}
