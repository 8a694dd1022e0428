//! A thousand targets whose names hang: a name server that takes every question and answers none.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use wellkept_testkit::{Program, not_run, private_mounts, until};

use crate::served::{PATIENCE, Served, listening, wellkept};

/// Where the system asks names of in this test: no other server is there, and the port is the only one that it knows.
const NAME_SERVER: &str = "127.153.53.1:53";

/// Takes questions for as long as the test runs. Counts them.
fn silent_name_server(address: &str) -> Option<(SocketAddr, Arc<AtomicU64>)> {
    let socket = match UdpSocket::bind(address) {
        Ok(socket) => socket,
        Err(error) => {
            not_run(format_args!("nobody but root may be a name server at {address}: {error}"));
            return None;
        }
    };
    let (address, taken) = (socket.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&taken);
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while socket.recv(&mut question).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    Some((address, taken))
}

/// What a process has, as the system counts it.
fn threads_and_descriptors(pid: u32) -> (u64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    (threads.trim().parse().unwrap(), std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count())
}

#[test]
fn a_thousand_targets_whose_names_hang_delay_neither_other_checks_nor_the_stop() {
    const EACH: usize = 500;
    let Some((silent, by_system)) = silent_name_server(NAME_SERVER) else { return };
    let Some((resolver, by_kind)) = silent_name_server("127.0.0.1:0") else { return };
    let Some(mut command) = private_mounts() else { return };
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = target.local_addr().unwrap().port();
    // Taken, as the system keeps only so many that nobody takes.
    std::thread::spawn(move || target.incoming().for_each(drop));

    let mut configuration = format!(
        "
defaults: {{ fall: 1 }}
checks:
  - {{ name: by-name, tcp: {{ address: 'localhost:{port}' }}, interval: 200ms, timeout: 1s }}
  - {{ name: by-address, tcp: {{ address: '127.0.0.1:{port}' }}, interval: 200ms, timeout: 1s }}
  - {{ name: scratch, disk: {{ path: /, degraded_below: 0%, unhealthy_below: 0% }}, interval: 200ms }}
"
    );
    for number in 0..EACH {
        // Later than the names that are to be known by then.
        let later = "initial_delay: 3s";
        let hangs = format!("  - {{ name: hangs-{number}, tcp: {{ address: 'n{number}.example:80' }}, {later} }}\n");
        let dns = format!("{{ name: n{number}.example, resolver: '{resolver}' }}");
        writeln!(configuration, "{hangs}  - {{ name: asks-{number}, dns: {dns}, {later} }}").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wellkept.yaml"), configuration).unwrap();
    std::fs::write(folder.path().join("resolv.conf"), format!("nameserver {}\n", silent.ip())).unwrap();
    let script = "mount --bind resolv.conf /etc/resolv.conf; exec \"$@\"";
    let serve_with = wellkept(folder.path());
    command.args(["sh", "-ec", script, "sh"]).arg(serve_with.get_program()).args(["serve", "--listen", "127.0.0.1:0"]);
    command.current_dir(folder.path()).env_remove("WELLKEPT_CONFIG").env("XDG_STATE_HOME", folder.path().join("state"));
    let program = Program::spawn(&mut command);
    let http = listening(&program, "probes and metrics");
    let mut served = Served { program, http, folder };

    // Whoever waits still when the system gives a name up is told so: the reason is `dns` then, not `timeout`.
    let are_given_up = |detailed: &Value| {
        let mut names = (0..EACH).flat_map(|number| [format!("hangs-{number}"), format!("asks-{number}")]);
        names.all(|name| detailed["components"][name]["status"] == "unhealthy")
    };
    until(PATIENCE, "all of them to be given up", || are_given_up(&served.detailed()));
    // One round of all of them.
    let (began, mut most, mut oldest, mut looked) = (Instant::now(), (0, 0), 0.0_f64, 0);
    until(PATIENCE, "a round of all checks", || {
        let detailed = served.detailed();
        for name in ["by-name", "by-address", "scratch"] {
            let component = &detailed["components"][name];
            assert_eq!(component["status"], "healthy", "{name}: {component}");
            oldest = oldest.max(component["age_ms"].as_f64().unwrap());
        }
        let (threads, descriptors) = threads_and_descriptors(served.program.pid());
        most = (most.0.max(threads), most.1.max(descriptors));
        looked += 1;
        began.elapsed() > Duration::from_secs(12)
    });
    // At a run each 200 ms; the rest is for a machine that is busy.
    assert!(oldest < 2000.0, "a result was {oldest} ms old");
    // Sixteen for names; the rest are the runtimes', the doors' and the stores'. A question has a socket while it waits.
    assert!(most.0 < 60 && most.1 < 700, "{most:?} threads and descriptors in {looked} looks");
    assert!(by_system.load(Ordering::Relaxed) >= 12 && by_kind.load(Ordering::Relaxed) >= 1000, "they were asked");
    assert!(are_given_up(&served.detailed()));

    let began = Instant::now();
    assert_eq!(served.stop(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?} to stop", began.elapsed());
}
