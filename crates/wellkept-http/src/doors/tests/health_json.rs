//! Claims about `application/health+json`, by the rules of draft-inadarei-api-health-check-06.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

use super::formats::service_that;
use super::*;

/// What breaks a rule of the draft, in words.
fn faults(code: u16, kind: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, rule: &str| {
        if !holds {
            faults.push(format!("{rule}: {text}"));
        }
    };
    must(kind == "application/health+json", "section 3: the media type is application/health+json");
    let Ok(Value::Object(body)) = serde_json::from_str::<Value>(text) else {
        return vec![format!("no JSON object: {text}")];
    };
    let status = body.get("status").and_then(Value::as_str).unwrap_or_default();
    match status {
        "pass" | "warn" => must((200..400).contains(&code), "section 3.1: pass and warn go with 2xx or 3xx"),
        "fail" => must((400..600).contains(&code), "section 3.1: fail goes with 4xx or 5xx"),
        _ => must(false, "section 3.1: status is pass, warn or fail"),
    }
    for text in ["version", "releaseId", "output", "serviceId", "description"] {
        must(body.get(text).is_none_or(Value::is_string), "sections 3.2 to 3.9: it is a text");
    }
    let notes =
        body.get("notes").is_none_or(|notes| notes.as_array().is_some_and(|all| all.iter().all(Value::is_string)));
    must(notes, "section 3.4: notes is a list of texts");
    must(status != "pass" || !body.contains_key("output"), "section 3.5: no output on pass");
    must(status != "warn" || body.contains_key("notes"), "section 3.1: warn says more");
    let checks = body.get("checks").and_then(Value::as_object);
    for (key, readings) in checks.into_iter().flatten() {
        must(key.matches(':').count() <= 1, "section 4: no colon within either part of a key");
        let readings = readings.as_array();
        must(readings.is_some_and(|readings| !readings.is_empty()), "section 4: the value of a key is a list");
        for reading in readings.into_iter().flatten() {
            let text = |key: &str| reading.get(key).and_then(Value::as_str);
            let component_type = text("componentType").unwrap_or_default();
            must(["component", "datastore", "system"].contains(&component_type), "section 4.2: a known type");
            must(reading.get("componentId").is_none_or(Value::is_string), "section 4.1: componentId is a text");
            let observed = reading.get("observedValue");
            must(observed.is_some() == text("observedUnit").is_some(), "section 4.4: a unit where there is a value");
            let status = text("status").unwrap_or("pass");
            must(["pass", "warn", "fail"].contains(&status), "section 4.5: a status as above");
            must(text("time").is_none_or(|time| time.parse::<Timestamp>().is_ok()), "section 4.7: an ISO 8601 time");
            must(text("status") != Some("pass") || text("output").is_none(), "section 4.8: no output on pass");
            must(reading.get("affectedEndpoints").is_none(), "section 4.6: endpoints are not known here");
        }
    }
    faults
}

async fn asked(doors: &Doors, bound: &str, path: &str) -> (u16, String, String, String) {
    let response = ask(doors.public(), bound, path, &[("accept", "application/health+json")]).await;
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    let (code, kind, keeping) = (response.status().as_u16(), header("content-type"), header("cache-control"));
    (code, kind, keeping, body(response).await)
}

#[tokio::test(start_paused = true)]
async fn every_answer_keeps_the_drafts_rules_for_the_public_and_for_operators() {
    for outcome in [Some(Verdict::Pass), Some(Verdict::Warn), Some(Verdict::Fail), None] {
        let checker = service_that(outcome).await;
        let doors = doors(&checker, Access::loopback_only(), Names::Shown);
        for when in ["while it runs", "while it drains"] {
            for path in ["/health", "/health.json", "/health/ready", "/ready", "/health/live", "/health/group/batch"] {
                for bound in [OPEN, LOOPBACK] {
                    let (code, kind, _, text) = asked(&doors, bound, path).await;
                    assert_eq!(faults(code, &kind, &text), Vec::<String>::new(), "{path} {when}, {outcome:?}");
                }
            }
            checker.begin_draining();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_answer_on_the_service_may_be_kept_and_not_the_one_to_another_service() {
    let checker = service_that(Some(Verdict::Pass)).await;
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    for path in ["/health/ready", "/ready", "/health/live", "/health/startup", "/health/group/batch"] {
        let (code, _, keeping, _) = asked(&doors, OPEN, path).await;
        assert_eq!((code, &*keeping), (200, "no-store"), "{path}");
    }
    let asker = wellkept_health::Origins::ASKER;
    for path in ["/health", "/health.json"] {
        let accept = ("accept", "application/health+json");
        let kept = ask(doors.public(), OPEN, path, &[accept]).await;
        assert_eq!(kept.headers()["cache-control"], "public, max-age=5", "{path}");
        assert!(kept.headers().get_all("vary").iter().any(|name| name == asker), "{path}");
        let told = ask(doors.public(), OPEN, path, &[accept, (asker, "1")]).await;
        assert_eq!(told.headers()["cache-control"], "no-store", "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn its_shape_is_that_of_the_draft() {
    let clock = TokioClock::start();
    let (checker, engine) = Checker::new(Settings { version: "1.4.2".into(), clock, ..Settings::new("orders") });
    let database = || async { Outcome::pass().with("connections", serde_json::json!({ "active": 5, "max": 20 })) };
    checker.register(Component::new("orders-db", AnyCheck::from_fn(database)).kind("postgres")).unwrap();
    let machine = || async { Outcome::warn(Reason::Threshold, "busy").with("cpu_usage", 0.95).with("disk_usage", 0.4) };
    checker.register(Component::new("system", AnyCheck::from_fn(machine)).kind("system")).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    tokio::time::sleep(Duration::from_secs(3)).await; // pace: on paused time
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    let (_, _, keeping, text) = asked(&doors, LOOPBACK, "/health").await;
    assert_eq!(keeping, "private, max-age=5");
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&text).unwrap()).unwrap();
    insta::assert_snapshot!(pretty, @r#"
    {
      "status": "warn",
      "version": "1.4.2",
      "releaseId": "1.4.2",
      "serviceId": "orders",
      "description": "health of orders",
      "notes": [
        "degraded"
      ],
      "checks": {
        "orders-db:connections": [
          {
            "componentType": "datastore",
            "observedValue": 5,
            "observedUnit": "connections",
            "time": "2026-01-01T00:00:00.000Z"
          }
        ],
        "orders-db:responseTime": [
          {
            "componentType": "datastore",
            "observedValue": 0.0,
            "observedUnit": "ms",
            "status": "pass",
            "time": "2026-01-01T00:00:00.000Z"
          }
        ],
        "system:responseTime": [
          {
            "componentType": "system",
            "observedValue": 0.0,
            "observedUnit": "ms",
            "status": "warn",
            "time": "2026-01-01T00:00:00.000Z",
            "output": "busy"
          }
        ],
        "system:utilization": [
          {
            "componentId": "cpu",
            "componentType": "system",
            "observedValue": 95.0,
            "observedUnit": "percent",
            "time": "2026-01-01T00:00:00.000Z"
          },
          {
            "componentId": "disk",
            "componentType": "system",
            "observedValue": 40.0,
            "observedUnit": "percent",
            "time": "2026-01-01T00:00:00.000Z"
          }
        ],
        "uptime": [
          {
            "componentType": "system",
            "observedValue": 3,
            "observedUnit": "s",
            "status": "pass",
            "time": "2026-01-01T00:00:03.000Z"
          }
        ]
      }
    }
    "#);
    let (_, _, keeping, text) = asked(&doors, OPEN, "/health").await;
    assert_eq!(keeping, "public, max-age=5");
    insta::assert_snapshot!(text, @r#"{"status":"warn","version":"1.4.2","releaseId":"1.4.2","serviceId":"orders","description":"health of orders","notes":["degraded"],"checks":{"orders-db:responseTime":[{"componentType":"component","status":"pass"}],"system:responseTime":[{"componentType":"component","status":"warn"}],"uptime":[{"componentType":"system","observedValue":3,"observedUnit":"s","status":"pass","time":"2026-01-01T00:00:03.000Z"}]}}"#);
}

#[tokio::test(start_paused = true)]
async fn it_may_be_kept_no_longer_than_its_results_count_and_not_at_all_when_it_fails() {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("orders") });
    let component = Component::new("db", AnyCheck::from_fn(async || ())).interval(Duration::from_secs(50));
    checker.register(component.max_age(Duration::from_secs(10))).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    for (after, keeping) in [(2, "public, max-age=5"), (5, "public, max-age=2"), (2, "no-store"), (2, "no-store")] {
        tokio::time::sleep(Duration::from_millis(after * 1000 + 100)).await; // pace: on paused time
        assert_eq!(asked(&doors, OPEN, "/health.json").await.2, keeping);
    }
    assert_eq!(asked(&doors, OPEN, "/health.json").await.0, 503);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_names_give_a_body_that_keeps_the_rules_and_loses_none(
        names in prop::collection::hash_set("[^\\p{Cc}]{1,12}|[a:_]{1,4}|\"\\}\\]:|uptime|__proto__", 1..8)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (code, kind, text) = runtime.block_on(async {
            let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("orders") });
            for name in &names {
                let check = AnyCheck::from_fn(async || Outcome::pass().with("cpu_usage", 0.5));
                checker.register(Component::new(name.as_str(), check)).unwrap();
            }
            tokio::spawn(engine.run(std::future::pending()));
            tokio::time::sleep(Duration::from_secs(3)).await; // pace: on paused time
            let doors = doors(&checker, Access::loopback_only(), Names::Shown);
            let (code, kind, _, text) = asked(&doors, LOOPBACK, "/health").await;
            (code, kind, text)
        });
        prop_assert_eq!(faults(code, &kind, &text), Vec::<String>::new());
        let body: Value = serde_json::from_str(&text).unwrap();
        let mut told: Vec<String> = Vec::new();
        for (key, readings) in body["checks"].as_object().unwrap() {
            let Some((name, "responseTime")) = key.split_once(':') else { continue };
            told.extend(readings.as_array().unwrap().iter().map(|reading| {
                reading["componentId"].as_str().unwrap_or(name).to_owned()
            }));
        }
        told.sort();
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort();
        prop_assert_eq!(told, names);
    }
}
