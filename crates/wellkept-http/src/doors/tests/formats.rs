//! Claims about the formats that are answered on request.

use wellkept_health::{End, NewMaintenance};

use super::*;

/// The public's answer.
async fn public(checker: &Checker, path: &str) -> (u16, String) {
    get(doors(checker, Access::loopback_only(), Names::Shown).public(), OPEN, path).await
}

async fn operators(checker: &Checker, path: &str) -> String {
    get(doors(checker, Access::loopback_only(), Names::Shown).public(), LOOPBACK, path).await.1
}

/// A service with one component of this outcome; `None`: its one result is too old to count.
pub(super) async fn service_that(outcome: Option<Verdict>) -> Checker {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("orders") });
    let check = move || async move {
        match outcome {
            Some(Verdict::Pass) | None => Outcome::pass(),
            Some(Verdict::Warn) => Outcome::warn(Reason::Threshold, "nearly full"),
            Some(Verdict::Fail) => Outcome::fail(Reason::Refused, "connection refused"),
        }
    };
    let age = Duration::from_millis(if outcome.is_none() { 500 } else { 600_000 });
    let groups = [Group::Ready, Group::from("batch")];
    let component = Component::new("db", AnyCheck::from_fn(check)).interval(Duration::from_secs(50)).max_age(age);
    checker.register(component.groups(groups)).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    tokio::time::sleep(Duration::from_secs(1)).await; // pace: on paused time
    checker
}

#[tokio::test(start_paused = true)]
async fn a_group_that_has_just_come_is_not_ready_before_its_first_result() {
    let checker = checker().await;
    let silent = Component::new("silent", AnyCheck::from_fn(std::future::pending::<Outcome>));
    checker.register(silent.groups([Group::from("new")])).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await; // pace: on paused time
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    let (code, body) = get(doors.public(), OPEN, "/health/group/new").await;
    assert_eq!(code, 503, "{body}");
    assert!(body.contains(r#""status":"unknown""#), "{body}");
    assert_eq!(get(doors.public(), OPEN, "/health/ready").await.0, 200, "readiness goes on");
}

#[tokio::test(start_paused = true)]
async fn the_first_version_of_the_api_is_answered_as_it_was() {
    let clock = TokioClock::start();
    let (checker, engine) = Checker::new(Settings { clock, ..Settings::new("orders") });
    let check = || async {
        tokio::time::sleep(Duration::from_millis(2)).await; // pace: on paused time
        Outcome::pass().with("version", 16)
    };
    checker.register(Component::new("orders-db", AnyCheck::from_fn(check))).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    tokio::time::sleep(Duration::from_millis(1123)).await; // pace: on paused time
    insta::assert_snapshot!(operators(&checker, "/v1/health").await, @r#"{"overall_status":"healthy","timestamp":1767225601.123,"components":[{"name":"orders-db","status":"healthy","message":"","response_time_ms":2.0,"metadata":{"version":16}}]}"#);
    let (code, body) = public(&checker, "/v1/health").await;
    assert_eq!(code, 200);
    insta::assert_snapshot!(body, @r#"{"overall_status":"healthy","timestamp":1767225601.123,"components":[{"name":"orders-db","status":"healthy","message":"","response_time_ms":0.0,"metadata":{}}]}"#);
}

#[tokio::test(start_paused = true)]
async fn each_format_has_the_shape_that_its_readers_know() {
    let checker = checker().await;
    let operators = async |path: &str| operators(&checker, path).await;
    insta::assert_snapshot!(operators("/health/ready?format=spring").await, @r#"{"status":"UP","components":{"cache":{"status":"DOWN","details":{"reason":"refused","message":"connection refused"}},"orders-db":{"status":"UP","details":{"connections":{"active":5,"max":20}}}}}"#);
    insta::assert_snapshot!(operators("/health/ready?format=microprofile").await, @r#"{"status":"UP","checks":[{"name":"orders-db","status":"UP","data":{"connections":"{\"active\":5,\"max\":20}"}},{"name":"cache","status":"DOWN","data":{"reason":"refused","message":"connection refused"}}]}"#);
    insta::assert_snapshot!(operators("/health/ready?format=aspnet").await, @r#"{"status":"Degraded","totalDuration":"00:00:00.0000000","entries":{"cache":{"data":{},"description":"connection refused","duration":"00:00:00.0000000","status":"Unhealthy","tags":["ready"]},"orders-db":{"data":{"connections":{"active":5,"max":20}},"duration":"00:00:00.0000000","status":"Healthy","tags":["ready"]}}}"#);
    insta::assert_snapshot!(operators("/health/ready?format=terminus").await, @r#"{"status":"ok","info":{"cache":{"reason":"refused","message":"connection refused","status":"up"},"orders-db":{"connections":{"active":5,"max":20},"status":"up"}},"error":{},"details":{"cache":{"reason":"refused","message":"connection refused","status":"up"},"orders-db":{"connections":{"active":5,"max":20},"status":"up"}}}"#);
    insta::assert_snapshot!(operators("/health/ready?format=nagios").await, @"WELLKEPT WARNING - 1 of 2 healthy: cache unhealthy (refused) | 'orders-db'=0.000000s;;;0 'cache'=0.000000s;;;0");
    assert_eq!(operators("/health/ready?format=aspnet-plain").await, "Degraded");
    assert_eq!(operators("/health/ready?format=plain").await, "degraded");

    let public = async |path: &str| public(&checker, path).await.1;
    insta::assert_snapshot!(public("/health?format=spring").await, @r#"{"status":"UP","components":{"cache":{"status":"DOWN"},"orders-db":{"status":"UP"}}}"#);
    insta::assert_snapshot!(public("/health?format=microprofile").await, @r#"{"status":"UP","checks":[{"name":"orders-db","status":"UP"},{"name":"cache","status":"DOWN"}]}"#);
    insta::assert_snapshot!(public("/health?format=aspnet").await, @r#"{"status":"Degraded","totalDuration":"00:00:00.0000000","entries":{"cache":{"data":{},"duration":"00:00:00.0000000","status":"Unhealthy","tags":[]},"orders-db":{"data":{},"duration":"00:00:00.0000000","status":"Healthy","tags":[]}}}"#);
    insta::assert_snapshot!(public("/health?format=terminus").await, @r#"{"status":"ok","info":{"cache":{"status":"up"},"orders-db":{"status":"up"}},"error":{},"details":{"cache":{"status":"up"},"orders-db":{"status":"up"}}}"#);
    insta::assert_snapshot!(public("/health?format=nagios").await, @"WELLKEPT WARNING - 1 of 2 healthy: cache unhealthy");
}

#[tokio::test(start_paused = true)]
async fn a_group_and_one_component_have_paths_of_their_own() {
    let checker = service_that(Some(Verdict::Warn)).await;
    let (code, group) = public(&checker, "/health/group/batch?detailed=true").await;
    assert_eq!(code, 200);
    insta::assert_snapshot!(group, @r#"{"group":"batch","ready":true,"status":"degraded","dependencies":{"db":"degraded"}}"#);
    insta::assert_snapshot!(public(&checker, "/health/component/db?detailed=true").await.1, @r#"{"name":"db","status":"degraded"}"#);
    let detailed = operators(&checker, "/health/component/db?detailed=true").await;
    assert!(
        detailed.starts_with(r#"{"name":"db","status":"degraded","details":{"status":"degraded","reason":"threshold""#)
    );
    for unknown in ["/health/group/bach", "/health/component/", "/health/component/d", "/health/component/%ff"] {
        assert_eq!(public(&checker, unknown).await.0, 404, "{unknown}");
    }
    for built_in in ["live", "ready", "startup"] {
        assert_eq!(public(&checker, &format!("/health/group/{built_in}")).await.0, 200, "{built_in}");
    }
    checker.begin_draining();
    assert_eq!(public(&checker, "/health/group/batch").await.0, 503);
    assert_eq!(public(&checker, "/health/group/live").await.0, 200);
}

/// One row of the table for each: the probe's code, health+json, the plugin.
#[tokio::test(start_paused = true)]
async fn each_status_is_told_as_the_table_says() {
    let rows = [
        (Some(Verdict::Pass), 200, ("pass", 200), "OK"),
        (Some(Verdict::Warn), 200, ("warn", 200), "WARNING"),
        (Some(Verdict::Fail), 503, ("fail", 503), "CRITICAL"),
        (None, 503, ("fail", 503), "UNKNOWN"),
    ];
    for (outcome, probe, (mark, code), plugin) in rows {
        let checker = service_that(outcome).await;
        assert_eq!(public(&checker, "/readyz").await.0, probe, "{outcome:?}");
        for path in ["/health.json", "/health?format=health%2Bjson", "/health/ready?format=health+json"] {
            let (answered, body) = public(&checker, path).await;
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!((body["status"].as_str().unwrap(), answered), (mark, code), "{path}, {outcome:?}");
        }
        let (answered, line) = public(&checker, "/health/ready?format=nagios").await;
        assert_eq!(answered, probe);
        assert!(line.starts_with(&format!("WELLKEPT {plugin} - ")), "{line}");
    }
    let resting = service_that(Some(Verdict::Pass)).await;
    resting.begin_maintenance(NewMaintenance::of_the_service(End::Open, "new disks")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await; // pace: on paused time
    for (path, code, says) in [
        ("/readyz", 503, "not ready"),
        ("/livez", 200, "ok"),
        ("/health", 503, r#"{"status":"maintenance""#),
        ("/health.json", 200, r#"{"status":"warn""#),
        ("/health/ready?format=health+json", 503, r#"{"status":"fail""#),
        ("/ready?format=nagios", 503, "WELLKEPT WARNING - 1 of 1 healthy"),
        ("/ready?format=spring", 503, r#"{"status":"OUT_OF_SERVICE""#),
        ("/ready?format=terminus", 503, r#"{"status":"error""#),
        ("/ready?format=aspnet-plain", 503, "Unhealthy"),
        ("/ready?format=plain", 503, "maintenance"),
        ("/readyz?verbose", 503, "[+]startup ok\n[+]shutdown ok\n[-]service failed: maintenance\n[+]db ok\n"),
        ("/readyz?exclude=db", 503, "not ready"),
    ] {
        let (answered, body) = public(&resting, path).await;
        assert!(answered == code && body.starts_with(says), "{path}: {answered} {body}");
        assert!(!body.contains("disks"), "the reason is for operators: {body}");
    }
    let draining = service_that(Some(Verdict::Pass)).await;
    draining.begin_draining();
    assert_eq!(public(&draining, "/readyz").await.0, 503);
    assert_eq!(public(&draining, "/livez").await.0, 200);
    for path in ["/health.json", "/health/ready?format=health+json"] {
        let (code, body) = public(&draining, path).await;
        assert!(
            code == 503 && body.contains(r#""status":"fail""#) && body.contains(r#""notes":["draining"]"#),
            "{body}"
        );
    }
    let (code, line) = public(&draining, "/ready?format=nagios").await;
    assert!(code == 503 && line.starts_with("WELLKEPT WARNING - 1 of 1 healthy"), "{line}");
    for (format, word) in [("spring", "OUT_OF_SERVICE"), ("microprofile", "DOWN"), ("terminus", "shutting_down")] {
        let (code, body) = public(&draining, &format!("/ready?format={format}")).await;
        assert!(code == 503 && body.contains(&format!(r#"{{"status":"{word}""#)), "{body}");
    }
    assert_eq!(public(&draining, "/ready?format=plain").await, (503, "draining".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn every_format_has_the_code_of_the_probe() {
    for (outcome, wanted) in
        [(Some(Verdict::Pass), 200), (Some(Verdict::Warn), 200), (Some(Verdict::Fail), 503), (None, 503)]
    {
        let checker = service_that(outcome).await;
        for path in ["/health", "/health/ready", "/ready", "/health/group/batch"] {
            for format in ["spring", "microprofile", "aspnet", "aspnet-plain", "terminus", "v1", "nagios", "plain"] {
                assert_eq!(public(&checker, &format!("{path}?format={format}")).await.0, wanted, "{path}, {format}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_format_is_refused_and_no_probe_fails_for_it() {
    let checker = service_that(Some(Verdict::Pass)).await;
    let (code, body) = public(&checker, "/health?format=sprng").await;
    assert_eq!(code, 400);
    assert!(body.contains("http.unknown_format") && body.contains("health+json, spring, "), "{body}");
    for probe in ["/health/live", "/health/ready", "/ready", "/health/startup", "/livez", "/readyz", "/healthz"] {
        assert_eq!(public(&checker, &format!("{probe}?format=sprng")).await, public(&checker, probe).await, "{probe}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_depends_on_accept_only_where_a_format_is_named() {
    let checker = service_that(Some(Verdict::Pass)).await;
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    for path in
        ["/health", "/health/live", "/health/ready", "/ready", "/health/startup", "/livez", "/readyz", "/healthz"]
    {
        let plain = get(doors.public(), OPEN, path).await;
        for accept in ["*/*", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json"] {
            let response = ask(doors.public(), OPEN, path, &[("accept", accept)]).await;
            assert_eq!((response.status().as_u16(), body(response).await), plain, "{path} for {accept}");
        }
    }
    for (kind, path) in [
        ("application/health+json", "/health"),
        ("application/health+json", "/health/ready"),
        ("application/vnd.spring-boot.actuator.v3+json", "/health"),
    ] {
        let response = ask(doors.public(), OPEN, path, &[("accept", kind)]).await;
        assert_eq!(response.headers()["content-type"], kind, "{path}");
        assert!(response.headers().get_all("vary").iter().any(|name| name == "accept"));
    }
    assert_eq!(ask(doors.public(), OPEN, "/health", &[]).await.headers()["vary"], "accept");
}

#[tokio::test(start_paused = true)]
async fn head_is_answered_with_the_headers_of_get_on_every_public_route() {
    let checker = service_that(Some(Verdict::Pass)).await;
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    let below = crate::doors::PROBES_BELOW.map(|path| {
        let name = if path.ends_with("group/") { "batch" } else { "db" };
        format!("{path}{name}")
    });
    for path in crate::doors::PROBES.map(ToOwned::to_owned).into_iter().chain(below) {
        let got = ask(doors.public(), OPEN, &path, &[]).await;
        let request = Request::head(&path).header("host", "127.0.0.1:8080").body(Body::empty()).unwrap();
        let head = doors.public().oneshot(request).await.unwrap();
        assert_eq!(head.status(), got.status(), "{path}");
        // The page of metrics counts what was asked of it, so its length may differ.
        let headers = ["content-type", "cache-control", "vary", "content-length"];
        for header in headers.iter().filter(|header| path != "/metrics" || **header != "content-length") {
            assert_eq!(head.headers().get(*header), got.headers().get(*header), "{header} of {path}");
        }
        assert!(head.headers().contains_key("content-length"), "{path}");
        assert_eq!(body(head).await, "", "{path}");
    }
}
