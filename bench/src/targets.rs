//! A thousand HTTP targets from one process, beside Debian's `blackbox_exporter` on the same targets.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use wellkept::checks::http::{Http, Options};
use wellkept::health::{Checker, Component, Settings, Status};
use wellkept_testkit::{Nginx, Program, free_address, http, until};

use crate::checks::{process, resident, resident_of};
use crate::rounds::Effort;

const TARGETS: usize = 1000;
const INTERVAL: Duration = Duration::from_secs(10);
const EXPORTER: &str = "prometheus-blackbox-exporter";

/// What one side has taken over the time that was measured.
struct Taken {
    cpu: Duration,
    /// Bytes of memory that it has filled itself.
    memory: u64,
    probes: u64,
    time: Duration,
}

impl Taken {
    fn share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.time.as_secs_f64() * 100.0
    }

    fn microseconds_per_probe(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.probes.max(1) as f64
    }
}

pub(crate) fn run(effort: Effort) {
    let target = Nginx::with("", "location / { default_type application/json; return 200 '{\"status\": \"ok\"}'; }");
    // Whole intervals: each target is asked equally often.
    let time = if effort.rounds < Effort::FULL.rounds { INTERVAL } else { 6 * INTERVAL };
    let own = wellkept(target.address(), time);
    let seconds = INTERVAL.as_secs();
    let Some(peer) = blackbox(target.address(), time) else {
        println!(
            "| {TARGETS} HTTP targets, one run per {seconds} s each: share of a core | {:.1} % | | | < 10 % |",
            own.share()
        );
        println!("| the same: memory | {:.1} MB | | | |", own.memory as f64 / 1e6);
        println!("\nNOT MEASURED: {EXPORTER} is not installed (apt-get install {EXPORTER})");
        return;
    };
    println!(
        "| {TARGETS} HTTP targets, one run per {seconds} s each: share of a core | {:.1} % | blackbox_exporter: {:.1} % | \
         {:.2} | < 10 % |",
        own.share(),
        peer.share(),
        own.share() / peer.share()
    );
    println!(
        "| the same: processor time per probe | {:.0} µs | {:.0} µs | {:.2} | less |",
        own.microseconds_per_probe(),
        peer.microseconds_per_probe(),
        own.microseconds_per_probe() / peer.microseconds_per_probe()
    );
    println!(
        "| the same: memory | {:.1} MB | {:.1} MB | {:.2} | less |",
        own.memory as f64 / 1e6,
        peer.memory as f64 / 1e6,
        own.memory as f64 / peer.memory as f64
    );
    println!("| the same: probes while it was measured | {} | {} | | |", own.probes, peer.probes);
}

/// The checks with their engine, in this process, and nothing beside them.
fn wellkept(target: SocketAddr, time: Duration) -> Taken {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be made");
    let checker = runtime.block_on(async {
        let (checker, engine) = Checker::new(Settings::new("orders"));
        for number in 0..TARGETS {
            let url = format!("http://{target}/{number}").parse().expect("it is a URL");
            let check = Http::new(Options::new(url)).expect("it can be asked for");
            let component = Component::new(format!("target-{number}"), check).interval(INTERVAL);
            checker.register(component).expect("the name is new");
        }
        tokio::spawn(engine.run(std::future::pending()));
        checker
    });
    // The first runs begin at once; from the second on each has its own phase.
    thread::sleep(2 * INTERVAL);
    let (before, runs, began) = (process().cpu, checker.stats().runs_total, Instant::now());
    thread::sleep(time);
    let (cpu, time) = (process().cpu.saturating_sub(before), began.elapsed());
    let taken = Taken { cpu, memory: resident(), probes: checker.stats().runs_total - runs, time };
    assert_eq!(checker.snapshot().overall(), Status::Healthy, "every target answers");
    runtime.shutdown_background();
    taken
}

/// The exporter, asked as Prometheus asks: one probe after another at an even pace. What asking costs is not counted.
fn blackbox(target: SocketAddr, time: Duration) -> Option<Taken> {
    Command::new(EXPORTER).arg("--version").output().ok()?;
    let file = std::env::temp_dir().join(format!("wellkept-blackbox-{}.yml", std::process::id()));
    let module = "modules:\n  page:\n    prober: http\n    timeout: 2s\n    http: { preferred_ip_protocol: ip4 }\n";
    fs::write(&file, module).expect("there is a folder for temporary files");
    let address = free_address();
    let mut command = Command::new(EXPORTER);
    command.arg(format!("--config.file={}", file.display())).arg(format!("--web.listen-address={address}"));
    let exporter = Program::spawn(&mut command);
    until(Duration::from_secs(20), "the exporter", || http::Connection::open(address).is_ok());
    let mut connection = http::Connection::open(address).expect("it listens");
    let mut ask = |number: usize| {
        let path = format!("/probe?module=page&target=http://{target}/{}", number % TARGETS);
        let answer = connection.get(&path).expect("the exporter answers");
        assert!(answer.text().contains("probe_success 1"), "every target answers");
    };
    let pause = INTERVAL / u32::try_from(TARGETS).expect("it is a small number");
    // As long as the other side has had to warm up.
    paced(pause, INTERVAL, &mut ask);
    let (before, began) = (cpu_of(exporter.pid()), Instant::now());
    let probes = paced(pause, time, &mut ask);
    let (cpu, time) = (cpu_of(exporter.pid()).saturating_sub(before), began.elapsed());
    let taken = Taken { cpu, memory: resident_of(&exporter.pid().to_string()), probes, time };
    fs::remove_file(&file).ok();
    Some(taken)
}

fn paced(pause: Duration, time: Duration, ask: &mut impl FnMut(usize)) -> u64 {
    let began = Instant::now();
    let mut asked = 0_u32;
    while began.elapsed() < time {
        ask(asked as usize);
        asked += 1;
        thread::sleep((pause * asked).saturating_sub(began.elapsed()));
    }
    u64::from(asked)
}

/// Processor time of another process: hundredths of a second on all Linux systems (proc(5), `USER_HZ`).
pub(crate) fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name before it may hold spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("it is a number")).sum();
    Duration::from_millis(ticks * 10)
}
