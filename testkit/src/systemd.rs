//! A throw-away systemd as process 1 of namespaces of its own, with units of the test's own.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::http::Connection;
use crate::server::PATIENCE;
use crate::{Program, poll, wait_within};

/// What makes the namespaces; each of its lines is there for a reason, the order too.
const BOOT: &str = include_str!("systemd/boot.sh");
/// What systemd is booted for: nothing, so that no unit of the machine is started.
const TARGET: &str = "[Unit]\nDefaultDependencies=no\n";

/// A systemd of the test's own, with its own network, of which loopback is all there is. Its folder `/out` is
/// [`Systemd::out`], where the program is too. Dropping it ends everything in it.
#[derive(Debug)]
pub struct Systemd {
    // Declared before what it uses, which goes after it.
    booted: Program,
    manager: Pid,
    _group: ControlGroup,
    folder: TempDir,
}

impl Systemd {
    /// Boots one that knows these units, each a file name and its text, and has `program` at `/out/NAME`. None of the units
    /// is started. Each must say `DefaultDependencies=no`.
    ///
    /// # Errors
    /// Says why this machine can't do that: a matter for [`not_run`](crate::not_run).
    ///
    /// # Panics
    /// When it boots and does not answer.
    pub fn boot(units: &[(&str, &str)], program: &Path, name: &str) -> Result<Self, String> {
        let hierarchy = possible()?;
        let folder = tempfile::Builder::new().prefix("wellkept-systemd-").tempdir().expect("a temporary folder");
        let (known, out) = (folder.path().join("units"), folder.path().join("out"));
        let written = fs::create_dir(&known)
            .and_then(|()| fs::create_dir(&out))
            .and_then(|()| fs::write(known.join("wellkept-test.target"), TARGET))
            .and_then(|()| units.iter().try_for_each(|(file, text)| fs::write(known.join(file), text)));
        written.expect("the folder can be written");
        // A second name costs nothing; it takes one file system for both.
        let there = out.join(name);
        fs::hard_link(program, &there).or_else(|_| fs::copy(program, &there).map(drop)).expect("the program is there");

        let group = ControlGroup::below(&hierarchy);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-ec", BOOT]);
        command.env("CGROUP", &group.0).env("UNITS", &known).env("OUT", &out);
        let mut booted = Program::spawn(&mut command);
        let answers = poll(PATIENCE, || (booted.ended().is_some() || out.join("booted").exists()).then_some(()));
        if booted.ended().is_some() {
            return Err(format!("systemd can't be booted here: {}", booted.output().trim()));
        }
        assert!(answers.is_some(), "systemd does not answer:\n{}", booted.output());
        let manager = child_of(booted.pid()).expect("unshare waits for its child");
        Ok(Self { booted, manager, _group: group, folder })
    }

    /// The folder that is `/out` inside.
    pub fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Runs `systemctl` to its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn systemctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.manager.as_raw_nonzero().to_string());
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "systemctl"]).args(arguments);
        wait_within(PATIENCE, &mut command).unwrap_or_else(|error| panic!("systemctl {arguments:?}: {error}"))
    }

    /// Starts a unit and waits until it is active.
    ///
    /// # Panics
    /// With what the units have said when it does not start.
    #[track_caller]
    pub fn start(&self, unit: &str) {
        let started = self.systemctl(&["start", unit]);
        assert!(started.status.success(), "{unit} does not start: {started:?}\n{}", self.said());
    }

    /// One property of a unit, as `systemctl show` has it.
    #[track_caller]
    pub fn show(&self, unit: &str, property: &str) -> String {
        let shown = self.systemctl(&["show", unit, "--value", "--property", property]);
        String::from_utf8_lossy(&shown.stdout).trim_end().to_owned()
    }

    /// Waits until a property of a unit fits, and returns it.
    ///
    /// # Panics
    /// With what the units have said when it does not come to that within `deadline`.
    #[track_caller]
    pub fn until_shown(&self, unit: &str, property: &str, deadline: Duration, fits: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let shown = poll(deadline, || {
            last = self.show(unit, property);
            fits(&last).then(|| last.clone())
        });
        shown.unwrap_or_else(|| panic!("{property} of {unit} stays `{last}`:\n{}", self.said()))
    }

    /// Sends a signal to the main process of a unit.
    ///
    /// # Panics
    /// When it has none.
    #[track_caller]
    pub fn signal(&self, unit: &str, signal: &str) {
        let sent = self.systemctl(&["kill", "--kill-who=main", &format!("--signal={signal}"), unit]);
        assert!(sent.status.success(), "{unit} gets no {signal}: {sent:?}");
    }

    /// Connects to a port of loopback inside.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    pub fn connect(&self, port: u16) -> io::Result<Connection> {
        let network = File::open(format!("/proc/{}/ns/net", self.manager.as_raw_nonzero()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // A socket stays in the network that it was made in, so a thread that goes there for a moment is enough.
        let connecting = thread::spawn(move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            TcpStream::connect_timeout(&address, PATIENCE)
        });
        Connection::on(connecting.join().expect("connecting does not panic")?)
    }

    /// What the units were told to append to files in `/out`, and what was said while it booted.
    pub fn said(&self) -> String {
        let mut said = self.booted.output();
        for entry in fs::read_dir(self.out()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                said += &fs::read_to_string(path).unwrap_or_default();
            }
        }
        said
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // The kernel ends whatever is in the namespace with its first process.
        kill_process(self.manager, Signal::KILL).ok();
        poll(PATIENCE, || self.booted.ended());
        self.booted.kill();
    }
}

/// Where control groups of version 2 are, if all that it takes is there.
fn possible() -> Result<PathBuf, String> {
    if !geteuid().is_root() {
        return Err("nobody but root may boot a systemd".to_owned());
    }
    if !Path::new("/lib/systemd/systemd").exists() {
        return Err("systemd is not installed".to_owned());
    }
    for tool in ["unshare", "nsenter", "setpriv", "systemctl"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return Err(format!("{tool} is not installed"));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let point = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let point = words.next()?;
        (words.next() == Some("cgroup2")).then(|| PathBuf::from(point))
    });
    point.ok_or_else(|| "there are no control groups of version 2".to_owned())
}

fn child_of(parent: u32) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok().and_then(Pid::from_raw)
}

/// A control group that `boot.sh` makes, removed with all below it.
#[derive(Debug)]
struct ControlGroup(PathBuf);

impl ControlGroup {
    fn below(hierarchy: &Path) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(hierarchy.join(format!("wellkept-systemd-{}-{count}", std::process::id())))
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // Those that were killed leave a moment later.
        poll(Duration::from_secs(5), || remove(&self.0).is_ok().then_some(()));
    }
}

/// Removes a control group and those below it, the deepest first.
fn remove(group: &Path) -> io::Result<()> {
    if !group.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(group)?.flatten().filter(|entry| entry.path().is_dir()) {
        remove(&entry.path())?;
    }
    fs::remove_dir(group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{not_run, until_some};

    const SLEEPER: &str = "
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/out/sleep 1000
";

    #[test]
    fn what_runs_inside_is_gone_afterwards_and_so_is_its_control_group() {
        let systemd = match Systemd::boot(&[("sleeper.service", SLEEPER)], Path::new("/bin/sleep"), "sleep") {
            Ok(systemd) => systemd,
            Err(why) => return not_run(why),
        };
        systemd.start("sleeper.service");
        assert_eq!(systemd.show("sleeper.service", "ActiveState"), "active");
        assert_ne!(systemd.show("sleeper.service", "MainPID"), "0");
        systemd.signal("sleeper.service", "KILL");
        systemd.until_shown("sleeper.service", "Result", PATIENCE, |result| result == "signal");
        assert!(systemd.connect(9).is_err(), "nobody listens there");
        let manager = systemd.manager;
        assert_eq!(groups(), 1);
        drop(systemd);
        until_some(PATIENCE, "the end", || kill_process(manager, Signal::CONT).err());
        assert_eq!(groups(), 0);
    }
    /// How many control groups this process has made for a systemd.
    fn groups() -> usize {
        let prefix = format!("wellkept-systemd-{}-", std::process::id());
        let all = fs::read_dir(possible().expect("one was booted")).expect("it can be read").flatten();
        all.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count()
    }
}
