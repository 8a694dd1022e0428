//! Many parts of one service: some stopped while the rest serves, one that fails again and again; what probes see meanwhile.

use wellkept_testkit::{free_address, http};

use crate::driven::{Driven, PATIENCE};
use crate::scenarios::{GATES, PARTS, PROBES};

#[test]
fn a_part_of_many_is_stopped_while_the_rest_serves_and_then_all_end() {
    let mut driven = Driven::start("parts");
    let get = |path| http::get(driven.address, path).text();
    assert_eq!(get("/running"), format!("{PARTS} and {PARTS}"));
    assert_eq!(get("/stop"), "0 are left");
    assert_eq!(get("/running"), format!("0 and {PARTS}"));
    assert_eq!(http::get(driven.address, "/readyz").status, 200);
    driven.terminate();
    let ended = driven.end();
    ended.is_clean();
    let resources = ended.report["resources"].as_array().unwrap();
    assert_eq!(resources.iter().filter(|resource| resource["outcome"] == "closed").count(), PARTS);
}

#[test]
fn a_task_in_the_pause_between_two_crashes_ends_at_once() {
    let mut driven = Driven::start("a crash loop");
    driven.program.wait_for_line(|line| line.contains("a task failed"), PATIENCE);
    driven.terminate();
    let ended = driven.end();
    ended.is_clean();
    assert_eq!(ended.output.matches("the consumer crashed").count(), 1, "{}", ended.output);
}

#[test]
fn in_every_phase_readiness_fails_and_liveness_holds() {
    let (gates, probes) = (tempfile::tempdir().unwrap(), free_address());
    let mut driven = Driven::start_with("gates", |command| {
        command.env(GATES, gates.path()).env(PROBES, probes.to_string());
    });
    let hangs = driven.connect_and_ask("GET", "/hangs");
    assert_eq!(http::get(probes, "/readyz").status, 200);
    driven.terminate();
    let mut hangs = Some(hangs);
    for phase in ["delaying", "announcing", "draining_connections", "closing_resources"] {
        driven.reaches(phase);
        let ready = http::get(probes, "/readyz");
        assert_eq!((ready.status, http::get(probes, "/livez").status), (503, 200), "{phase}");
        assert_eq!(http::get(probes, "/health/ready").json()["reason"], "draining", "{phase}");
        if phase == "announcing" {
            // It ends by itself, maybe before all this is asked.
            continue;
        }
        let metrics = http::get(probes, "/metrics").text();
        assert!(metrics.contains(&format!("wellkept_shutdown_phase{{phase=\"{phase}\"}} 1")), "{phase}: {metrics}");
        match phase {
            "draining_connections" => drop(hangs.take()),
            gate => std::fs::write(gates.path().join(gate), "").unwrap(),
        }
    }
    driven.end().is_clean();
    assert!(http::request(probes, "GET", "/livez", &[], b"").is_err(), "nobody is there any more");
}
