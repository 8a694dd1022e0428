//! File systems of a test's own, in a namespace that ends with the process in it.

use std::process::Command;

use crate::not_run;

/// A command that runs its words in a namespace of mounts of its own. `None`, and said so, where that is not allowed.
pub fn private_mounts() -> Option<Command> {
    for flags in ["--mount", "--mount --map-root-user"] {
        let mut command = Command::new("unshare");
        command.args(flags.split(' '));
        let mut probe = Command::new("unshare");
        probe.args(flags.split(' ')).args(["mount", "-t", "tmpfs", "none", "/mnt"]);
        if probe.output().is_ok_and(|output| output.status.success()) {
            return Some(command);
        }
    }
    not_run("no mounts of one's own here (unshare --mount)");
    None
}
