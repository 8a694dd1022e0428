//! What operators do to a running program's checks, and that it is seen as what no file has.

use serde_json::{Value, json};
use wellkept_testkit::{Program, http, until};

use crate::served::{PATIENCE, Served, listening, run, text, wellkept};

const TOKEN: [(&str, &str); 2] =
    [("authorization", "Bearer a-long-enough-secret"), ("content-type", "application/json")];

fn configuration(more: &str) -> String {
    format!(
        "http: {{ listen: '127.0.0.1:0' }}
admin: {{ listen: '127.0.0.1:0', token_file: token }}
checks:
  - name: scratch
    disk: {{ path: /, degraded_below: 0%, unhealthy_below: 0% }}
    interval: 5s
{more}"
    )
}

fn send(served: &Served, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let response = http::request(served.http, method, path, headers, body.as_bytes()).unwrap();
    (response.status, response.json())
}

/// A program with an admin door, on which it is driven.
fn served() -> Served {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "a-long-enough-secret\n").unwrap();
    std::fs::write(folder.path().join("wellkept.yaml"), configuration("")).unwrap();
    let program = Program::spawn(wellkept(folder.path()).arg("serve"));
    let http = listening(&program, "status page and details");
    Served { program, http, folder }
}

fn drift(served: &Served) -> Value {
    send(served, "GET", "/api/v1/config", &TOKEN[..1], "").1["drift"].clone()
}

fn reload(served: &Served, more: &str) -> Value {
    std::fs::write(served.file(), configuration(more)).unwrap();
    let (status, done) = send(served, "POST", "/api/v1/config/reload", &TOKEN, "{}");
    assert_eq!(status, 200, "{done}");
    done
}

#[test]
fn a_check_that_the_api_added_is_shown_as_drift_until_the_file_has_its_name() {
    let served = served();
    let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = target.local_addr().unwrap().to_string();
    let extra = json!({ "name": "extra", "tcp": { "address": address }, "interval": "1s" }).to_string();
    let add = |headers: &[(&str, &str)], body: &str| send(&served, "POST", "/api/v1/components", headers, body);
    let (status, refusal) = add(&TOKEN[1..], &extra);
    assert_eq!((status, &refusal["error"]["code"]), (403, &json!("http.token_needed")), "from this machine only");
    let (status, refusal) = add(&TOKEN, r#"{"name":"run","command":{"run":["true"]}}"#);
    assert_eq!((status, &refusal["error"]["code"]), (422, &json!("component.rejected")), "it runs a program");
    assert_eq!(drift(&served), json!([]));

    assert_eq!(add(&TOKEN, &extra), (200, json!({ "added": "extra" })));
    assert_eq!(add(&TOKEN, &extra).0, 409, "once");
    until(PATIENCE, "the added one to be shown as healthy", || {
        let extra = served.component("extra");
        extra["added"] == true && extra["status"] == "healthy"
    });
    let tune = r#"{"interval":"1s"}"#;
    assert_eq!(send(&served, "PATCH", "/api/v1/components/scratch", &TOKEN, tune).0, 200);
    assert_eq!(send(&served, "POST", "/api/v1/components/scratch/disable", &TOKEN, "{}").0, 200);
    let tuned = "api: ~ checks.scratch.interval: 5s -> 1s";
    let lines = json!([tuned, "api: checks.scratch disabled", "api: + checks.extra (tcp)"]);
    assert_eq!(drift(&served), lines);
    for path in ["/api/v1/config/diff", "/api/v1/config/diff?from=file&to=running"] {
        assert_eq!(send(&served, "GET", path, &TOKEN[..1], "").1["changes"], lines, "{path}");
    }
    let admin = format!("http://{}", served.http);
    let command = |words: &[&str]| {
        let door = ["--server", &admin, "--token-file", "token"];
        let output = run(served.folder.path(), &[words, &door].concat());
        (output.status.code(), text(&output.stdout))
    };
    let (code, said) = command(&["config", "diff"]);
    assert_eq!((code, said.lines().last()), (Some(1), Some("api: + checks.extra (tcp)")), "{said}");
    let (_, shown) = command(&["config", "show"]);
    assert!(shown.contains("\nChanged by hand: api: checks.scratch disabled\n"), "{shown}");
    assert!(!said.contains(&address) && !shown.contains(&address), "no setting is shown: {said}{shown}");

    reload(&served, "  - { name: other, disk: { path: / } }\n");
    assert_eq!(drift(&served).as_array().map(Vec::len), Some(3), "a reload keeps all of it");
    let named = format!("  - {{ name: extra, tcp: {{ address: '{address}' }}, interval: 2s }}\n");
    let done = reload(&served, &named);
    assert_eq!(done["effects"]["taken_over"], json!(["extra"]), "{done}");
    assert_eq!(send(&served, "DELETE", "/api/v1/components/extra", &TOKEN[..1], "").0, 409, "it is the file's now");
    assert_eq!(drift(&served), json!([tuned, "api: checks.scratch disabled"]));

    assert_eq!(add(&TOKEN, &extra.replace("extra", "second")).0, 200);
    let (status, removed) = send(&served, "DELETE", "/api/v1/components/second", &TOKEN[..1], "");
    assert_eq!((status, &removed["removed"]), (200, &json!("second")));
    let back = r#"{"interval":"5s"}"#;
    assert_eq!(send(&served, "PATCH", "/api/v1/components/scratch", &TOKEN, back).0, 200);
    assert_eq!(send(&served, "POST", "/api/v1/components/scratch/enable", &TOKEN, "{}").0, 200);
    assert_eq!(command(&["config", "diff"]), (Some(0), "Nothing differs.\n".to_owned()));
}
