//! Sockets that a service manager opened: used, left to the next start, and refused when they are of no use.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use wellkept_testkit::http::{self, Connection, request};
use wellkept_testkit::{Program, Signal, free_address, not_run, until};

use crate::served::{PATIENCE, listening, wellkept};

/// The program with this as its descriptors 3 and 4, and the variables as they are given.
fn given(folder: &Path, socket: impl Into<OwnedFd>, variables: &str) -> Program {
    let program = wellkept(folder);
    let mut command = Command::new("sh");
    let script = format!("exec env {variables} \"$0\" serve 3<&0 4<&0 </dev/null");
    command.args(["-c", &script]).arg(program.get_program()).current_dir(folder);
    command.env_remove("WELLKEPT_CONFIG").env_remove("NOTIFY_SOCKET").env("XDG_STATE_HOME", folder.join("state"));
    Program::spawn_with(socket.into(), &mut command)
}

/// The exit code of one that does not start, and what it says then.
fn refused(folder: &Path, socket: impl Into<OwnedFd>, variables: &str) -> (Option<i32>, String) {
    let mut program = given(folder, socket, variables);
    (program.wait(PATIENCE).code(), program.stderr())
}

const FOR_IT: &str = "LISTEN_PID=$$ LISTEN_FDS=1";

fn folder(configuration: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wellkept.yaml"), configuration).unwrap();
    folder
}

fn socket() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn is_ready(address: SocketAddr) -> bool {
    request(address, "GET", "/readyz", &[], b"").is_ok_and(|answer| answer.status == 200)
}

#[test]
fn who_comes_between_two_starts_waits_and_is_answered() {
    let folder = folder("checks: []\n");
    let (socket, address) = socket();
    let start = || given(folder.path(), socket.try_clone().unwrap(), FOR_IT);
    let mut first = start();
    until(PATIENCE, "the first start", || is_ready(address));
    let mut kept = Connection::open(address).unwrap();
    assert_eq!(kept.get("/livez").unwrap().status, 200);
    first.signal(Signal::TERM);
    assert_eq!(first.wait(PATIENCE).code(), Some(0));
    let mut waiting: Vec<_> = (0..20).map(|_| Connection::open(address).expect("nobody is refused")).collect();
    for connection in &mut waiting {
        connection.send("GET", "/livez", &[], b"").unwrap();
    }
    let mut second = start();
    for connection in &mut waiting {
        assert_eq!(connection.read_response(PATIENCE).unwrap().status, 200);
    }
    second.signal(Signal::TERM);
    assert_eq!(second.wait(PATIENCE).code(), Some(0));
}

#[test]
fn systemd_socket_activate_starts_it_with_the_first_connection() {
    let folder = folder("checks: []\n");
    let address = free_address();
    let program = wellkept(folder.path());
    let mut command = Command::new("systemd-socket-activate");
    command.arg("-l").arg(address.to_string()).arg("-E").arg(format!("XDG_STATE_HOME={}", folder.path().display()));
    command.arg(program.get_program()).arg("serve").current_dir(folder.path());
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        return not_run("systemd-socket-activate is not installed");
    }
    let mut program = Program::spawn(&mut command);
    program.wait_for_line(|line| line.starts_with("Listening on "), PATIENCE);
    assert_eq!(http::get(address, "/livez").status, 200);
    assert_eq!(listening(&program, "probes and metrics"), address, "whatever the configuration says");
    program.signal(Signal::TERM);
    assert_eq!(program.wait(PATIENCE).code(), Some(0));
}

#[test]
fn each_door_takes_the_socket_of_its_name_and_no_child_inherits_it() {
    let folder = folder("admin: { listen: '127.0.0.1:0' }\nchecks: []\n");
    let (socket, address) = socket();
    let program = given(folder.path(), socket, &format!("{FOR_IT} LISTEN_FDNAMES=admin"));
    assert_eq!(listening(&program, "status page and details"), address);
    assert_ne!(listening(&program, "probes and metrics"), address);
    let flags = fs::read_to_string(format!("/proc/{}/fdinfo/3", program.pid())).unwrap();
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim().to_owned();
    assert_ne!(u32::from_str_radix(&flags, 8).unwrap() & 0o2_000_000, 0, "close on exec: {flags}");
}

#[test]
fn sockets_for_another_process_are_ignored() {
    let folder = folder("http: { listen: '127.0.0.1:0' }\nchecks: []\n");
    let (socket, address) = socket();
    let program = given(folder.path(), socket, "LISTEN_PID=1 LISTEN_FDS=1");
    assert_ne!(listening(&program, "probes and metrics"), address);
}

#[test]
fn what_is_no_listening_stream_socket_is_refused_in_words() {
    let folder = folder("checks: []\n");
    let (tcp, address) = socket();
    let connected = std::net::TcpStream::connect(address).unwrap();
    for (socket, variables, says) in [
        (File::open("/dev/null").unwrap().into(), FOR_IT, "socket `unknown` of the service manager"),
        (UdpSocket::bind("127.0.0.1:0").unwrap().into(), FOR_IT, "it is a datagram socket"),
        (connected.into(), FOR_IT, "no TCP or Unix socket that listens"),
        (tcp.try_clone().unwrap().into(), "LISTEN_PID=$$ LISTEN_FDS=99999999", "at most 256 are taken"),
        (tcp.try_clone().unwrap().into(), "LISTEN_PID=$$ LISTEN_FDS=-1", "LISTEN_FDS is not a number"),
        (tcp.try_clone().unwrap().into(), "LISTEN_PID=$$ LISTEN_FDS=3", "socket `unknown` of the service manager"),
    ] {
        let socket: OwnedFd = socket;
        let (code, said) = refused(folder.path(), socket, variables);
        assert_eq!(code, Some(69), "{says}");
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn a_socket_that_is_for_no_door_or_opens_the_admin_door_is_a_mistake() {
    let folder = folder("admin: { listen: '127.0.0.1:0' }\nchecks: []\n");
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let refused = |variables: &str| refused(folder.path(), everywhere.try_clone().unwrap(), variables);
    let (code, said) = refused("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=admin");
    assert_eq!(code, Some(78));
    assert!(said.contains("would be open to everyone"), "{said}");

    let (code, said) = refused("LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=http:metrics");
    assert_eq!(code, Some(78));
    assert!(said.contains("the socket `metrics` of the service manager") && said.contains("is for no door"), "{said}");
}
