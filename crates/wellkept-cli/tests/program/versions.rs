//! The versions of a real program's configuration: kept over its end, returned to, refused until the file changes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use wellkept_testkit::{Signal, http};

use crate::served::{PATIENCE, Served};

fn configuration(interval: &str, password: &str) -> String {
    format!(
        "service: {{ name: orders }}
checks:
  - name: cache
    redis: {{ url: 'redis://app:{password}@127.0.0.1:1/0' }}
    interval: {interval}
    enabled: false
"
    )
}

fn get(served: &Served, path: &str) -> Value {
    let response = served.get(path);
    let text = response.text();
    assert_eq!(response.status, 200, "{path}: {text}");
    assert!(!text.contains("hunter"), "{path} shows a secret: {text}");
    response.json()
}

/// Each version in a line, newest first.
fn history(served: &Served) -> String {
    let versions = get(served, "/api/v1/config/versions")["versions"].clone();
    let told = |version: &Value| {
        let word = |key: &str| version[key].as_str().unwrap_or_default().to_owned();
        // The caller's port is another one each time.
        let author = word("author");
        let author = author.rsplit_once(':').map_or(author.clone(), |(who, _)| who.to_owned() + ")");
        format!("{} {} {author}: {} {}", version["id"], word("trigger"), word("outcome"), version["summary"])
    };
    versions.as_array().unwrap().iter().map(told).collect::<Vec<_>>().join("\n")
}

fn roll_back(served: &Served, to: u64) -> (u16, Value) {
    let body = json!({ "to": to, "author": "ann" }).to_string();
    let headers = [("content-type", "application/json")];
    let answer = http::request(served.http, "POST", "/api/v1/config/rollback", &headers, body.as_bytes()).unwrap();
    (answer.status, answer.json())
}

fn interval(served: &Served) -> Value {
    let values = get(served, "/api/v1/config")["values"].clone();
    values.as_array().unwrap().iter().find(|one| one["path"] == "checks.cache.interval").unwrap()["value"].clone()
}

#[test]
fn versions_outlive_a_killed_process_and_what_was_rolled_back_from_is_refused_until_the_file_changes() {
    let mut served = Served::with(&configuration("5s", "hunter2"));
    served.reload("checks: [", "rejected");
    let second = configuration("10s", "hunter3");
    served.reload(&second, "applied");
    let (status, done) = roll_back(&served, 1);
    assert_eq!((status, &done["outcome"], &done["returned_to"]), (200, &json!("rolled_back"), &json!(1)), "{done}");
    assert_eq!(interval(&served), "5s");
    served.reload_as_it_is("rejected");
    assert_eq!(get(&served, "/api/v1/config/diff?from=1&to=4")["changes"], json!([]));

    served.program.signal(Signal::KILL);
    served.program.wait(PATIENCE);
    let mut served = Served::again(served.folder);
    let told = history(&served);
    insta::assert_snapshot!(told, @r#"
    4 api ann (loopback from 127.0.0.1): rolled_back ["~ checks.cache.redis.url: redis://…@127.0.0.1:1/… (its value changed)","~ checks.cache.interval: 10s -> 5s"]
    3 signal : applied ["~ checks.cache.redis.url: redis://…@127.0.0.1:1/… (its value changed)","~ checks.cache.interval: 5s -> 10s"]
    2 signal : rejected ["./wellkept.yaml:2:1: not valid YAML: a value is missing here"]
    1 start : applied []
    "#);
    let running = get(&served, "/api/v1/config");
    assert_eq!(
        (interval(&served), &running["version"]),
        (json!("5s"), &json!(4)),
        "what was rolled back from does not run"
    );
    assert!(running["refuses"].is_string(), "{running}");

    served.reload(&configuration("20s", "hunter3"), "applied");
    let running = get(&served, "/api/v1/config");
    assert_eq!((interval(&served), &running["refuses"]), (json!("20s"), &Value::Null));
    assert_eq!(roll_back(&served, 3).1["outcome"], "rolled_back", "one may come back to it by its number");
    assert_eq!(interval(&served), "10s");

    let store = served.folder.path().join("state/wellkept/service-orders.db");
    assert_eq!(fs::metadata(&store).unwrap().permissions().mode() & 0o777, 0o600, "it holds the files as written");
    assert_eq!(served.stop(), Some(0));
}
