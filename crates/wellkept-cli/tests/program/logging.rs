//! Where the program's log goes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use wellkept_testkit::{Graygelf, Logrotate, Program, Signal, until};

use crate::configuration::check;
use crate::served::{PATIENCE, Served, run, text, wellkept};

#[test]
fn what_is_wrong_with_where_the_log_goes_is_said_with_its_place() {
    let (code, said) = check(
        "checks: []
logging:
  output: stdin
  file: { path: /, max_size: 1KiB, every: 1, keep: 20000, keep_for: 30d, compres: true }
  gelf: { url: 'tls://graylog:12201' }
",
    );
    assert_eq!(code, Some(78));
    insta::assert_snapshot!(said, @"
    app.yaml:3:11: expected stdout, stderr or none, found `stdin`
    app.yaml:4:17: expected the path of a file, such as /var/log/orders/orders.log
    app.yaml:4:30: at least 16KiB, or `off`
    app.yaml:4:43: expected a duration such as 1h, 1d or 7d, or off, found `1` (add a unit: 1s?)
    app.yaml:4:52: at most 10000 files
    app.yaml:4:74: unknown key `compres` in `file`, did you mean `compress`?
    app.yaml:5:16: expected a URL such as udp://graylog:12201 or tcp://graylog:12201, found `tls://graylog:12201` (TLS is not a part of it)
    ");
    let (code, said) = check(
        "checks: []
logging:
  output: none
  gelf: { url: 'tcp://graylog', compression: gzip }
",
    );
    assert_eq!(code, Some(78));
    insta::assert_snapshot!(said, @"app.yaml:4:46: `compression` is for a receiver by udp://");
}

#[test]
fn a_log_that_goes_nowhere_or_grows_without_a_bound_is_warned_of() {
    let (code, said) = check("checks: []\nlogging: { output: none }\n");
    assert_eq!(code, Some(0));
    assert!(said.contains("warning: nothing is logged anywhere"), "{said}");
    let (code, said) = check("checks: []\nlogging: { file: { path: /var/log/x.log, max_size: off } }\n");
    assert_eq!(code, Some(0));
    assert!(said.contains("warning: /var/log/x.log grows without a bound"), "{said}");
    let (code, said) =
        check("checks: []\nlogging: { file: { path: /var/log/x.log, every: 1d }, gelf: { url: 'udp://graylog' } }\n");
    assert_eq!((code, said.as_str()), (Some(0), "app.yaml: valid, 0 checks\n"));
}

#[test]
fn a_log_file_that_can_not_be_written_ends_the_start_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let start = |path: &Path| {
        let configuration = format!("checks: []\nlogging: {{ file: {{ path: '{}' }} }}\n", path.display());
        fs::write(folder.path().join("wellkept.yaml"), configuration).unwrap();
        let output = run(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
        assert_ne!(output.status.code(), Some(0));
        text(&output.stderr).replace(&folder.path().display().to_string(), "FOLDER")
    };
    insta::assert_snapshot!(start(&folder.path().join("log/orders.log")), @"wellkept: the log file FOLDER/log/orders.log can't be opened: the folder FOLDER/log does not exist; create it, or have it created with `create_folder: true`");
    let said = start(Path::new("/sys/orders.log"));
    assert!(
        said.contains("/sys belongs to user 0 and group 0 with mode 0555, and this process runs as user"),
        "{said}"
    );
    assert!(said.contains("give it the right to write there, or name another file"), "{said}");
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("each line is whole")).collect()
}

#[test]
fn logrotate_moves_the_file_away_and_the_program_goes_on_in_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log/orders.log");
    let mut served = Served::with(&format!(
        "checks: []\nlogging: {{ output: stdout, file: {{ path: '{}', create_folder: true }} }}\n",
        path.display()
    ));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    let logrotate = Logrotate::of(&path, "rotate 100\nnocreate", &format!("kill -HUP {}", served.program.pid()));
    let told = |line: &Value| line["message"] == "the configuration is unchanged";
    for _ in 0..8 {
        logrotate.rotate();
        // The signal has it opened anew, and only what comes then is written there.
        until(PATIENCE, "the reload to be told in the new file", || lines(&path).iter().any(told));
    }
    served.program.signal(Signal::TERM);
    assert_eq!(served.program.wait(PATIENCE).code(), Some(0));
    let mut in_files = lines(&path);
    for number in 1..=8 {
        let moved = lines(&path.with_extension(format!("log.{number}")));
        assert_eq!(moved.iter().filter(|line| told(line)).count(), usize::from(number < 8), "one reload for each file");
        in_files.extend(moved);
    }
    // Both have the same lines, but for what each says when it is closed.
    let messages = |lines: Vec<Value>| {
        let mut messages: Vec<_> =
            lines.iter().filter(|line| line["message"] != "log closed").map(Value::to_string).collect();
        messages.sort();
        messages
    };
    let on_stdout = served.program.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(messages(in_files), messages(on_stdout));
}

#[test]
fn a_receiver_of_gelf_gets_the_log_and_where_it_goes_needs_a_restart() {
    let receiver = Graygelf::start();
    let configuration = format!("checks: []\nlogging: {{ gelf: {{ url: 'udp://{}' }} }}\n", receiver.address());
    let mut served = Served::with(&configuration);
    let starting = || {
        let messages = receiver.messages().into_iter().map(|message| serde_json::from_str(&message).unwrap());
        messages.into_iter().find(|message: &Value| message["short_message"] == "starting")
    };
    until(PATIENCE, "the first line to come", || starting().is_some());
    assert_eq!(starting().unwrap()["level"], 6);
    served.reload(&configuration.replace("udp", "tcp"), "restart_required");
    let keys = served.wait_for(|line| line["keys"].is_string());
    assert_eq!(keys["keys"], "logging.gelf");
}

#[test]
fn a_process_and_its_successor_write_to_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.log");
    let configuration = format!(
        "checks: []\nhttp: {{ listen: '127.0.0.1:0' }}\nshutdown: {{ handover: {{ path: '{}' }} }}\nlogging: {{ file: {{ path: '{}' }} }}\n",
        folder.path().join("handover").display(),
        path.display()
    );
    fs::write(folder.path().join("wellkept.yaml"), configuration).unwrap();
    let serve = |arguments: &[&str]| Program::spawn(wellkept(folder.path()).arg("serve").args(arguments));
    let mut first = serve(&[]);
    first.wait_for_line(|line| line.contains("probes and metrics"), PATIENCE);
    let mut second = serve(&["--take-over"]);
    assert_eq!(first.wait(PATIENCE).code(), Some(0));
    second.wait_for_line(|line| line.contains("the process before has ended"), PATIENCE);
    second.signal(Signal::TERM);
    assert_eq!(second.wait(PATIENCE).code(), Some(0));
    let mut in_file: Vec<_> = lines(&path).iter().map(Value::to_string).collect();
    let of = |program: &Program| program.stdout().lines().map(str::to_owned).collect::<Vec<_>>();
    let all = [of(&first), of(&second)].concat();
    let all: Vec<Value> = all.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut on_stdout: Vec<_> = all.iter().map(Value::to_string).collect();
    for lines in [&mut in_file, &mut on_stdout] {
        lines.retain(|line| !line.contains("log closed"));
        lines.sort();
    }
    assert_eq!(in_file, on_stdout);
}
