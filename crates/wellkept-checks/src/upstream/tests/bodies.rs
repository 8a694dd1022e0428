//! Answers as frameworks write them, by the examples of their documentation.

use super::*;

fn json(code: u16, body: &str) -> String {
    told(&judged(code, &[("content-type", "application/json")], body))
}

#[test]
fn wellkept_answers_are_read_on_every_endpoint() {
    // /health
    let health = r#"{"status":"degraded","service":"billing","version":"1.4.2","timestamp":"2026-01-15T10:30:00.123Z","checked_at":"2026-01-15T10:29:59.123Z","uptime":"72:30:15","uptime_seconds":261015}"#;
    insta::assert_snapshot!(json(200, health), @r#"wellkept: upstream "it says that it is degraded" <>"#);
    // /health/live
    let live = r#"{"alive":true,"last_heartbeat":"2026-01-15T10:30:00.123Z"}"#;
    insta::assert_snapshot!(json(200, live), @r#"wellkept: pass "" <>"#);
    // /health/ready
    let ready = r#"{"ready":false,"status":"unhealthy","dependencies":{"db":"unhealthy","cache":"healthy","new":"exotic"}}"#;
    insta::assert_snapshot!(json(503, ready), @r#"wellkept: upstream "it says that it is unhealthy" <db unhealthy, new unknown, cache healthy>"#);
    // /health/detailed, two levels below a component
    let detailed = r#"{"status":"unhealthy","service":"billing","version":"1.4.2","timestamp":"2026-01-15T10:30:00.123Z","uptime":"00:00:15","ready":false,"lifecycle":"running","components":{
        "db":{"status":"healthy","reason":null,"message":"","detail":"10.0.0.7:5432","raw_status":"pass","raw_reason":null,"response_time":"1.8ms","response_time_ms":1.8,"timestamp":"2026-01-15T10:30:00.000Z","age_ms":123,"since":"2026-01-15T10:00:00.000Z","consecutive":7,"required":true,"groups":["ready"],"metadata":{}},
        "stock":{"status":"unhealthy","reason":"upstream","message":"it says that it is unhealthy","detail":"","metadata":{},"components":{"shelves":{"status":"unhealthy","reason":"upstream","components":{"disk":{"status":"unhealthy","reason":"threshold","message":"3 % free"}}}}}}}"#;
    let outcome = judged(200, &[], detailed);
    insta::assert_snapshot!(told(&outcome), @r#"wellkept: upstream "it says that it is unhealthy" <stock unhealthy "it says that it is unhealthy" [shelves unhealthy [disk unhealthy "3 % free"]], db healthy>"#);
    assert_eq!(outcome.parts().unwrap().list()[1].response_time(), Some(Duration::from_micros(1800)));
    assert!(!format!("{outcome:?}").contains("10.0.0.7"), "another service's private detail stays there");
    // /v1/health
    let v1 = r#"{"overall_status":"healthy","timestamp":1768473000.123,"components":[{"name":"db","status":"healthy","message":"","response_time_ms":1.8,"metadata":{}},{"name":"db","status":"degraded","message":"slow","response_time_ms":180.0,"metadata":{}}]}"#;
    insta::assert_snapshot!(json(200, v1), @r#"wellkept: pass "" <db degraded "slow", db (2) healthy>"#);
    // /readyz
    assert_eq!(told(&judged(200, &[("content-type", "text/plain; charset=utf-8")], "ok")), "aspnet: pass \"\" <>");
}

#[test]
fn health_json_is_read_with_its_lists_of_checks() {
    let body = r#"{"status":"pass","version":"1","releaseId":"1.2.2","notes":[""],"output":"","serviceId":"f03e522f-1f44-4062-9b55-9587f91c9c41","description":"health of authz service","checks":{
        "cassandra:responseTime":[{"componentId":"dfd6cf2b-1b6e-4412-a0b8-f6f7797a60d2","componentType":"datastore","observedValue":250,"observedUnit":"ms","status":"pass","affectedEndpoints":["/users/{userId}"],"time":"2018-01-17T03:36:48Z","output":""}],
        "cpu:utilization":[{"componentId":"6fd416e0-8920-410f-9c7b-c479000f7227","node":1,"componentType":"system","observedValue":85,"observedUnit":"percent","status":"warn","time":"2018-01-17T03:36:48Z","output":""},{"componentId":"6fd416e0-8920-410f-9c7b-c479000f7227","node":2,"componentType":"system","observedValue":85,"observedUnit":"percent","status":"WARN","time":"2018-01-17T03:36:48Z","output":""}],
        "uptime":[{"componentType":"system","observedValue":1209600.245,"observedUnit":"s","time":"2018-01-17T03:36:48Z"}]},
        "links":{"about":"http://api.example.com/about/authz"}}"#;
    let outcome = judged(200, &[("content-type", "application/health+json")], body);
    insta::assert_snapshot!(told(&outcome), @r#"health+json: pass "" <cpu:utilization (6fd416e0-8920-410f-9c7b-c479000f7227) degraded "85 percent", cpu:utilization (6fd416e0-8920-410f-9c7b-c479000f7227) (2) degraded "85 percent", cassandra:responseTime healthy "250 ms">"#);
    assert_eq!(outcome.metadata()["service"], "f03e522f-1f44-4062-9b55-9587f91c9c41");
    for (word, expected) in [("pass", "pass"), ("OK", "pass"), ("up", "pass"), ("Warn", "upstream"), ("fail", "upstream")] {
        let body = format!(r#"{{"status":"{word}"}}"#);
        let code = if expected == "pass" || word == "Warn" { 200 } else { 503 };
        let outcome = judged(code, &[("content-type", "application/health+json; charset=utf-8")], &body);
        assert_eq!((reason(&outcome), &outcome.metadata()["format"]), (expected, &"health+json".into()), "{word}");
    }
    for word in ["error", "down"] {
        let outcome = judged(500, &[("content-type", "application/health+json")], &format!(r#"{{"status":"{word}"}}"#));
        assert_eq!(outcome.message(), "it says that it is unhealthy");
    }
}

#[test]
fn spring_actuator_is_read_in_all_its_versions() {
    let version_3 = r#"{"status":"DOWN","components":{"broker":{"status":"UNKNOWN","components":{"us1":{"status":"UP","details":{"version":"1.0.2"}},"us2":{"status":"OUT_OF_SERVICE"}}},"db":{"status":"DOWN","details":{"error":"org.springframework.jdbc.CannotGetJdbcConnectionException: Failed to obtain JDBC Connection"}},"diskSpace":{"status":"UP","details":{"total":325500669952,"free":136855478272,"threshold":10485760,"path":"/app/.","exists":true}},"ping":{"status":"UP"}},"groups":["liveness","readiness"]}"#;
    let outcome = judged(503, &[("content-type", "application/vnd.spring-boot.actuator.v3+json")], version_3);
    insta::assert_snapshot!(told(&outcome), @r#"spring: upstream "it says that it is unhealthy" <db unhealthy "org.springframework.jdbc.CannotGetJdbcConnectionException: Failed to obtain JDBC Connection", broker unknown [us2 maintenance, us1 healthy], diskSpace healthy, ping healthy>"#);
    insta::assert_snapshot!(outcome.detail(), @"db is unhealthy: org.springframework.jdbc.CannotGetJdbcConnectionException: Failed to obtain JDBC Connection; broker is unknown");
    let version_2_1 = r#"{"status":"UP","details":{"db":{"status":"UP","details":{"database":"HSQL Database Engine","hello":1}},"composite":{"status":"UP","details":{"primary":{"status":"UP"},"secondary":{"status":"UP","details":{"lag":3}}}}}}"#;
    insta::assert_snapshot!(json(200, version_2_1), @r#"spring: pass "" <db healthy, composite healthy [primary healthy, secondary healthy]>"#);
    let version_1 = r#"{"status":"UP","diskSpace":{"status":"UP","total":63251804160,"free":31316164608,"threshold":10485760},"db":{"status":"UP","database":"H2","hello":1}}"#;
    insta::assert_snapshot!(json(200, version_1), @r#"spring: pass "" <diskSpace healthy, db healthy>"#);
    assert_eq!(json(200, r#"{"status":"UP"}"#), "spring: pass \"\" <>");
}

#[test]
fn aspnet_core_is_read_as_a_word_and_as_the_ui_has_it() {
    let ui = r#"{"status":"Unhealthy","totalDuration":"00:00:00.1029350","entries":{"sqlserver":{"data":{},"description":"A network-related or instance-specific error occurred","duration":"00:00:00.1021870","exception":"A network-related error","status":"Unhealthy","tags":["db"]},"memory":{"data":{"allocated":1048576},"duration":"00:01:02.5000000","status":"Degraded","tags":[]}}}"#;
    let outcome = judged(503, &[("content-type", "application/json")], ui);
    insta::assert_snapshot!(told(&outcome), @r#"aspnet: upstream "it says that it is unhealthy" <sqlserver unhealthy "A network-related or instance-specific error occurred", memory degraded>"#);
    assert_eq!(outcome.parts().unwrap().list()[1].response_time(), Some(Duration::from_millis(62_500)));
    let documented = r#"{"status":"Healthy","results":{"Sample":{"status":"Healthy","description":"A healthy result.","data":{}}}}"#;
    insta::assert_snapshot!(json(200, documented), @r#"aspnet: pass "" <Sample healthy "A healthy result.">"#);
    for (word, expected) in [("Healthy", "pass"), ("Degraded", "upstream"), ("Unhealthy", "upstream")] {
        let code = if word == "Unhealthy" { 503 } else { 200 };
        assert_eq!(reason(&judged(code, &[("content-type", "text/plain")], word)), expected);
    }
}

#[test]
fn microprofile_is_read_with_its_list_of_checks() {
    let body = r#"{"status":"DOWN","checks":[{"name":"Database connections health check","status":"DOWN","data":{"error":"Unable to execute the validation check for the default DataSource"}},{"name":"free-disk","status":"UP","data":{"remaining":"5"}},{"name":"free-disk","status":"UP"},{"status":"UP"}]}"#;
    insta::assert_snapshot!(json(503, body), @r#"microprofile: upstream "it says that it is unhealthy" <Database connections health check unhealthy "Unable to execute the validation check for the default DataSource", free-disk healthy, free-disk (2) healthy>"#);
    insta::assert_snapshot!(json(200, r#"{"status":"UP","checks":[]}"#), @r#"microprofile: pass "" <>"#);
}

#[test]
fn terminus_is_read_with_what_it_says_of_each_part() {
    let error = r#"{"status":"error","info":{"dog":{"status":"up"}},"error":{"db":{"status":"down","message":"connect ECONNREFUSED"}},"details":{"dog":{"status":"up"},"db":{"status":"down","message":"connect ECONNREFUSED"}}}"#;
    insta::assert_snapshot!(json(503, error), @r#"terminus: upstream "it says that it is unhealthy" <db unhealthy "connect ECONNREFUSED", dog healthy>"#);
    let causes = r#"{"status":"error","error":[{"message":"db gone"}],"details":[{"message":"db gone"}]}"#;
    assert_eq!(json(503, causes), "terminus: upstream \"it says that it is unhealthy\" <>");
    insta::assert_snapshot!(json(200, r#"{"status":"ok","info":{},"error":{},"details":{}}"#), @r#"terminus: pass "" <>"#);
    insta::assert_snapshot!(json(503, r#"{"status":"shutting_down","info":{},"error":{},"details":{}}"#), @r#"terminus: not_ready "it says that it is on its way out" <>"#);
}
