//! What `docs/shutdown.md` shows for each platform: that the platform takes it, and that the arithmetic in it holds.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use wellkept_testkit::{Systemd, not_run, python, until, wait_within};

use crate::served::{PATIENCE, text, wellkept};

const PAGE: &str = include_str!("../../../../docs/shutdown.md");
/// With schemas for versions of Kubernetes up to its own, and a parser of YAML.
const VALIDATE: &[&str] = &["kubernetes-validate==1.37.0"];

/// The fragments below a heading, as they are written.
fn fragments(heading: &str) -> Vec<&'static str> {
    let section = PAGE.split_once(&format!("\n### {heading}\n")).expect("the page has the heading").1;
    let section = section.split("\n### ").next().unwrap_or_default();
    let inside = section.split("\n```").skip(1).step_by(2);
    inside.map(|fragment| fragment.split_once('\n').expect("a language").1).collect()
}

/// What a parser of YAML makes of it.
fn parsed(fragment: &str) -> Value {
    let python = python::environment(VALIDATE).join("python");
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.argv[1])))";
    let output = succeeded(Command::new(python).args(["-c", script, fragment]));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn succeeded(command: &mut Command) -> Output {
    let output = wait_within(PATIENCE, command).expect("it runs and ends");
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    output
}

/// Checks the configuration with this environment, and returns what is said of it.
fn checked(configuration: &str, environment: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("app.yaml"), format!("checks: []\n{configuration}")).unwrap();
    let mut command = wellkept(folder.path());
    let output = succeeded(command.args(["config", "check", "app.yaml"]).envs(environment.iter().copied()));
    text(&output.stdout) + &text(&output.stderr)
}

const FITS: &str = "app.yaml: valid, 0 checks\n";

#[test]
fn the_pod_of_the_document_is_one_and_its_grace_period_fits_the_configuration_beside_it() {
    let fragments = fragments("Kubernetes");
    let [pod, configuration] = fragments.as_slice() else { panic!("{fragments:?}") };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pod.yaml");
    fs::write(&file, pod).unwrap();
    let validate = python::environment(VALIDATE).join("kubernetes-validate");
    for version in ["1.31", "1.37"] {
        succeeded(Command::new(&validate).args(["--strict", "-k", version]).arg(&file));
    }

    let pod = parsed(pod);
    let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    let told = pod["spec"]["containers"][0]["env"][0]["value"].as_str().unwrap();
    assert_eq!(told, format!("{grace}s"));
    assert_eq!(checked(configuration, &[("GRACE", told)]), FITS);
    assert!(checked(configuration, &[("GRACE", "59s")]).contains("does not fit a grace period of 59s"));
}

#[test]
fn the_service_of_the_document_for_docker_gets_the_signal_and_the_time() {
    let fragments = fragments("Docker");
    let [compose, configuration] = fragments.as_slice() else { panic!("{fragments:?}") };
    let orders = parsed(compose)["services"]["orders"].take();
    assert!(orders["command"].is_array(), "a shell would get the signal");
    assert_eq!(orders["stop_signal"], "SIGTERM");
    let grace = orders["stop_grace_period"].as_str().unwrap();
    let with = |grace: &str| configuration.replace('}', &format!(", grace: {grace} }}"));
    assert_eq!(checked(&with(grace), &[]), FITS);
    assert!(checked(&with("9s"), &[]).contains("does not fit a grace period of 9s"));
}

#[test]
fn the_unit_of_the_document_is_one_and_its_time_fits_the_configuration_beside_it() {
    let fragments = fragments("systemd");
    let [unit, configuration] = fragments.as_slice() else { panic!("{fragments:?}") };
    let grace = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    let with = |grace: &str| configuration.replace('}', &format!(", grace: {grace} }}"));
    assert_eq!(checked(&with(&format!("{grace}s")), &[]), FITS);
    assert!(checked(&with("85s"), &[]).contains("does not fit a grace period of 85s"));

    let program = Path::new(env!("CARGO_BIN_EXE_wellkept"));
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return not_run("systemd-analyze is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.service");
    fs::write(&file, unit.replace("/usr/local/bin/wellkept", &program.display().to_string())).unwrap();
    let output = succeeded(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file));
    assert_eq!(text(&output.stderr), "", "nothing in it is unknown");
}

#[test]
fn the_unit_of_the_document_serves_under_a_real_systemd_and_a_refused_configuration_is_not_tried_again() {
    let unit = fragments("systemd")[0]
        .replace("[Unit]\n", "[Unit]\nDefaultDependencies=no\n")
        .replace("/usr/local/bin/", "/out/")
        .replace("/etc/orders/", "/out/");
    let program = Path::new(env!("CARGO_BIN_EXE_wellkept"));
    let systemd = match Systemd::boot(&[("orders.service", &unit)], program, "wellkept") {
        Ok(systemd) => systemd,
        Err(why) => return not_run(why),
    };
    let configuration = systemd.out().join("wellkept.yaml");
    fs::write(&configuration, format!("checks: []\n{}", fragments("systemd")[1])).unwrap();
    systemd.start("orders.service");
    let ready = systemd.connect(8080).unwrap().get("/readyz").unwrap();
    assert_eq!(ready.status, 200);
    assert!(systemd.systemctl(&["reload", "orders.service"]).status.success());
    systemd.until_shown("orders.service", "ActiveState", PATIENCE, |state| state == "active");
    systemd.signal("orders.service", "KILL");
    systemd.until_shown("orders.service", "NRestarts", PATIENCE, |restarts| restarts == "1");
    until(PATIENCE, "the next one", || systemd.connect(8080).is_ok());

    fs::write(&configuration, "chekcs: []\n").unwrap();
    systemd.signal("orders.service", "KILL");
    systemd.until_shown("orders.service", "ActiveState", PATIENCE, |state| state == "failed");
    assert_eq!(systemd.show("orders.service", "ExecMainStatus"), "78");
    assert_eq!(systemd.show("orders.service", "NRestarts"), "2");
}
