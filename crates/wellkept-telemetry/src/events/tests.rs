//! Claims about typed events, as the reader of the log sees them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::logging::{Format, Level, Options, SinkOptions};
use crate::memory::Memory;

/// What is logged in JSON with the log at this level.
fn logged(level: Level, work: impl FnOnce(&Events)) -> Vec<Value> {
    let memory = Memory::default();
    let options = Options::to(SinkOptions::writer(Format::Json, memory.clone()));
    memory.logged(Options { level, ..options }, |_| work(&Events::default()))
}

#[test]
fn a_security_event_has_its_own_level_and_passes_every_level_of_the_log() {
    let lines = logged(Level::Critical, |events| {
        events.security(SecurityEvent::AuthnLoginSuccess { user: "ann" }).log();
        let failed = events.security(SecurityEvent::AuthnLoginFailMax { user: "ann", max: 3 });
        failed.source_ip([192, 0, 2, 7].into()).request("POST", "/login").user_agent("curl/8").log();
        events.security(SecurityEvent::AuthzFail { user: "", resource: "/admin" }).peer("process 7").log();
        tracing::error!("left out");
    });
    let shown: Vec<String> =
        lines.iter().map(|line| line.to_string().split_once("message").unwrap().1.to_owned()).collect();
    let levels: Vec<&str> = lines.iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["info", "warning", "critical"]);
    assert!(lines.iter().all(|line| line["target"] == SECURITY_TARGET), "{shown:?}");
    assert_eq!(lines[0]["event"], "authn_login_success");
    let failed =
        ["event", "user", "source_ip", "request_method", "request_uri", "user_agent"].map(|name| &lines[1][name]);
    assert_eq!(failed, ["authn_login_fail_max", "ann", "192.0.2.7", "POST", "/login", "curl/8"]);
    assert_eq!(lines[1]["max"], 3);
    assert_eq!((&lines[2]["resource"], &lines[2]["peer"]), (&"/admin".into(), &"process 7".into()));
    let keys: Vec<&String> = lines[2].as_object().unwrap().keys().collect();
    assert!(!keys.iter().any(|key| ["user", "severity", "reason"].contains(&key.as_str())), "{keys:?}");
}

#[test]
fn every_type_of_the_vocabulary_is_there_once_with_its_level() {
    let names: BTreeSet<&str> = SECURITY_EVENTS.iter().map(|(name, ..)| *name).collect();
    assert_eq!((names.len(), SECURITY_EVENTS.len()), (49, 49));
    let of = |wanted| -> Vec<&str> {
        SECURITY_EVENTS.iter().filter(|(_, level, _)| *level == wanted).map(|(name, ..)| *name).collect()
    };
    assert_eq!(
        of(Level::Critical),
        [
            "authn_password_change_fail",
            "authn_impossible_travel",
            "authn_token_reuse",
            "authz_fail",
            "upload_validation",
            "malicious_extraneous",
            "malicious_attack_tool",
            "malicious_cors",
            "malicious_direct_reference",
            "sequence_fail",
            "session_use_after_expire",
        ]
    );
    assert_eq!(
        of(Level::Info),
        [
            "authn_login_success",
            "authn_login_successafterfail",
            "authn_password_change",
            "authn_token_created",
            "authn_token_revoked",
            "upload_complete",
            "upload_stored",
            "upload_delete",
            "session_created",
            "session_renewed",
            "session_expired",
        ]
    );
    assert_eq!(of(Level::Warning).len(), 27);
    let validated = |result| SecurityEvent::UploadValidation { file: "a", validator: "virusscan", result }.level();
    let levels = [Validation::Passed, Validation::Incomplete, Validation::Failed].map(validated);
    assert_eq!(levels, [Level::Info, Level::Critical, Level::Critical]);
}

#[test]
fn a_hostile_value_is_short_harmless_and_pushes_nothing_out() {
    let long = format!("{} {}", "word ".repeat(60), "x".repeat(1 << 20));
    let secret = format!("Bearer {}", "hunter2".repeat(1000));
    let lines = logged(Level::Info, |events| {
        let change = SecurityEvent::PrivilegePermissionsChanged { user: &long, object: &long, from: &long, to: &long };
        let record = events.security(change).user_agent(&secret).request(&long, &long);
        record.source_ip([192, 0, 2, 7].into()).description("\u{1b}[2J\nline\u{2028}end").log();
    });
    let line = &lines[0];
    assert!(line["user"].as_str().unwrap().len() < 320, "{line}");
    assert!(line["user"].as_str().unwrap().ends_with("word…") || line["user"].as_str().unwrap().ends_with("word …"));
    assert!(!line.to_string().contains("hunter2"));
    assert_eq!(line["source_ip"], "192.0.2.7");
    assert_eq!(line["description"], "\u{fffd}[2J\u{fffd}line\u{fffd}end");
    assert_eq!(line.get("truncated"), None);
}

#[test]
fn an_operation_says_how_long_it_took_and_how_it_ended() {
    let lines = logged(Level::Debug, |events| {
        let import = events.operation("import", Some(Duration::from_secs(3600))).unwrap();
        import.begin().succeeded();
        import.begin().failed("no file");
        drop(import.begin());
        let always_slow = events.operation("export", Some(Duration::ZERO)).unwrap();
        always_slow.begin().succeeded();
    });
    let of = |name: &str| -> Vec<String> { lines.iter().map(|line| line[name].to_string().replace('"', "")).collect() };
    assert_eq!(of("outcome"), ["succeeded", "failed", "cancelled", "succeeded"]);
    assert_eq!(of("level"), ["debug", "warning", "info", "warning"]);
    assert_eq!(of("slow"), ["false", "false", "false", "true"]);
    assert_eq!(of("operation"), ["import", "import", "import", "export"]);
    assert_eq!(of("slow_after_seconds"), ["3600.0", "3600.0", "3600.0", "0.0"]);
    assert_eq!(lines[1]["reason"], "no file");
    assert!(lines.iter().all(|line| line["duration_seconds"].as_f64().unwrap() < 60.0), "{lines:?}");
}

#[tokio::test]
async fn a_future_that_is_dropped_was_cancelled_and_one_that_errs_has_failed() {
    let events = Events::default();
    let import = events.operation("import", None).unwrap();
    let memory = Memory::default();
    let options = Options::to(SinkOptions::writer(Format::Json, memory.clone()));
    let (subscriber, logging) = crate::logging::subscriber(options).unwrap();
    let _guard = tracing::subscriber::set_default(subscriber);
    assert_eq!(import.measure(async { Err::<(), _>("no file") }).await, Err("no file"));
    {
        let mut never = std::pin::pin!(import.measure(std::future::pending::<Result<(), String>>()));
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(never.as_mut().poll(context))).await;
        assert!(polled.is_pending());
    }
    assert!(logging.flush(Duration::from_secs(10)));
    let outcomes: Vec<Value> = memory.lines().iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes, ["failed", "cancelled"]);
}

#[test]
fn a_business_event_is_a_line_with_fields_of_its_own() {
    let lines = logged(Level::Info, |events| {
        let placed = events.business("order_placed").unwrap();
        crate::business!(placed, order = 4711, customer = %"ann", amount = 12.5);
        crate::business!(placed);
    });
    assert_eq!((&lines[0]["event"], &lines[0]["message"]), (&"order_placed".into(), &"order_placed".into()));
    assert_eq!(
        (&lines[0]["order"], &lines[0]["customer"], &lines[0]["amount"]),
        (&4711.into(), &"ann".into(), &12.5.into())
    );
    assert_eq!((&lines[1]["target"], &lines[1]["level"]), (&BUSINESS_TARGET.into(), &"info".into()));
}

#[test]
fn names_are_checked_once_and_bounded() {
    let events = Events::default();
    let long = "n".repeat(65);
    for name in ["", "Order", "1st", "order placed", "order\n", "ü", "_x", &long] {
        assert_eq!(events.business(name).unwrap_err(), EventError::Name, "{name:?}");
        assert_eq!(events.operation(name, None).unwrap_err(), EventError::Name, "{name:?}");
    }
    for number in 0..MAX_NAMES {
        events.business(&format!("event_{number}")).unwrap();
    }
    assert_eq!(events.business("one_more").unwrap_err(), EventError::TooMany);
    events.business("event_7").unwrap();
    events.operation("one_more", None).unwrap();
}

#[test]
fn a_line_and_its_metric_come_from_one_call_and_every_part_counts_in_the_same_books() {
    let metrics = crate::metrics::Metrics::new();
    let (events, others) = (Events::new(&metrics).unwrap(), Events::of(&metrics));
    events.security(SecurityEvent::AuthnLoginFail { user: "ann" }).log();
    others.security(SecurityEvent::AuthnLoginFail { user: "bob" }).log();
    crate::business!(events.business("order_placed").unwrap(), order = 1);
    let import = events.operation("import", Some(Duration::ZERO)).unwrap();
    import.begin().failed("no file");
    drop(import.begin());
    let page = metrics.page(None, crate::metrics::Audience::Everyone).body;
    for line in [
        "wellkept_security_events_total{event=\"authn_login_fail\"} 2",
        "wellkept_business_events_total{event=\"order_placed\"} 1",
        "wellkept_operation_duration_seconds_count{operation=\"import\",outcome=\"failed\"} 1",
        "wellkept_operation_duration_seconds_count{operation=\"import\",outcome=\"cancelled\"} 1",
        "wellkept_operation_duration_seconds_count{operation=\"import\",outcome=\"succeeded\"} 0",
        "wellkept_operations_slow_total{operation=\"import\"} 2",
    ] {
        assert!(page.lines().any(|shown| shown == line), "{line} is missing: {page}");
    }
    let taken = crate::metrics::Metrics::new();
    taken.gauge("wellkept_security_events", "Something else.").unwrap();
    assert_eq!(Events::new(&taken).unwrap_err().code(), "metrics.declared_otherwise");
    Events::of(&taken).security(SecurityEvent::SessionCreated { user: "ann" }).log();
}
