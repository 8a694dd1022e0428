//! Claims about what is told of a component's past.

use serde_json::Value;
use wellkept_health::{End, History, Memory, NewMaintenance};

use super::*;

/// A service whose `cache` fails and whose certificate has an end, a minute and three seconds old.
async fn remembering() -> Checker {
    let checker = checker().await;
    checker.set_history(History::start(Memory::default()).unwrap());
    let certificate = async || Outcome::pass().with("not_after", "2026-02-01T00:00:00Z");
    checker.register(Component::new("a/certificate ü", AnyCheck::from_fn(certificate))).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await; // pace: on paused time
    checker
}

async fn trend(checker: &Checker, name: &str) -> (u16, Value) {
    let doors = doors(checker, Access::loopback_only(), Names::Shown);
    let (code, body) = get(doors.admin(), LOOPBACK, &format!("/api/v1/components/{name}/trend")).await;
    (code, serde_json::from_str(&body).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_trend_tells_time_by_status_runs_and_response_times() {
    let checker = remembering().await;
    let (code, cache) = trend(&checker, "cache").await;
    assert_eq!(code, 200);
    for span in ["1h", "24h", "7d", "30d"] {
        let window = &cache["windows"][span];
        assert_eq!(window["availability"], 0.0, "{window}");
        assert!(window["seconds"]["unhealthy"].as_f64().unwrap() >= 58.0, "{window}");
        assert!(window["runs"]["failed"].as_u64().unwrap() >= 5, "{window}");
        assert_eq!(window["response_time_ms"], Value::Null, "no run had an answer");
    }
    let (_, database) = trend(&checker, "orders-db").await;
    assert_eq!(database["windows"]["1h"]["availability"], 1.0);
    assert!(database["windows"]["1h"]["response_time_ms"]["p99"].is_number());
    assert_eq!(database["forecast"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn time_in_maintenance_counts_neither_for_nor_against_also_when_all_of_the_service_is() {
    let checker = remembering().await;
    let (_, before) = trend(&checker, "cache").await;
    let whole = NewMaintenance::of_the_service(End::After(Duration::from_secs(60)), "new disks").by("ann");
    checker.begin_maintenance(whole).unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await; // pace: on paused time
    let seconds = |trend: &Value, what: &str| trend["windows"]["1h"]["seconds"][what].as_f64().unwrap();
    let (_, after) = trend(&checker, "cache").await;
    assert!((seconds(&after, "maintenance") - 30.0).abs() <= 1.0, "{after}");
    assert!(seconds(&after, "unhealthy") <= seconds(&before, "unhealthy") + 1.0, "{after}");
    let (_, database) = trend(&checker, "orders-db").await;
    assert_eq!(database["windows"]["1h"]["availability"], 1.0);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_a_date_is_told_as_one_whatever_the_name() {
    let checker = remembering().await;
    let (code, certificate) = trend(&checker, "a%2Fcertificate%20%C3%BC").await;
    assert_eq!((code, &certificate["component"]), (200, &Value::from("a/certificate ü")));
    assert_eq!(certificate["ends_at"], "2026-02-01T00:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_component_that_has_not_run_has_a_trend_and_a_history_with_nothing_in_them() {
    let checker = remembering().await;
    checker.register(Component::new("silent", AnyCheck::from_fn(std::future::pending::<Outcome>))).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await; // pace: on paused time
    assert_eq!(trend(&checker, "silent").await.0, 200);
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    assert_eq!(get(doors.admin(), LOOPBACK, "/api/v1/components/silent/history").await.0, 200);
    for path in ["/api/v1/components/cache/history?limits=1", "/api/v1/history?components=cache"] {
        assert_eq!(get(doors.admin(), LOOPBACK, path).await.0, 400, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_not_known_has_no_past() {
    let checker = remembering().await;
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    for (path, code) in [
        ("/api/v1/components/nobody/trend", 404),
        ("/api/v1/components/nobody/history", 404),
        ("/api/v1/components/%ff/trend", 404),
        ("/api/v1/components//trend", 404),
        ("/api/v1/components/cache/history?limit=x", 400),
        ("/api/v1/components/cache/history?limit=2", 200),
    ] {
        assert_eq!(get(doors.admin(), LOOPBACK, path).await.0, code, "{path}");
    }
    assert_eq!(get(doors.admin(), OPEN, "/api/v1/components/cache/trend").await.0, 401);
    assert_eq!(get(doors.public(), LOOPBACK, "/api/v1/components/cache/trend").await.0, 404);
    let (_, history) = get(doors.admin(), LOOPBACK, "/api/v1/components/cache/history?limit=2").await;
    let history: Value = serde_json::from_str(&history).unwrap();
    assert_eq!(history["results"].as_array().unwrap().len(), 2, "{history}");
}
