//! Checks of this machine on the real thing: file systems that are full, read-only or hung, limits of control groups.
//!
//! What is mounted is mounted in a namespace of its own, which ends with the process in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use wellkept_testkit::{Program, not_run, private_mounts, until, wait_within};

use crate::served::{PATIENCE, Served, listening, text, wellkept};

/// Mounts a FUSE file system that nobody serves, at `$1`, and becomes the rest of its words: whatever asks it for
/// anything hangs in the kernel until that process ends.
const HUNG_MOUNT: &str = r#"
import ctypes, os, sys
point, words = sys.argv[1], sys.argv[2:]
fuse = os.open("/dev/fuse", os.O_RDWR)
os.set_inheritable(fuse, True)
options = f"fd={fuse},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"hung", point.encode(), b"fuse", 6, options.encode()) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
os.execv(words[0], words)
"#;

/// Runs `wellkept check --json` with these words after the script has had its way with the folder `$1`.
fn check_after(script: &str, folder: &Path, words: &[&str]) -> Option<Output> {
    let mut command = private_mounts()?;
    let words = ["check", "--json"].iter().chain(words);
    let script = format!("{script}\nshift; exec \"$@\"");
    command.args(["sh", "-ec", &script, "sh"]).arg(folder).arg(wellkept(folder).get_program()).args(words);
    let output = wait_within(PATIENCE, command.env_remove("WELLKEPT_CONFIG")).expect("the program runs and ends");
    Some(output)
}

/// Makes a database with one row at `$1`, in the journal mode `$2`, and leaves it as a writer does that is killed.
const DATABASE: &str = r#"
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode=" + sys.argv[2])
database.execute("CREATE TABLE jobs (work BLOB)")
database.execute("INSERT INTO jobs VALUES (zeroblob(2000))")
os._exit(0)
"#;

/// Fills the file system of `$1`, and writes to the database there, which must fail for lack of room.
const FILLED: &str = r#"
import os, sqlite3, sys
with open(os.path.dirname(sys.argv[1]) + "/big", "wb", buffering=0) as big:
    size = 65536
    while size:
        try:
            big.write(b"x" * size)
        except OSError:
            size //= 2
try:
    sqlite3.connect(sys.argv[1], isolation_level=None).execute("INSERT INTO jobs VALUES (zeroblob(100000))")
except sqlite3.OperationalError as error:
    sys.exit(0 if "full" in str(error) or "I/O" in str(error) else str(error))
sys.exit("there was room")
"#;

/// The only component of the answer.
fn told(output: &Output) -> Value {
    let json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)));
    json["components"].as_object().unwrap().values().next().unwrap().clone()
}

#[test]
fn a_database_on_a_real_file_system_that_is_full_is_told_though_it_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("make.py", DATABASE), ("fill.py", FILLED)] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    fs::create_dir(folder.path().join("small")).unwrap();
    let path = folder.path().join("small/app.db");
    let words =
        ["--kind", "sqlite", "--path", path.to_str().unwrap(), "--query", "SELECT count(*) FROM jobs", "--expect", "1"];
    for mode in ["delete", "wal"] {
        let made =
            format!("mount -t tmpfs -o size=512k none \"$1/small\"; python3 \"$1/make.py\" \"$1/small/app.db\" {mode}");
        let Some(output) = check_after(&made, folder.path(), &words) else { return };
        assert_eq!(output.status.code(), Some(0), "{mode}: {}", told(&output));
        let filled = format!("{made}; python3 \"$1/fill.py\" \"$1/small/app.db\"");
        let output = check_after(&filled, folder.path(), &words).expect("it could be done before");
        let database = told(&output);
        assert_eq!(output.status.code(), Some(1), "{mode}: {database}");
        assert_eq!(
            (&database["reason"], &database["message"]),
            (&"exhausted".into(), &"no room is left on the file system".into()),
            "{mode}: {database}"
        );
        assert_eq!(database["metadata"]["value"], 1.0, "{mode}: it is read all the same");
    }
}

#[test]
fn a_real_file_system_that_fills_up_is_told_by_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let mounted = "mount -t tmpfs -o size=1m,nr_inodes=64 none \"$1\"";
    for (then, words, code, reason, message) in [
        ("", &["--access", "write"][..], 0, Value::Null, ""),
        ("head -c 900k /dev/zero > \"$1/big\"", &[], 0, "threshold".into(), "% free"),
        ("head -c 1100k /dev/zero > \"$1/big\" || true", &[], 1, "threshold".into(), "0.0% free"),
        ("for n in $(seq 62); do : > \"$1/$n\"; done", &[], 1, "threshold".into(), "% of files free"),
        ("mount -o remount,ro \"$1\"", &[], 0, "not_ready".into(), "file system is read-only"),
        ("mount -o remount,ro \"$1\"", &["--access", "write"], 1, "not_ready".into(), "file system is read-only"),
    ] {
        let words = [&["--kind", "disk", "--path", path], words].concat();
        let Some(output) = check_after(&format!("{mounted}\n{then}"), folder.path(), &words) else { return };
        let disk = told(&output);
        assert_eq!(output.status.code(), Some(code), "{then}: {disk}");
        assert_eq!(disk["reason"], reason, "{then}: {disk}");
        assert!(disk["message"].as_str().unwrap().contains(message), "{then}: {disk}");
        assert_eq!(disk["metadata"]["total_bytes"], 1 << 20, "{then}: {disk}");
    }
}

/// A command in whose namespace the folder is hung.
pub(crate) fn beside_a_hung_mount(folder: &Path) -> Option<Command> {
    let mut command = private_mounts()?;
    command.args(["python3", "-c", HUNG_MOUNT]).arg(folder);
    Some(command)
}

#[test]
fn a_check_of_a_hung_mount_ends_at_its_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut command) = beside_a_hung_mount(folder.path()) else { return };
    command.arg(wellkept(folder.path()).get_program());
    command.args(["check", "--json", "--timeout", "300ms", "--kind", "disk", "--path"]).arg(folder.path());
    let begun = Instant::now();
    let output = wait_within(PATIENCE, &mut command).expect("the program ends although its thread hangs");
    let disk = told(&output);
    assert_eq!((output.status.code(), &disk["reason"]), (Some(1), &"timeout".into()), "{disk}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_hung_mount_holds_one_thread_however_often_it_is_asked_about() {
    let (mount, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = mount.path().display();
    let configuration = |number: u32| {
        format!(
            "
http: {{ listen: '127.0.0.1:0' }}
defaults: {{ interval: 50ms, timeout: 100ms, fall: 1, rise: 1, jitter: 0% }}
checks:
  - name: hung
    disk: {{ path: '{path}', unhealthy_below: {number}% }}
  - name: hung-too
    disk: {{ path: '{path}', degraded_below: 2{number}% }}
  - name: all-figures
    system: {{ path: '{path}' }}
  - name: other
    disk: {{ path: /proc }}
"
        )
    };
    fs::write(folder.path().join("wellkept.yaml"), configuration(0)).unwrap();
    let Some(mut command) = beside_a_hung_mount(mount.path()) else { return };
    command.arg(wellkept(folder.path()).get_program()).arg("serve").current_dir(folder.path());
    command.env_remove("WELLKEPT_CONFIG").env("XDG_STATE_HOME", folder.path().join("state"));
    let program = Program::spawn(&mut command);
    let http = listening(&program, "probes and metrics");
    let mut served = Served { program, http, folder };
    for number in 1..=4 {
        served.until_status("hung", "unhealthy");
        let second = served.until_status("hung-too", "unhealthy");
        assert_eq!(second["reason"], "timeout", "{second}");
        served.until_status("all-figures", "unhealthy");
        served.until_status("other", "healthy");
        served.reload(&configuration(number), "applied");
    }
    served.until_status("hung", "unhealthy");
    // One that hangs, and three that wait for it until their own run is over.
    until(PATIENCE, "one hung thread and no other", || threads_of_checks(served.program.pid()) <= 4);
    served.program.kill();
}

fn threads_of_checks(pid: u32) -> usize {
    let names = fs::read_dir(format!("/proc/{pid}/task")).unwrap().filter_map(|task| {
        let path: PathBuf = task.ok()?.path().join("comm");
        fs::read_to_string(path).ok()
    });
    names.filter(|name| name.starts_with("check ")).count()
}

/// A control group of its own, removed when dropped, which takes that nobody is in it any more. In version 1, in several
/// trees.
pub(crate) struct ControlGroup(Vec<PathBuf>);

impl ControlGroup {
    /// Below the group of this process in the tree of a controller. `None`, and said so, where none can be made.
    pub(crate) fn new(trees: &[&str], name: &str, settings: &[(&str, &str)]) -> Option<Self> {
        let mut groups = Self(Vec::new());
        for tree in trees {
            let group = PathBuf::from(format!("/sys/fs/cgroup/{tree}/wellkept-{name}-{}", std::process::id()));
            if let Err(error) = fs::create_dir(&group) {
                not_run(format_args!("no control group of one's own here ({tree}: {error})"));
                return None;
            }
            groups.0.push(group);
        }
        for (file, value) in settings {
            fs::write(groups.0[0].join(file), value).unwrap();
        }
        Some(groups)
    }

    /// Runs `wellkept check --json` with these words in it, after the script.
    fn check(&self, script: &str, words: &[&str]) -> Value {
        let folder = TempDir::new().unwrap();
        let mut command = self.after(&format!("{script}\nexec \"$@\""));
        command.arg(wellkept(folder.path()).get_program()).args(["check", "--json"]);
        told(&wait_within(PATIENCE, command.args(words)).expect("the program runs and ends"))
    }

    /// A command in it that runs this script with its words.
    pub(crate) fn after(&self, script: &str) -> Command {
        let enter = self.0.iter().map(|group| format!("echo $$ > {}/cgroup.procs\n", group.display()));
        let script = enter.chain([script.to_owned()]).collect::<String>();
        let mut command = Command::new("sh");
        command.args(["-ec", &script, "sh"]);
        command
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // Those in it have been waited for, and the kernel lets go of them a moment later.
        for group in &self.0 {
            until(PATIENCE, "the control group to be empty", || fs::remove_dir(group).is_ok() || !group.exists());
        }
    }
}

#[test]
fn memory_is_held_against_the_limit_of_a_real_control_group() {
    let limit = 64 * 1024 * 1024_u64;
    let Some(group) = ControlGroup::new(&["memory"], "memory", &[("memory.limit_in_bytes", &limit.to_string())]) else {
        return;
    };
    let memory = group.check("", &["--kind", "memory"]);
    let (told, used) = (&memory["metadata"], memory["metadata"]["used_bytes"].as_u64().unwrap());
    assert_eq!((&told["source"], &told["limit_bytes"]), (&"cgroup".into(), &limit.into()), "{memory}");
    assert!(used > 0 && used < limit, "{memory}");
    // Cache that can be given back does not count: the file is larger than what is left.
    let file = tempfile::NamedTempFile::new().unwrap();
    let read = format!("head -c 48M /dev/zero > {0}; cat {0} > /dev/null", file.path().display());
    let after = group.check(&read, &["--kind", "memory"]);
    assert_eq!(after["status"], "healthy", "{after}");
    let counted = fs::read_to_string(group.0[0].join("memory.max_usage_in_bytes")).unwrap();
    assert!(counted.trim().parse::<u64>().unwrap() > 48 << 20, "the cache was in the group: {counted}");
    // What a program holds can't be given back.
    let hold = "import subprocess, sys; held = b'x' * (40 << 20); sys.exit(subprocess.call(sys.argv[1:]))";
    let full =
        group.check(&format!("exec python3 -c \"{hold}\" \"$@\""), &["--kind", "memory", "--degraded_above", "50%"]);
    assert_eq!((&full["status"], &full["reason"]), (&"degraded".into(), &"threshold".into()), "{full}");
}

#[test]
fn a_quota_of_a_real_control_group_is_told_to_throttle() {
    let settings = [("cpu.cfs_period_us", "10000"), ("cpu.cfs_quota_us", "2000")];
    let Some(group) = ControlGroup::new(&["cpu", "cpuacct"], "cpu", &settings) else { return };
    let script = "(while :; do :; done) &\ntrap 'kill $!' EXIT\n\"$@\"; exit";
    let words = ["--kind", "cpu", "--degraded_above", "100%", "--timeout", "10s"];
    let cpu = group.check(script, &words);
    assert_eq!((&cpu["status"], &cpu["reason"]), (&"degraded".into(), &"exhausted".into()), "{cpu}");
    let told = &cpu["metadata"];
    assert_eq!((&told["source"], &told["cores"]), (&"cgroup".into(), &0.2.into()), "{cpu}");
    assert!(told["throttled"].as_f64().unwrap() > 0.5, "{cpu}");
}

#[test]
fn pressure_is_that_of_a_real_control_group() {
    let tree = if Path::new("/sys/fs/cgroup/unified").exists() { "unified" } else { "" };
    let Some(group) = ControlGroup::new(&[tree], "pressure", &[]) else { return };
    let words = ["--kind", "pressure", "--cpu.some_degraded_above", "100%", "--memory.some_degraded_above=100%"];
    let pressure = group.check("", &words);
    assert_eq!(pressure["metadata"]["source"], "cgroup", "{pressure}");
    for reading in ["cpu_some", "cpu_full", "memory_some", "memory_full", "io_some", "io_full"] {
        assert!(pressure["metadata"][reading].is_number(), "{reading}: {pressure}");
    }
}
