//! A new version without a lost connection: processes that take each other's place, and those that fail to.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use tempfile::TempDir;
use wellkept_testkit::http::{Connection, get, request};
use wellkept_testkit::{Program, Signal, free_address, not_run, until, until_some, wait_within};

use crate::served::{PATIENCE, text, wellkept};

/// A service whose processes take each other's place. A process is ready when the file `go` is there.
struct Relay {
    folder: TempDir,
    address: SocketAddr,
}

impl Relay {
    fn new() -> Self {
        Self::with("30s", "")
    }

    fn with(within: &str, more: &str) -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let relay = Self { folder, address };
        relay.go(true);
        let (socket, go) = (relay.socket(), relay.file("go"));
        let (socket, go) = (socket.display(), go.display());
        relay.configure(&format!(
            "service: {{ name: orders }}
http: {{ listen: '{address}' }}
checks: [{{ name: go, timeout: 20s, command: {{ run: [/bin/sh, -c, 'until [ -e {go} ]; do sleep 0.02; done'] }} }}]
shutdown: {{ handover: {{ path: {socket}, within: {within} }} }}
{more}"
        ));
        relay
    }

    fn configure(&self, configuration: &str) {
        fs::write(self.file("wellkept.yaml"), configuration).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.file("run/handover.sock")
    }

    fn go(&self, ready: bool) {
        if ready { fs::write(self.file("go"), "").unwrap() } else { fs::remove_file(self.file("go")).unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = wellkept(self.folder.path());
        command.arg("serve").args(arguments);
        command
    }

    /// The first process, once it can be replaced.
    fn first(&self) -> Program {
        let program = Program::spawn(&mut self.command(&[]));
        until(PATIENCE, "the first process to be ready", || self.ready() && self.socket().exists());
        program
    }

    fn successor(&self) -> Program {
        Program::spawn(&mut self.command(&["--take-over"]))
    }

    /// One that has the sockets and is not ready.
    fn unready_successor(&self) -> Program {
        let program = self.successor();
        says(&program, "taking over");
        program
    }

    fn ready(&self) -> bool {
        request(self.address, "GET", "/readyz", &[], b"").is_ok_and(|answer| answer.status == 200)
    }
}

fn says(program: &Program, what: &str) -> String {
    program.wait_for_line(|line| line.contains(what), PATIENCE)
}

fn serves(program: &Program) {
    says(program, "probes and metrics on");
}

/// Clients that ask all the time: half of them on connections that they keep, as long as they are let.
struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Result<(), String>>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..6).map(|number| {
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            thread::spawn(move || {
                let mut kept: Option<Connection> = None;
                while !stop.load(Ordering::Relaxed) {
                    let mut connection = match kept.take() {
                        Some(connection) => connection,
                        None => Connection::open(address).map_err(|error| format!("no connection: {error}"))?,
                    };
                    let answer = connection.get("/readyz").map_err(|error| format!("no answer: {error}"))?;
                    if answer.status != 200 {
                        return Err(format!("{}: {}", answer.status, answer.text()));
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    let closes = answer.header("connection").is_some_and(|word| word == "close");
                    kept = (number % 2 == 0 && !closes).then_some(connection);
                }
                Ok(())
            })
        });
        let clients = clients.collect();
        Self { stop, asked, clients }
    }

    /// Waits for so many more answers.
    fn goes_on(&self, more: u64) {
        let wanted = self.asked.load(Ordering::Relaxed) + more;
        until(PATIENCE, "more answers", || self.asked.load(Ordering::Relaxed) >= wanted || self.is_over());
    }

    fn is_over(&self) -> bool {
        self.clients.iter().any(JoinHandle::is_finished)
    }

    /// Fails with what the first client says that has failed.
    fn has_lost_nothing(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap().unwrap();
        }
    }
}

#[test]
fn ten_processes_take_each_others_place_under_load_and_no_request_fails() {
    let relay = Relay::new();
    let mut serving = relay.first();
    let load = Load::on(relay.address);
    for _ in 0..10 {
        let successor = relay.successor();
        serves(&successor);
        assert_eq!(serving.wait(PATIENCE).code(), Some(0), "{}", serving.output());
        assert!(serving.output().contains("handed over to another process"));
        says(&successor, "the process before has ended");
        load.goes_on(200);
        serving = successor;
    }
    load.has_lost_nothing();
    serving.signal(Signal::TERM);
    assert_eq!(serving.wait(PATIENCE).code(), Some(0));
    assert!(!relay.socket().exists(), "the last one takes its socket with it");
}

#[test]
fn a_successor_that_is_killed_before_it_is_ready_changes_nothing_and_leaves_nothing_behind() {
    let relay = Relay::new();
    let mut first = relay.first();
    let memory = |program: &Program| {
        let status = fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let files = |program: &Program| fs::read_dir(format!("/proc/{}/fd", program.pid())).unwrap().count();
    let load = Load::on(relay.address);
    relay.go(false);
    let mut before = None;
    for count in 1..=20 {
        let mut successor = relay.unready_successor();
        successor.signal(Signal::KILL);
        successor.wait(PATIENCE);
        until(PATIENCE, "it to be missed", || first.output().matches("handover.broken").count() == count);
        if count == 2 {
            load.goes_on(10);
            before = Some((files(&first), memory(&first)));
        }
    }
    load.goes_on(100);
    assert!(first.ended().is_none());
    load.has_lost_nothing();
    let (files_before, memory_before) = before.unwrap();
    until(PATIENCE, "no more files to be open than before", || files(&first) <= files_before);
    let grown = memory(&first).saturating_sub(memory_before);
    assert!(grown < 4096, "it has grown by {grown} KiB");
    assert_eq!(fs::read_dir(relay.file("run")).unwrap().count(), 1, "one socket, and no litter");

    relay.go(true);
    let successor = relay.successor();
    serves(&successor);
    assert_eq!(first.wait(PATIENCE).code(), Some(0));
}

#[test]
fn a_successor_that_stands_still_is_given_up_and_does_not_serve_when_it_goes_on() {
    let relay = Relay::with("500ms", "");
    let first = relay.first();
    relay.go(false);
    let mut successor = relay.unready_successor();
    successor.signal(Signal::STOP);
    says(&first, "handover.late");
    assert!(relay.ready());
    relay.go(true);
    successor.signal(Signal::CONT);
    assert_eq!(successor.wait(PATIENCE).code(), Some(69));
    assert!(successor.stderr().contains("the process before goes on: it was not ready within 500ms"));
    assert!(!successor.output().contains("probes and metrics on"));
    assert!(relay.ready());
}

#[test]
fn a_successor_that_is_told_to_end_gives_up_and_the_first_goes_on() {
    let relay = Relay::new();
    let mut first = relay.first();
    relay.go(false);
    let mut successor = relay.unready_successor();
    successor.signal(Signal::TERM);
    assert_eq!(successor.wait(PATIENCE).code(), Some(0));
    says(&first, "it gave up: it was told to end");
    assert!(relay.ready() && first.ended().is_none());
}

#[test]
fn rubbish_is_not_understood_and_changes_nothing() {
    let relay = Relay::new();
    let first = relay.first();
    let long = vec![0xff; 100_000];
    for rubbish in [&b"GET / HTTP/1.1\r\n\r\n"[..], &long, &[0, 0, 0, 2, b'{', b'}']] {
        let mut stream = UnixStream::connect(relay.socket()).unwrap();
        // It may be cut off in the middle.
        drop(stream.write_all(rubbish));
        drop(stream.read_to_end(&mut Vec::new()));
    }
    until(PATIENCE, "it to be told", || first.output().matches("handover.broken").count() == 3);
    assert!(relay.ready());
}

#[test]
fn of_two_at_once_the_second_is_refused_by_the_name_of_the_first() {
    let relay = Relay::new();
    let mut first = relay.first();
    relay.go(false);
    let second = relay.unready_successor();
    let third = wait_within(PATIENCE, &mut relay.command(&["--take-over"])).unwrap();
    assert_eq!(third.status.code(), Some(69));
    let said = text(&third.stderr);
    assert!(
        said.contains(&format!("the process before refuses: process {} is just taking over", second.pid())),
        "{said}"
    );
    relay.go(true);
    serves(&second);
    assert_eq!(first.wait(PATIENCE).code(), Some(0));
}

#[test]
fn when_the_first_is_told_to_end_meanwhile_or_dies_the_second_serves_alone() {
    for (signal, code) in [(Signal::TERM, Some(0)), (Signal::KILL, None)] {
        let relay = Relay::new();
        let mut first = relay.first();
        relay.go(false);
        let mut second = relay.unready_successor();
        first.signal(signal);
        assert_eq!(first.wait(PATIENCE).code(), code);
        says(&second, "the process before ends: this one serves alone");
        // Nobody is refused: who comes before it serves waits in the queue.
        assert!(request(relay.address, "GET", "/livez", &[], b"").is_ok());
        serves(&second);
        relay.go(true);
        until(PATIENCE, "the second to be ready", || relay.ready());
        second.signal(Signal::TERM);
        assert_eq!(second.wait(PATIENCE).code(), Some(0));
    }
}

#[test]
fn a_successor_with_another_configuration_keeps_its_version_once_the_first_has_ended() {
    let relay = Relay::new();
    let mut first = relay.first();
    let before = fs::read_to_string(relay.file("wellkept.yaml")).unwrap();
    relay.configure(&format!("{before}defaults: {{ interval: 7s }}\n"));
    let mut second = relay.successor();
    assert!(first.wait(PATIENCE).success());
    // Nobody has asked for the versions yet.
    until(PATIENCE, "its version to be written", || {
        let page = get(relay.address, "/metrics").text();
        page.contains("\nwellkept_config_version 2") && page.contains("\nwellkept_config_versions_unwritten 0")
    });
    second.signal(Signal::TERM);
    assert!(second.wait(PATIENCE).success());
}

#[test]
fn without_a_process_before_it_starts_as_always_and_without_a_place_it_does_not() {
    let relay = Relay::new();
    let mut first = relay.successor();
    says(&first, "there is no process to take over from");
    until(PATIENCE, "it to be ready", || relay.ready());
    first.signal(Signal::TERM);
    assert_eq!(first.wait(PATIENCE).code(), Some(0));
    relay.configure("checks: []\n");
    let nowhere = wait_within(PATIENCE, &mut relay.command(&["--take-over"])).unwrap();
    assert_eq!(nowhere.status.code(), Some(78));
    assert!(text(&nowhere.stderr).contains("to take over, the configuration must say where"));
}

#[test]
fn another_user_neither_gets_the_sockets_nor_is_believed() {
    if !rustix::process::geteuid().is_root() {
        return not_run("only root can become another user");
    }
    let relay = Relay::new();
    let first = relay.first();
    let program = relay.file("wellkept");
    fs::copy(env!("CARGO_BIN_EXE_wellkept"), &program).unwrap();
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    open(relay.folder.path());
    let stranger = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).args(arguments);
        wait_within(PATIENCE, command.current_dir(relay.folder.path()).env("XDG_STATE_HOME", "/nowhere")).unwrap()
    };
    let take_over = [program.to_str().unwrap(), "serve", "--take-over"];
    // The folder is closed to it.
    assert_eq!(stranger(&take_over).status.code(), Some(69));
    // Somebody has opened it: then it counts who asks.
    open(&relay.file("run"));
    fs::set_permissions(relay.socket(), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = stranger(&take_over);
    assert_eq!(refused.status.code(), Some(69));
    let said = text(&refused.stderr);
    assert!(said.contains("the process before refuses: it belongs to another user"), "{said}");
    says(&first, "handover.identity");
    assert!(relay.ready());

    // The other way round: a socket of somebody else's where ours should be, with sockets of theirs.
    fs::set_permissions(relay.file("run"), fs::Permissions::from_mode(0o777)).unwrap();
    let error = wait_within(PATIENCE, &mut relay.command(&["--take-over"])).unwrap();
    assert!(text(&error.stderr).contains("others may write to its folder"), "{error:?}");
}

#[test]
fn a_unix_socket_is_handed_over_with_its_file() {
    let relay = Relay::new();
    let socket = relay.file("http.sock");
    let configuration = fs::read_to_string(relay.file("wellkept.yaml")).unwrap();
    relay.configure(&configuration.replace(&relay.address.to_string(), &format!("unix:{}", socket.display())));
    let ask = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(&socket)?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let ready = || ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"));
    let mut serving = Program::spawn(&mut relay.command(&[]));
    until(PATIENCE, "the first process to be ready", || ready() && relay.socket().exists());
    for _ in 0..2 {
        let successor = relay.successor();
        serves(&successor);
        assert_eq!(serving.wait(PATIENCE).code(), Some(0));
        assert!(ready(), "{:?}", ask());
        says(&successor, "the process before has ended");
        serving = successor;
    }
    // The one after is told to end before it is ready, and takes nothing away.
    relay.go(false);
    let mut failed = relay.unready_successor();
    failed.signal(Signal::TERM);
    failed.wait(PATIENCE);
    assert!(ready());
    serving.signal(Signal::TERM);
    assert_eq!(serving.wait(PATIENCE).code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn systemd_hears_of_the_new_main_process_and_never_that_the_service_stops() {
    let relay = Relay::new();
    let address = relay.file("notify");
    let systemd = UnixDatagram::bind(&address).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = |until: &str| {
        let mut heard = String::new();
        while !heard.contains(until) {
            let mut buffer = [0; 1000];
            let length = systemd.recv(&mut buffer).unwrap_or_else(|error| panic!("{until}: {error}; {heard}"));
            heard = format!("{heard}{}\n", String::from_utf8_lossy(&buffer[..length]));
        }
        heard
    };
    let mut first = Program::spawn(relay.command(&[]).env("NOTIFY_SOCKET", &address));
    hear("READY=1");
    until(PATIENCE, "it to be replaceable", || relay.socket().exists());
    let mut second = Program::spawn(relay.command(&["--take-over"]).env("NOTIFY_SOCKET", &address));
    let told = hear(&format!("MAINPID={}\nREADY=1", second.pid()));
    assert_eq!(first.wait(PATIENCE).code(), Some(0));
    second.signal(Signal::TERM);
    let until_the_end = hear("STOPPING=1");
    assert!(!told.contains("STOPPING=1"), "{told}");
    // Of the second: the first has ended before that was told to end.
    assert_eq!(until_the_end.matches("STOPPING=1").count(), 1, "{until_the_end}");
    assert_eq!(second.wait(PATIENCE).code(), Some(0));
}

#[test]
fn doors_that_the_new_configuration_moves_or_drops_follow_it() {
    let relay = Relay::new();
    let (admin, elsewhere) = (free_address(), free_address());
    let configuration = fs::read_to_string(relay.file("wellkept.yaml")).unwrap();
    relay.configure(&format!("{configuration}admin: {{ listen: '{admin}' }}\nhaproxy: {{ listen: '127.0.0.1:0' }}\n"));
    let mut first = relay.first();
    relay.configure(&format!("{configuration}admin: {{ listen: '{elsewhere}' }}\n"));
    let second = relay.successor();
    serves(&second);
    assert_eq!(first.wait(PATIENCE).code(), Some(0));
    assert!(relay.ready());
    until_some(PATIENCE, "the door at its new place", || request(elsewhere, "GET", "/livez", &[], b"").ok());
    assert!(Connection::open(admin).is_err());
    says(&second, "no door listens here any more: it is closed");
}

#[test]
fn what_is_taken_out_by_hand_stays_out_and_the_history_goes_on() {
    let relay = Relay::with("30s", "defaults: { interval: 50ms }\n");
    let mut first = relay.first();
    let results = || {
        let history = get(relay.address, "/api/v1/history?component=go&limit=1000").json();
        history["results"].as_array().unwrap().clone()
    };
    until(PATIENCE, "results to be kept", || results().len() > 2);
    let server = format!("http://{}", relay.address);
    let mut command = wellkept(relay.folder.path());
    let begun = command.args(["maintenance", "start", "--server", &server, "--for", "1h", "--reason", "new disks"]);
    assert!(wait_within(PATIENCE, begun).unwrap().status.success());
    until(PATIENCE, "the service to be out", || !relay.ready());

    let of_the_first = results();
    let load = Maintained::watch(relay.address);
    let mut second = relay.successor();
    serves(&second);
    assert_eq!(first.wait(PATIENCE).code(), Some(0), "{}", first.output());
    says(&second, "the process before has ended");
    load.was_never_ready();
    until(PATIENCE, "what both have seen", || {
        let results = results();
        results.len() > of_the_first.len() && results.last() == of_the_first.last()
    });
    assert!(!second.output().contains("\"level\":\"error\""), "{}", second.output());
    second.signal(Signal::TERM);
    assert_eq!(second.wait(PATIENCE).code(), Some(0));
}

/// Asks all the time whether the service is ready.
struct Maintained {
    stop: Arc<AtomicBool>,
    asks: JoinHandle<Vec<String>>,
}

impl Maintained {
    fn watch(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let asks = thread::spawn(move || {
            let mut wrong = Vec::new();
            while !told.load(Ordering::Relaxed) {
                match request(address, "GET", "/health/ready", &[], b"") {
                    Ok(answer) if answer.status == 503 && answer.json()["status"] == "maintenance" => {}
                    other => wrong.push(format!("{other:?}")),
                }
            }
            wrong
        });
        Self { stop, asks }
    }

    fn was_never_ready(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert_eq!(self.asks.join().unwrap(), Vec::<String>::new());
    }
}
