//! The agent check, asked by a real HAProxy.

use std::net::TcpListener;

use wellkept_testkit::{Haproxy, Signal, http, until};

use crate::served::{PATIENCE, Served, listening, run, text};

/// Waits until HAProxy says this of the server.
fn until_seen(haproxy: &Haproxy, status: &str, weight: &str) {
    until(PATIENCE, &format!("HAProxy to see {status} with weight {weight}"), || {
        let seen = haproxy.backend();
        seen.0.starts_with(status) && seen.1 == weight
    });
}

#[test]
fn haproxy_follows_the_status_of_a_service() {
    let (needed, wanted) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (needs, wants) = (needed.local_addr().unwrap(), wanted.local_addr().unwrap());
    let mut served = Served::with(&format!(
        "haproxy: {{ listen: '127.0.0.1:0', degraded_weight: 40% }}
defaults: {{ interval: 50ms, timeout: 500ms, fall: 1, rise: 1 }}
shutdown: {{ delay: 30s, deadline: 60s }}
checks:
  - name: needed
    tcp: {{ address: '{needs}' }}
  - name: wanted
    tcp: {{ address: '{wants}' }}
    required: false
"
    ));
    let agent = listening(&served.program, "HAProxy");
    let haproxy = Haproxy::with_agent(served.http, agent);
    until_seen(&haproxy, "UP", "100");
    drop(wanted);
    until_seen(&haproxy, "UP", "40");
    drop(needed);
    until_seen(&haproxy, "DOWN", "40");
    let _needed = TcpListener::bind(needs).unwrap();
    let _wanted = TcpListener::bind(wants).unwrap();
    until_seen(&haproxy, "UP", "100");
    served.program.signal(Signal::TERM);
    until_seen(&haproxy, "DRAIN", "100");
    assert_eq!(http::get(served.http, "/livez").status, 200);
}

#[test]
fn a_service_in_maintenance_is_taken_out_by_haproxy_and_brought_back() {
    let served = Served::with("haproxy: { listen: '127.0.0.1:0' }");
    let agent = listening(&served.program, "HAProxy");
    let haproxy = Haproxy::with_agent(served.http, agent);
    until_seen(&haproxy, "UP", "100");
    let door = format!("http://{}", served.http);
    let maintenance = |arguments: &[&str]| {
        let arguments = [&["maintenance"], arguments, &["--server", &door]].concat();
        let output = run(served.folder.path(), &arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    };
    maintenance(&["start", "--open", "--reason", "new disks"]);
    until_seen(&haproxy, "MAINT", "100");
    maintenance(&["end"]);
    until_seen(&haproxy, "UP", "100");
    let metrics = served.get("/metrics").text();
    let answered = "wellkept_haproxy_checks_total{fate=\"answered\"} ";
    let answered = metrics.lines().find_map(|line| line.strip_prefix(answered)).unwrap_or_else(|| panic!("{metrics}"));
    assert!(answered.parse::<f64>().unwrap() >= 2.0, "{metrics}");
}
