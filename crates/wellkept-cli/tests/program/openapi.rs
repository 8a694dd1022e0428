//! The description of the doors, held against the real program by schemathesis.

use std::process::Command;
use std::time::Duration;

use wellkept_testkit::{python, wait_within};

use crate::served::{Served, listening, text};

const SECRET: &str = "a-long-enough-secret";

/// What the description can't say: a component's settings must fit each other, a run of all ends within a minute, and a
/// maintenance has one end, which is to come.
const TOOL: &str = "\
[checks]
enabled = true
# A probe that fails is no fault of the server's: what acts can make it fail.
not_a_server_error.expected-statuses = [\"2xx\", \"3xx\", \"4xx\", 503]

[[operations]]
include-path = \"/api/v1/components/{name}\"
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

#[test]
fn every_answer_is_as_the_description_says() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, SECRET).unwrap();
    std::fs::write(folder.path().join("tool.toml"), TOOL).unwrap();
    std::fs::write(
        folder.path().join("wellkept.yaml"),
        "admin: { listen: '127.0.0.1:0', token_file: token }
checks:
  - name: room
    disk: { path: /, degraded_below: 0%, unhealthy_below: 0% }
    groups: [ready, batch]
",
    )
    .unwrap();
    let served = Served::again(folder);
    served.until_ready(true);
    let admin = listening(&served.program, "status page and details");
    let tools = python::environment(&["schemathesis==4.32.5"]);
    let mut schemathesis = Command::new(tools.join("schemathesis"));
    schemathesis.current_dir(served.folder.path()).args(["--config-file", "tool.toml", "run", "--no-color"]);
    // What it warns of is that most names and ids that it makes up are nobody's.
    schemathesis.args(["--max-examples", "10", "--generation-deterministic", "--warnings", "off"]);
    schemathesis.args(["--header", &format!("Authorization: Bearer {SECRET}")]);
    let output =
        wait_within(Duration::from_secs(300), schemathesis.arg(format!("http://{admin}/openapi.json"))).unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("No issues found"), "{said}");
}
