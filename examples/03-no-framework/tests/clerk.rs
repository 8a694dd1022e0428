//! The example as a real process: what it prints as its inbox fills and goes.

use std::process::Command;
use std::time::Duration;

use wellkept_testkit::Program;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn each_change_of_its_health_is_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let clerk = Program::spawn(Command::new(env!("CARGO_BIN_EXE_clerk")).arg(folder.path()));
    let says = |component: &str, to: &str| {
        let (component, to) = (format!(r#""component":"{component}""#), format!(r#""to":"{to}""#));
        clerk.wait_for_line(|line| line.contains(&component) && line.contains(&to), PATIENCE)
    };
    says("inbox", "healthy");
    says("work", "healthy");
    for number in 0..200 {
        std::fs::write(folder.path().join(number.to_string()), "").unwrap();
    }
    assert!(says("inbox", "degraded").contains(r#""reason":"threshold""#));
    drop(folder);
    let line = says("inbox", "unhealthy");
    assert!(line.contains("the inbox can't be read"), "{line}");
}
