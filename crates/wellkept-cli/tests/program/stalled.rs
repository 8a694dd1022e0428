//! The real program while the runtime that its checks run on is held still.

use std::process::Command;

use wellkept_testkit::{Program, Signal, until};

use crate::served::{PATIENCE, Served, run, text};

/// Holds the threads of the checks as a debugger does (ptrace(2), `PTRACE_SEIZE` and `PTRACE_INTERRUPT`), which leaves
/// all others running. They go on when it ends.
const HOLD: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
tasks = f"/proc/{sys.argv[1]}/task"
held = [int(task) for task in os.listdir(tasks) if open(f"{tasks}/{task}/comm").read().strip() == "wk-checks"]
for task in held:
    for request in (0x4206, 0x4207):
        if libc.ptrace(request, task, 0, 0) != 0:
            sys.exit(f"ptrace is refused here: {os.strerror(ctypes.get_errno())}")
print(f"{len(held)} threads are held", flush=True)
try:
    while True:
        os.waitpid(-1, 0x40000000)
except ChildProcessError:
    pass
"#;

fn hold(served: &Served) -> Program {
    let process = served.program.pid().to_string();
    let holding = Program::spawn(Command::new("python3").args(["-c", HOLD, &process]));
    holding.wait_for_line(|line| line.ends_with("threads are held"), PATIENCE);
    holding
}

#[test]
fn a_stalled_program_fails_liveness_and_recovers_by_itself() {
    let mut served = Served::with("liveness: { stalled_after: 1s }");
    served.until_ready(true);
    let mut holding = hold(&served);
    until(PATIENCE, "liveness to fail", || served.get("/livez").status == 503);
    assert_eq!(served.get("/health/live").json()["reason"], "stalled");
    holding.signal(Signal::KILL);
    holding.wait(PATIENCE);
    until(PATIENCE, "liveness to pass again", || served.get("/livez").status == 200);
    assert_eq!(served.program.ended(), None);
    served.reload("liveness: { stalled_after: 2s }", "restart_required");
    served.wait_for(|line| line["keys"] == "liveness");
}

#[test]
fn a_stalled_program_ends_with_70_where_its_configuration_asks_for_it() {
    let mut served = Served::with("liveness: { stalled_after: 1s, on_stall: exit }");
    served.until_ready(true);
    let _holding = hold(&served);
    assert_eq!(served.program.wait(PATIENCE).code(), Some(70));
    let said = served.program.output();
    assert!(said.contains("the runtime is stalled") && said.contains("the process is ended"), "{said}");
}

#[test]
fn a_stall_that_is_no_time_or_an_unknown_word_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wellkept.yaml");
    for (section, wrong) in [
        ("{ stalled_after: 500ms }", "a stall must be from 1s to 1h long"),
        ("{ stalled_after: 2h }", "a stall must be from 1s to 1h long"),
        ("{ on_stall: restart }", "report or exit"),
        ("{ stall_after: 5s }", "stalled_after"),
    ] {
        std::fs::write(&file, format!("liveness: {section}\n")).unwrap();
        let output = run(folder.path(), &["config", "check", "wellkept.yaml"]);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(output.status.code() == Some(78) && said.contains(wrong), "{section}: {said}");
    }
}
