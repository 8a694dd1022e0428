//! The machine's figures: reading them beside the crate `sysinfo`, and scraping them beside Debian's node exporter.
//! Processor time, so that what else runs on the machine counts little.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sysinfo::{
    CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, Networks, ProcessRefreshKind, ProcessesToUpdate,
};
use wellkept::telemetry::metrics::Readings;
use wellkept::telemetry::system::{System, SystemCollector, SystemOptions};
use wellkept_testkit::{NodeExporter, http};

use crate::instance::{Instance, Times};
use crate::rounds::{Compared, Effort, interleaved};
use crate::serve;
use crate::targets::cpu_of;

/// Readings of a round.
const READINGS: u32 = 300;
/// Scrapes of a round: so many that the kernel's hundredths of a second are fine enough.
const SCRAPES: u32 = 300;
/// What node exporter calls the families that we have, but for processes.
const COLLECTORS: [&str; 9] =
    ["cpu", "diskstats", "filefd", "filesystem", "loadavg", "meminfo", "netdev", "pressure", "stat"];

pub(crate) fn run(effort: Effort) {
    in_process(effort);
    for (without, more) in [("", &["processes"][..]), (" without `processes`", &[])] {
        if !scraped(effort, without, &[&COLLECTORS, more].concat()) {
            println!(
                "\nNOT MEASURED: node exporter is not installed (apt-get install prometheus-node-exporter): the scrapes"
            );
            return;
        }
    }
}

fn in_process(effort: Effort) {
    let system = System::new(&SystemOptions::default());
    let collector = SystemCollector::new(&system);
    let mut peer = Peer::default();
    let row = |what: &str, peer: &str, compared: Compared, target: &str| {
        let Compared { a, b, ratio } = compared;
        println!("| {what} | {a:.1} µs | {peer}: {b:.1} µs | {ratio:.2} | {target} |");
    };
    let read = || microseconds(|| drop(black_box(system.read())));
    let most = "processors, load, memory, control group, disks, networks";
    let compared = interleaved(effort.rounds, read, || microseconds(|| peer.refresh()));
    row("a reading: all figures of the host and the control group", &format!("`sysinfo`: {most}"), compared, "less");
    let with_processes = || {
        microseconds(|| {
            peer.refresh();
            peer.refresh_processes();
        })
    };
    let compared = interleaved(effort.rounds, read, with_processes);
    row("the same", "`sysinfo`, with the processes, to count them", compared, "less");
    let collect = || microseconds(|| drop(black_box(Readings::of(&collector))));
    let compared = interleaved(effort.rounds, collect, read);
    row("the same, as families of metrics", "the reading alone", compared, "");
}

/// What of `sysinfo` reads figures that we read. Pressure, descriptors of the machine and threads it has not.
struct Peer {
    system: sysinfo::System,
    disks: Disks,
    networks: Networks,
}

impl Default for Peer {
    fn default() -> Self {
        let (disks, networks) = (Disks::new_with_refreshed_list(), Networks::new_with_refreshed_list());
        Self { system: sysinfo::System::new(), disks, networks }
    }
}

impl Peer {
    fn refresh(&mut self) {
        self.system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_cpu_usage());
        self.system.refresh_memory_specifics(MemoryRefreshKind::everything());
        self.disks.refresh_specifics(true, DiskRefreshKind::everything());
        self.networks.refresh(true);
        black_box((self.system.cgroup_limits(), sysinfo::System::load_average(), sysinfo::System::boot_time()));
    }

    fn refresh_processes(&mut self) {
        let nothing = ProcessRefreshKind::nothing().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::All, true, nothing);
        black_box(self.system.processes().len());
    }
}

/// Processor time of all threads of this process for one time.
fn microseconds(mut work: impl FnMut()) -> f64 {
    // What is kept open is opened.
    work();
    let began = clock_gettime(ClockId::ProcessCPUTime);
    for _ in 0..READINGS {
        work();
    }
    let took: Duration =
        (clock_gettime(ClockId::ProcessCPUTime) - began).try_into().expect("a process takes no negative time");
    took.as_secs_f64() * 1e6 / f64::from(READINGS)
}

/// Both over HTTP, each from a process of its own. False where there is no exporter.
fn scraped(effort: Effort, without: &str, collectors: &[&str]) -> bool {
    let Some(exporter) = NodeExporter::start(collectors) else { return false };
    let service = Instance::start(serve::System::Figures, 0, Times::default());
    assert!(scrape(service.address()).contains("wellkept_system_memory_limit_bytes"), "it shows the machine");
    assert!(scrape(exporter.address()).contains("node_memory_MemTotal_bytes"), "it shows the machine");
    let of = |address: SocketAddr, pid: u32| {
        move || {
            let mut connection = http::Connection::open(address).expect("it listens");
            let before = cpu_of(pid);
            for _ in 0..SCRAPES {
                assert_eq!(connection.get("/metrics").expect("it answers").status, 200);
            }
            cpu_of(pid).saturating_sub(before).as_secs_f64() * 1e6 / f64::from(SCRAPES)
        }
    };
    // A round takes seconds.
    let rounds = effort.rounds.div_ceil(2);
    let compared = interleaved(rounds, of(service.address(), service.pid()), of(exporter.address(), exporter.pid()));
    println!(
        "| a scrape over HTTP: the server's processor time | {:.0} µs | node exporter{without}: {:.0} µs | {:.2} | less |",
        compared.a, compared.b, compared.ratio
    );
    true
}

fn scrape(address: SocketAddr) -> String {
    http::get(address, "/metrics").text()
}
