//! What is watched without a configuration: the machine that the program runs on.

use std::time::Duration;

/// Disk, memory and CPU of this machine, or of the container that the program runs in; and their figures together.
pub(super) const CHECKS: &str = "\
checks:
  - name: disk
    disk: { path: / }
  - name: memory
    memory: {}
  - name: cpu
    cpu: {}
    required: false
  - name: system
    system: {}
    required: false
";

pub(super) fn host_name() -> String {
    wellkept_health::Settings::new("").instance
}

/// How late the event loop may answer before it is slow.
pub(super) const SLOW_LOOP: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::super::configuration::Configuration;

    #[test]
    fn the_built_in_checks_can_be_read() {
        let configuration = Configuration::parse("built-in", super::CHECKS, &|_| None).unwrap();
        let names: Vec<_> = configuration.checks.iter().map(|check| check.component.name().to_owned()).collect();
        assert_eq!(names, ["disk", "memory", "cpu", "system"]);
    }
}
