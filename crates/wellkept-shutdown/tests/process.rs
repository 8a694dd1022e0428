//! Real processes and real signals: what the operating system sees of a shutdown.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and a child tells it what it does"
)]

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal as Kill, kill_process};
use wellkept_shutdown::{
    GoOn, Hook, Refused, Report, Resource, ResourceType, Settings, Shutdown, Standalone, Work, signals, watchdog,
};

/// The child's `main`: what a program does with this crate. It claims nothing when no test below has started it.
#[test]
fn child() {
    let Ok(scenario) = std::env::var("SCENARIO") else { return };
    if let Some(form) = scenario.strip_prefix("standalone ") {
        let report = standalone(form);
        println!("phase ended because {} with {:?}", report.cause, report.errors);
        std::process::exit(i32::from(report.exit_code()));
    }
    if scenario == "has a worker" {
        // It inherits the output, and so tells the test what becomes of it.
        let mut worker = Command::new(std::env::current_exe().unwrap());
        let worker = worker.args(["--exact", "child", "--nocapture"]).env("SCENARIO", "worker").spawn();
        worker.unwrap().wait().unwrap();
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let code = runtime.block_on(async {
        let signals = signals::install().unwrap();
        let deadline = Duration::from_millis(if scenario == "wedged" { 100 } else { 60_000 });
        let delay = Duration::from_millis(if scenario == "delays" { 400 } else { 0 });
        let (shutdown, sequence) = Shutdown::new(Settings { deadline, delay, ..Settings::default() });
        let _watchdog = watchdog::arm(&shutdown, Duration::from_millis(50)).unwrap();
        if scenario == "lets go of the signals" {
            drop(signals);
        } else {
            tokio::spawn(signals.drive(shutdown.clone()));
        }
        shutdown.on_phase(|phase| println!("phase {phase}"));
        if scenario == "hangs" {
            let hangs = Resource::new("hangs", ResourceType::Custom, std::future::pending::<()>);
            shutdown.register(hangs.timeout(Duration::from_secs(50))).unwrap();
        }
        if scenario == "flush hangs" {
            shutdown.on_flush(Hook::new("logs", std::future::pending::<()>));
        }
        if scenario == "wedged" {
            shutdown.on_phase(|phase| {
                if phase == wellkept_shutdown::Phase::Delaying {
                    // The only worker never comes back.
                    loop {
                        std::thread::park();
                    }
                }
            });
        }
        if scenario == "lets go of the signals" {
            // Again and by several: the last one who lets go counts.
            let (one, two) = (signals::install().unwrap(), signals::install().unwrap());
            drop(one);
            drop(two);
        }
        #[cfg(target_os = "linux")]
        if scenario == "worker" {
            wellkept_shutdown::triggers::on_parent_exit(&shutdown).unwrap();
        }
        #[cfg(target_os = "linux")]
        if let Some(systemd) = wellkept_shutdown::systemd::Systemd::from_environment() {
            systemd.follow(&shutdown);
            systemd.keep_alive(|| true);
            systemd.status("starts\nMAINPID=1");
            systemd.ready();
            systemd.reloading();
            systemd.ready();
            let work = shutdown.tracker().start_request().unwrap();
            let ending = shutdown.clone();
            tokio::spawn(async move {
                ending.reached(wellkept_shutdown::Phase::DrainingConnections).await;
                drop(work);
            });
        }
        println!("phase running");
        let report = sequence.run().await;
        println!("phase ended because {}", report.cause);
        report.exit_code()
    });
    std::process::exit(i32::from(code));
}

/// A program without a runtime.
fn standalone(form: &str) -> Report {
    if form == "goes out of scope" {
        return scoped();
    }
    let deadline = Duration::from_millis(if form == "stuck" { 200 } else { 60_000 });
    let report = wellkept_shutdown::run(Settings { deadline, ..Settings::default() }, |standalone| {
        standalone.shutdown().after(Hook::blocking("goodbye", || println!("phase goodbye")));
        // Begun before the test may signal.
        let unit = standalone.work(Work::new("import", "one")).unwrap();
        println!("phase running");
        if form == "fails" {
            return Err("the disk is full");
        }
        if form == "stuck" {
            loop {
                std::thread::park();
            }
        }
        if form == "holds a blocking thread" {
            let for_ever = || loop {
                std::thread::park();
            };
            let close = async move || tokio::task::spawn_blocking(for_ever).await;
            let pool = Resource::new("pool", ResourceType::Custom, close).timeout(Duration::from_millis(50));
            standalone.shutdown().register(pool).unwrap();
            return Ok(());
        }
        if form == "sleeps" {
            assert_eq!(standalone.sleep(Duration::from_secs(3600)), GoOn::ShuttingDown);
            return Ok(());
        }
        while !standalone.is_shutting_down() {
            std::thread::yield_now();
        }
        assert_eq!(standalone.work(Work::new("import", "two")).unwrap_err(), Refused::Draining);
        println!("phase draining with {}", standalone.shutdown().tracker().in_flight_requests());
        drop(unit);
        Ok(())
    });
    report.unwrap()
}

/// A program that holds a shutdown for as long as a block lasts.
fn scoped() -> Report {
    let shutdown = {
        let standalone = Standalone::start(Settings::default()).unwrap();
        standalone.shutdown().after(Hook::blocking("goodbye", || println!("phase goodbye")));
        println!("phase running");
        standalone.sleep(Duration::from_secs(3600));
        standalone.shutdown().clone()
    };
    // Over by now: whoever asks later is told at once.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    Report::clone(&runtime.block_on(shutdown.finished()))
}

struct Process {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(scenario: &str) -> Self {
        Self::start_with(scenario, &[])
    }

    fn start_with(scenario: &str, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a test has a path"))
            .args(["--exact", "child", "--nocapture"])
            .env("SCENARIO", scenario)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a test can start itself");
        let output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut process = Self { child, output };
        process.reaches("running");
        process
    }

    fn reaches(&mut self, phase: &str) {
        let wanted = format!("phase {phase}");
        assert!(
            self.output.by_ref().any(|line| line.is_ok_and(|line| line.ends_with(&wanted))),
            "{phase} is never reached"
        );
    }

    fn signal(&self, signal: Kill) {
        kill_process(Pid::from_child(&self.child), signal).expect("the child is there");
    }

    /// Signals once more, when the time is over in which that would count as an echo of the first signal. The rule is
    /// about time as it passes for a process, so it has to pass.
    fn signal_again(&self, signal: Kill) {
        std::thread::sleep(Duration::from_millis(300)); // pace: longer than the echo of a signal lasts
        self.signal(signal);
    }

    fn exit_code(mut self) -> Option<i32> {
        self.child.wait().expect("it is our child").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A failed test leaves no process behind; one that has ended is no error here.
        let _ = self.child.kill();
    }
}

#[test]
fn one_sigterm_ends_cleanly() {
    let process = Process::start("plain");
    process.signal(Kill::TERM);
    assert_eq!(process.exit_code(), Some(0));
}

#[test]
fn one_sigint_ends_cleanly() {
    let process = Process::start("plain");
    process.signal(Kill::INT);
    assert_eq!(process.exit_code(), Some(0));
}

#[test]
fn the_same_signal_twice_at_once_is_one_request() {
    let process = Process::start("delays");
    process.signal(Kill::TERM);
    process.signal(Kill::TERM);
    process.signal(Kill::INT);
    assert_eq!(process.exit_code(), Some(0));
}

#[test]
fn a_second_signal_forces_and_shows_in_the_exit_code() {
    let mut process = Process::start("hangs");
    process.signal(Kill::TERM);
    process.reaches("closing_resources");
    process.signal_again(Kill::INT);
    process.reaches("forced");
    assert_eq!(process.exit_code(), Some(130));
}

#[test]
fn a_third_signal_ends_at_once() {
    let mut process = Process::start("flush hangs");
    process.signal(Kill::INT);
    process.reaches("flushing_buffers");
    process.signal_again(Kill::TERM);
    // The second is taken before the third is sent: signals of one kind that wait count as one.
    process.signal(Kill::INT);
    let code = process.exit_code();
    assert!(code == Some(128 + 15) || code == Some(128 + 2), "{code:?}");
}

#[test]
fn a_wedged_runtime_is_ended_by_the_watchdog() {
    let process = Process::start("wedged");
    process.signal(Kill::TERM);
    assert_eq!(process.exit_code(), Some(75));
}

#[test]
fn signals_that_nobody_listens_to_any_more_end_the_process_as_they_did_before() {
    use std::os::unix::process::ExitStatusExt as _;
    for signal in [Kill::TERM, Kill::INT] {
        let mut process = Process::start("lets go of the signals");
        process.signal(signal);
        assert_eq!(process.child.wait().unwrap().signal(), Some(signal.as_raw()));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_worker_leaves_when_its_parent_is_killed() {
    let mut parent = Process::start("has a worker");
    parent.signal(Kill::KILL);
    parent.reaches("ended because the parent process has ended");
}

#[test]
#[cfg(target_os = "linux")]
fn systemd_hears_of_each_step_and_gives_more_time_to_what_gets_on() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let name = format!("wellkept-test-{}", std::process::id());
    let systemd = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let address = format!("@{name}");
    let watched = [("NOTIFY_SOCKET", address.as_str()), ("WATCHDOG_USEC", "20000")];
    let process = Process::start_with("systemd", &watched);
    let mut heard: Vec<String> = Vec::new();
    let mut hear = |until: &str| {
        let mut buffer = [0; 1000];
        while !heard.iter().any(|line| line.starts_with(until)) {
            let length =
                systemd.recv(&mut buffer).unwrap_or_else(|error| panic!("{until} is never said: {error}; {heard:?}"));
            heard.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
        }
        std::mem::take(&mut heard)
    };
    let start = hear("RELOADING=1");
    assert!(start.contains(&"STATUS=starts MAINPID=1".to_owned()), "no assignment is smuggled in: {start:?}");
    assert!(start.contains(&"READY=1".to_owned()));
    assert!(start.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{start:?}");
    hear("READY=1");
    // A second one needs a runtime that goes on polling.
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    process.signal(Kill::TERM);
    hear("STOPPING=1");
    let more = hear("EXTEND_TIMEOUT_USEC=");
    assert!(more.contains(&"EXTEND_TIMEOUT_USEC=10000000".to_owned()), "{more:?}");
    assert_eq!(process.exit_code(), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn a_socket_of_systemd_that_is_gone_holds_nothing_up() {
    let gone = tempfile::tempdir().unwrap().path().join("notify").display().to_string();
    let process = Process::start_with("systemd", &[("NOTIFY_SOCKET", &gone)]);
    process.signal(Kill::TERM);
    assert_eq!(process.exit_code(), Some(0));
}

#[test]
fn a_script_finishes_its_unit_of_work_and_begins_no_other() {
    let mut process = Process::start("standalone works");
    process.signal(Kill::TERM);
    process.reaches("draining with 2");
    process.reaches("goodbye");
    process.reaches("ended because SIGTERM with []");
    assert_eq!(process.exit_code(), Some(0));
}

#[test]
fn a_script_that_sleeps_is_woken_by_a_signal() {
    let process = Process::start("standalone sleeps");
    process.signal(Kill::INT);
    assert_eq!(process.exit_code(), Some(0));
}

#[test]
fn what_a_block_holds_is_ended_where_the_block_ends() {
    let mut process = Process::start("standalone goes out of scope");
    process.signal(Kill::TERM);
    process.reaches("goodbye");
    process.reaches("ended because SIGTERM with []");
    assert_eq!(process.exit_code(), Some(0));
}

#[test]
fn a_script_that_fails_says_why_and_still_cleans_up() {
    let mut process = Process::start("standalone fails");
    process.reaches("goodbye");
    process.reaches("ended because failure: the disk is full with []");
    assert_eq!(process.exit_code(), Some(70));
}

#[test]
fn a_closer_that_holds_a_blocking_thread_for_ever_holds_no_script() {
    let mut process = Process::start("standalone holds a blocking thread");
    process.reaches("goodbye");
    assert_eq!(process.exit_code(), Some(70), "not 75, which is the deadline's");
}

#[test]
fn a_script_that_is_stuck_is_ended_soon_after_the_deadline() {
    let process = Process::start("standalone stuck");
    process.signal(Kill::TERM);
    assert_eq!(process.exit_code(), Some(75));
}
