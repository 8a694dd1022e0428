//! What an upstream can send to do harm: nothing of it may be healthy by mistake, hang, or grow what is kept.

use proptest::prelude::*;
use serde_json::{Value, json};
use wellkept_health::{Outcome, Parts};

use super::*;

fn count(parts: &[Part]) -> usize {
    parts.iter().map(|part| 1 + count(part.parts())).sum()
}

fn depth(parts: &[Part]) -> usize {
    parts.iter().map(|part| 1 + depth(part.parts())).max().unwrap_or(0)
}

fn assert_bounded(outcome: &Outcome) {
    let parts = outcome.parts().map(|parts| parts.list()).unwrap_or_default();
    assert!(count(parts) <= Parts::MOST && depth(parts) <= Parts::DEEPEST);
    assert!(outcome.message().len() <= Outcome::MAX_MESSAGE && outcome.detail().len() <= Outcome::MAX_DETAIL);
    assert!(outcome.metadata().values().all(|value| value.to_string().len() < 1000), "{:?}", outcome.metadata());
    assert!(!outcome.message().contains(char::is_control));
}

#[test]
fn json_ten_thousand_levels_deep_is_refused_and_a_hundred_are_cut() {
    let bomb = format!("{{\"status\":\"UP\",\"components\":{}1{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let outcome = judged(200, &[], &bomb);
    assert_eq!((reason(&outcome), outcome.message()), ("protocol", "not JSON"));
    let nest = |inner: String| format!(r#"{{"status":"DOWN","components":{{"a":{inner}}}}}"#);
    let deep = (0..50).fold(r#"{"status":"DOWN"}"#.to_owned(), |inner, _| nest(inner));
    let outcome = judged(503, &[], &deep);
    let parts = outcome.parts().unwrap();
    assert_eq!((reason(&outcome), depth(parts.list()), parts.is_cut()), ("upstream", Parts::DEEPEST, true));
}

#[test]
fn of_thirty_thousand_parts_those_that_are_down_are_kept() {
    let up = |index: usize| (index.to_string(), json!({ "status": "UP" }));
    let mut components: serde_json::Map<_, _> = (0..30_000).map(up).collect();
    let error = "\u{1b}[31mfull\0\u{202e}";
    components.insert("broken".to_owned(), json!({ "status": "DOWN", "details": { "error": error } }));
    let body = json!({ "status": "DOWN", "components": components }).to_string();
    let outcome = judged(503, &[], &body);
    assert_bounded(&outcome);
    let parts = outcome.parts().unwrap();
    assert_eq!((parts.list()[0].name(), parts.list()[0].message(), parts.is_cut()), ("broken", "[31mfull", true));
    assert_eq!(outcome.detail(), "broken is unhealthy: [31mfull");
}

#[test]
fn what_is_no_text_is_not_healthy() {
    for (kind, body) in [("application/json", b"{\"status\":\"\xff\xfe\"}".as_slice()), ("text/plain", b"\xff\xfeUP")] {
        let outcome = judge().judge(&answer(200, &[("content-type", kind)], body), None).0;
        assert_eq!(reason(&outcome), "protocol", "{kind}");
    }
    let compressed = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\x56".as_slice();
    let outcome = judge().judge(&answer(200, &[("content-encoding", "gzip")], compressed), None).0;
    assert_eq!((reason(&outcome), outcome.message()), ("protocol", "not a health answer"));
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_not_kept_and_not_healthy() {
    let body = format!(r#"{{"status":"UP","padding":"{}"}}"#, "x".repeat(10 << 20));
    let server = Server::with_json("200 OK", &body).await;
    let outcome = run(&check(server.url("/"))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("protocol", "a health answer that is too long"));
}

#[tokio::test]
async fn a_body_that_trickles_ends_at_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await.unwrap();
        let mut byte = tokio::time::interval(Duration::from_millis(20));
        while stream.write_all(b" ").await.is_ok() {
            byte.tick().await;
        }
    });
    let outcome = run_into_timeout(&check(format!("http://{address}/").parse().unwrap())).await;
    assert_eq!(outcome.detail(), "timed out while reading the body");
}

#[test]
fn names_that_are_there_twice_stay_apart() {
    let twice = r#"{"status":"UP","checks":[{"name":"db","status":"UP"},{"name":"db","status":"UP"}]}"#;
    let outcome = judged(200, &[], twice);
    assert_eq!(outline(outcome.parts().unwrap().list()), "db healthy, db (2) healthy");
}

/// Any document, with keys and words of health strewn in.
fn any_document() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "UP", "DOWN", "pass", "fail", "warn", "ok", "error", "Healthy", "healthy", "unhealthy", "draining", "purple",
        "2026-01-15T10:30:00Z", "00:00:01", "\u{1b}[2J", "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(Value::from),
        word.prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "status", "overall_status", "ready", "alive", "started", "reason", "lifecycle", "components", "entries",
        "results", "checks", "dependencies", "details", "data", "error", "info", "message", "output", "timestamp",
        "checked_at", "age_ms", "uptime_seconds", "time", "duration", "response_time_ms", "name", "componentId",
        "observedValue", "observedUnit", "service", "version", "healthy", "ok", "success", "a", "b",
    ]);
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|entries| entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]
    #[test]
    fn any_document_comes_to_a_bounded_outcome_that_is_healthy_only_by_its_word(
        document in any_document(),
        code in prop::sample::select(vec![200_u16, 204, 404, 500, 503]),
        media_type in prop::sample::select(vec!["application/json", "application/health+json", "text/plain", "x"]),
    ) {
        let answer = answer(code, &[("content-type", media_type)], document.to_string());
        let (outcome, watch) = judge().judge(&answer, None);
        assert_bounded(&outcome);
        let (again, _) = judge().judge(&answer, watch);
        prop_assert_eq!(&outcome, &again);
        if outcome.reason().is_none() {
            prop_assert!((200..300).contains(&code));
            let says = |word: &str| document["status"] == word || document["overall_status"] == word;
            prop_assert!(["healthy", "ok", "success", "ready"].iter().all(|flag| document[*flag] != false));
            prop_assert!(!["DOWN", "fail", "error", "unhealthy", "purple"].into_iter().any(|word| {
                says(word) && !document["overall_status"].is_string()
            }), "{}", document);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn any_bytes_come_to_an_outcome(body in prop::collection::vec(any::<u8>(), 0..200), code in 100_u16..600) {
        let outcome = judge().judge(&answer(code, &[("content-type", "application/json")], body), None).0;
        assert_bounded(&outcome);
    }
}
