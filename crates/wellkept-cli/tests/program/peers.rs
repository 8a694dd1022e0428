//! Services of other makers as components: real ones in Node and in Python, looked at by the real program.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use wellkept_testkit::{Program, node, python};

use crate::served::Served;

/// How long an interpreter may take to begin.
const START: Duration = Duration::from_secs(60);

/// A service of another maker, which is well while the folder that stands for its database is there.
struct Peer {
    program: Program,
    address: SocketAddr,
    database: TempDir,
}

impl Peer {
    fn start(command: &mut Command) -> Self {
        let database = tempfile::tempdir().unwrap();
        let (program, address) = Program::listening(command.env("DATABASE", database.path()), START);
        Self { program, address, database }
    }

    fn terminus() -> Self {
        let modules = node::modules(&["@godaddy/terminus@4.12.1"]);
        Self::start(Command::new("node").arg(script("terminus.js")).env("NODE_PATH", modules))
    }

    fn fastapi() -> Self {
        let python = python::environment(&["fastapi==0.165.0", "fastapi-health==0.4.0", "uvicorn==0.54.0"]);
        Self::start(Command::new(python.join("python")).arg(script("fastapi_health_app.py")))
    }

    /// The program, looking at paths of this service by components of these names.
    fn looked_at(&self, looks: &[(&str, &str)]) -> Served {
        let looks = looks.iter().map(|(name, path)| {
            format!("  - name: {name}\n    upstream: {{ url: 'http://{}{path}' }}\n", self.address)
        });
        let checks: String = looks.collect();
        Served::with(&format!("defaults: {{ interval: 100ms, timeout: 5s, fall: 2, rise: 2 }}\nchecks:\n{checks}"))
    }

    /// Takes its database away, and is not well from then on.
    fn fail(&self) {
        std::fs::remove_dir(self.database.path()).unwrap();
    }

    fn mend(&self) {
        std::fs::create_dir(self.database.path()).unwrap();
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/peers").join(name)
}

/// A component's message, format, and what stands below it.
fn told(component: &Value) -> (&str, &str, String) {
    let message = component["message"].as_str().unwrap();
    let format = component["metadata"]["format"].as_str().unwrap_or_default();
    (message, format, component["components"].to_string())
}

/// What is so of a peer of any make: a page is no health answer, and one that is gone is named as that.
fn a_page_is_refused_and_a_killed_one_is_gone(mut peer: Peer, served: &Served) {
    let page = served.until_status("page", "unhealthy");
    assert_eq!((&page["reason"], &page["metadata"]["status"]), (&"protocol".into(), &200.into()));
    assert_eq!(page["message"], "a web page, not a health answer");
    peer.program.kill();
    let stock = served.until_status("stock", "unhealthy");
    assert_eq!((&stock["reason"], stock.get("components")), (&"refused".into(), None), "{stock}");
}

#[test]
fn a_running_service_with_terminus_is_read_with_what_fails_in_it() {
    let peer = Peer::terminus();
    let served = peer.looked_at(&[("stock", "/health"), ("page", "/no-such-page")]);
    let both_up = r#"{"cache":{"status":"healthy"},"database":{"status":"healthy"}}"#;
    assert_eq!(told(&served.until_status("stock", "healthy")), ("", "terminus", both_up.into()));
    peer.fail();
    let stock = served.until_status("stock", "unhealthy");
    let below = r#"{"cache":{"status":"healthy"},"database":{"status":"unhealthy","message":"the folder is gone"}}"#;
    assert_eq!(told(&stock), ("it says that it is unhealthy", "terminus", below.into()));
    assert_eq!((&stock["reason"], &stock["metadata"]["status"]), (&"upstream".into(), &503.into()));
    assert_eq!(stock["detail"], "database is unhealthy: the folder is gone");
    peer.mend();
    assert_eq!(told(&served.until_status("stock", "healthy")), ("", "terminus", both_up.into()));
    a_page_is_refused_and_a_killed_one_is_gone(peer, &served);
}

#[test]
fn a_running_service_with_fastapi_health_is_read_with_what_fails_in_it() {
    let peer = Peer::fastapi();
    let served = peer.looked_at(&[("stock", "/health"), ("plain", "/plain"), ("page", "/no-such-page")]);
    let both_up = r#"{"cache":{"status":"healthy"},"database":{"status":"healthy"}}"#;
    assert_eq!(told(&served.until_status("stock", "healthy")), ("", "health+json", both_up.into()));
    assert_eq!(told(&served.until_status("plain", "healthy")), ("", "status", "null".into()));
    peer.fail();
    let stock = served.until_status("stock", "unhealthy");
    let below = r#"{"cache":{"status":"healthy"},"database":{"status":"unhealthy"}}"#;
    assert_eq!(told(&stock), ("it says that it is unhealthy", "health+json", below.into()));
    assert_eq!(stock["detail"], "database is unhealthy");
    let plain = served.until_status("plain", "unhealthy");
    assert_eq!((&plain["reason"], &plain["message"]), (&"unexpected".into(), &"unexpected status 503".into()));
    peer.mend();
    served.until_status("stock", "healthy");
    a_page_is_refused_and_a_killed_one_is_gone(peer, &served);
}
