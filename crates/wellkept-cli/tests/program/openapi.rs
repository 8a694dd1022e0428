//! The description of the doors, held against the real program by schemathesis.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use wellkept_testkit::{http, python, wait_within};

use crate::served::{Served, listening, text};

const SECRET: &str = "a-long-enough-secret";

/// What the description can't say: a component that is added is of a kind, its settings must fit each other, a run of all ends within a minute, a
/// maintenance has one end, which is to come, a level is set for seconds to days, and `If-Match` names what runs.
const TOOL: &str = "\
[checks]
enabled = true
# A probe that fails is no fault of the server's: what acts can make it fail.
not_a_server_error.expected-statuses = [\"2xx\", \"3xx\", \"4xx\", 503]

[[operations]]
include-path = \"/api/v1/components\"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = \"/api/v1/components/{name}\"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = \"/api/v1/config/reload\"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = \"/api/v1/config/rollback\"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = \"/api/v1/logging\"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = \"/api/v1/maintenance\"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = \"/api/v1/maintenance/{id}\"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = \"/api/v1/run\"
checks.positive_data_acceptance.enabled = false
";

/// For who bears no token: valid data is refused too.
const REFUSED: &str = "\
[checks]
enabled = true
not_a_server_error.expected-statuses = [\"2xx\", \"3xx\", \"4xx\", 503]
positive_data_acceptance.enabled = false
";

/// A program with both doors, the admin door among them where only the token opens.
fn serve() -> (Served, SocketAddr) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::write(folder.path().join("token"), SECRET).expect("the folder can be written");
    std::fs::write(
        folder.path().join("wellkept.yaml"),
        "admin: { listen: '127.0.0.1:0', token_file: token, loopback: false }
checks:
  - name: room
    disk: { path: /, degraded_below: 0%, unhealthy_below: 0% }
    groups: [ready, batch]
",
    )
    .expect("the folder can be written");
    let served = Served::again(folder);
    served.until_ready(true);
    let admin = listening(&served.program, "status page and details");
    (served, admin)
}

fn bearer() -> String {
    format!("Bearer {SECRET}")
}

/// Sends what the tool makes of this description to a door, and expects that it finds nothing.
fn try_all(served: &Served, door: SocketAddr, description: &Value, tool: &str, arguments: &[&str]) {
    let folder = served.folder.path();
    std::fs::write(folder.join("tool.toml"), tool).expect("the folder can be written");
    std::fs::write(folder.join("openapi.json"), description.to_string()).expect("the folder can be written");
    let tools = python::environment(&["schemathesis==4.32.5"]);
    let mut schemathesis = Command::new(tools.join("schemathesis"));
    schemathesis.current_dir(folder).args(["--config-file", "tool.toml", "run", "--no-color"]);
    // What it warns of is that most names and ids that it makes up are nobody's.
    schemathesis.args(["--max-examples", "10", "--generation-deterministic", "--warnings", "off"]);
    schemathesis.args(["--url", &format!("http://{door}"), "openapi.json"]).args(arguments);
    let output = wait_within(Duration::from_secs(300), &mut schemathesis).expect("it ends");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("No issues found"), "{said}");
}

fn description(admin: SocketAddr) -> Value {
    let answer =
        http::request(admin, "GET", "/openapi.json", &[("authorization", &bearer())], b"").expect("it answers");
    answer.json()
}

/// The description with no answer but this one to what operators may do. Says how much that is.
fn refusing(description: &Value, code: &str) -> (Value, usize) {
    let mut description = description.clone();
    let mut count = 0;
    let paths = description["paths"].as_object_mut().expect("an object").values_mut();
    for operation in paths.flat_map(|path| path.as_object_mut().expect("an object").values_mut()) {
        if operation.get("security").is_some() {
            let refusal = operation["responses"]["401"].clone();
            operation["responses"] = json!({ code: refusal });
            count += 1;
        }
    }
    (description, count)
}

#[test]
fn every_answer_is_as_the_description_says() {
    let (served, admin) = serve();
    let header = format!("Authorization: {}", bearer());
    try_all(&served, admin, &description(admin), TOOL, &["--header", &header]);
}

#[test]
fn whatever_is_sent_without_the_token_is_a_probe_or_refused() {
    let (served, admin) = serve();
    let described = description(admin);
    let (unauthorised, count) = refusing(&described, "401");
    assert!(count > 15, "operators may do {count} things");
    try_all(&served, admin, &unauthorised, REFUSED, &[]);
    // There, what operators may do is not there at all, by no method.
    let (nothing, _) = refusing(&described, "404");
    try_all(&served, served.http, &nothing, REFUSED, &["--exclude-checks", "unsupported_method"]);
    let answer = http::request(admin, "GET", "/health/detailed", &[("authorization", &bearer())], b"").unwrap();
    let room = &answer.json()["components"]["room"];
    assert!(room["status"] == "healthy", "nothing has acted on it: {room}");
}
