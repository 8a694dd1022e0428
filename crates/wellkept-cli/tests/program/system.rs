//! The machine's figures on the page of metrics: beside node exporter's, in a real control group, beside a hung mount.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use wellkept_testkit::{NodeExporter, Program, http, not_run};

use crate::local::{ControlGroup, beside_a_hung_mount};
use crate::served::{Served, listening, wellkept};

/// Those of node exporter's collectors that read what we read.
const COLLECTORS: [&str; 10] =
    ["cpu", "diskstats", "filefd", "filesystem", "loadavg", "meminfo", "netdev", "pressure", "processes", "stat"];

/// The samples of a page, by the name with its labels as they are written.
struct Page(BTreeMap<String, f64>);

impl Page {
    fn of(address: SocketAddr) -> Self {
        let page = http::get(address, "/metrics").text();
        let lines = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        Self(lines.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect())
    }

    fn value(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series} among {:#?}", self.0.keys()))
    }

    /// Takes a whole number.
    #[track_caller]
    fn is(&self, series: &str, expected: f64) {
        let value = self.value(series);
        assert!((value - expected).abs() < 0.5, "{series}: {value} and not {expected}");
    }

    /// What all series add up to whose name begins so, and that hold this.
    fn sum(&self, begins: &str, holds: &str) -> f64 {
        let fitting = self.0.iter().filter(|(series, _)| series.starts_with(begins) && series.contains(holds));
        fitting.map(|(_, value)| value).sum()
    }

    /// The values of a label of all series of a family.
    fn labels(&self, family: &str, label: &str) -> Vec<String> {
        let series = self.0.keys().filter_map(|series| series.strip_prefix(family)?.strip_prefix('{'));
        series
            .filter_map(|labels| Some(labels.split(&format!("{label}=\"")).nth(1)?.split('"').next()?.into()))
            .collect()
    }
}

/// The exporter's figures, ours, and its own again.
struct Beside {
    before: Page,
    own: Page,
    after: Page,
}

impl Beside {
    /// Whether ours lies between theirs, or at most so far beside.
    #[track_caller]
    fn fits(&self, own: f64, theirs: impl Fn(&Page) -> f64, slack: f64, what: &str) {
        let (one, other) = (theirs(&self.before), theirs(&self.after));
        // One figure may be two neighbouring numbers, by how its fraction came to be.
        let slack = slack + one.abs() * 1e-12;
        let (least, most) = (one.min(other) - slack, one.max(other) + slack);
        assert!((least..=most).contains(&own), "{what}: {own} is not between {least} and {most}");
    }

    #[track_caller]
    fn same(&self, own: &str, theirs: &str, slack: f64) {
        self.fits(self.own.value(own), |page| page.value(theirs), slack, own);
    }
}

fn with_system() -> Served {
    Served::with("metrics: { system: true }")
}

#[test]
fn figures_of_the_machine_are_those_that_node_exporter_tells_at_the_same_time() {
    const MIB: f64 = 1024.0 * 1024.0;
    let Some(exporter) = NodeExporter::start(&COLLECTORS) else {
        return not_run("node exporter is not installed (package prometheus-node-exporter)");
    };
    let served = with_system();
    let (before, own) = (Page::of(exporter.address()), Page::of(served.http));
    let both = Beside { before, own, after: Page::of(exporter.address()) };
    // What does not change, what only grows, and what goes up and down while others work on the machine.
    for (own, theirs, slack) in [
        ("boot_timestamp_seconds", "boot_time_seconds", 0.0),
        ("memory_limit_bytes{scope=\"host\"}", "memory_MemTotal_bytes", 0.0),
        ("swap_limit_bytes{scope=\"host\"}", "memory_SwapTotal_bytes", 0.0),
        ("open_files_limit", "filefd_maximum", 0.0),
        ("context_switches_total", "context_switches_total", 0.0),
        ("forks_total", "forks_total", 0.0),
        ("load{minutes=\"1\"}", "load1", 0.0),
        ("load{minutes=\"5\"}", "load5", 0.0),
        ("load{minutes=\"15\"}", "load15", 0.0),
        ("memory_free_bytes{scope=\"host\"}", "memory_MemFree_bytes", 512.0 * MIB),
        ("memory_available_bytes{scope=\"host\"}", "memory_MemAvailable_bytes", 512.0 * MIB),
        ("memory_cached_bytes{scope=\"host\"}", "memory_Cached_bytes", 512.0 * MIB),
        ("open_files", "filefd_allocated", 1000.0),
        ("processes", "processes_pids", 100.0),
    ] {
        both.same(&format!("wellkept_system_{own}"), &format!("node_{theirs}"), slack);
    }
    let cores: BTreeSet<_> = both.before.labels("node_cpu_seconds_total", "cpu").into_iter().collect();
    both.own.is("wellkept_system_cpu_cores{scope=\"host\"}", cores.len() as f64);
    // The kernel rounds each core's time, and may count that of waiting for disks backwards.
    for (mode, slack) in
        [("user", 0.1), ("nice", 0.1), ("system", 0.1), ("softirq", 0.1), ("iowait", 1.0), ("idle", 1.0)]
    {
        let own = both.own.value(&format!("wellkept_system_cpu_seconds_total{{scope=\"host\",mode=\"{mode}\"}}"));
        both.fits(own, |page| page.sum("node_cpu_seconds_total", &format!("mode=\"{mode}\"")), slack, mode);
    }
    interfaces(&both);
    disks(&both);
    filesystems(&both);
    if both.before.0.contains_key("node_pressure_cpu_waiting_seconds_total") {
        for (resource, share, theirs) in
            [("cpu", "some", "cpu_waiting"), ("memory", "full", "memory_stalled"), ("io", "some", "io_waiting")]
        {
            let labels = format!("{{scope=\"host\",resource=\"{resource}\",share=\"{share}\"}}");
            let own = format!("wellkept_system_pressure_seconds_total{labels}");
            both.same(&own, &format!("node_pressure_{theirs}_seconds_total"), 0.001);
        }
    }
}

fn interfaces(both: &Beside) {
    let theirs = both.before.labels("node_network_receive_bytes_total", "device");
    let own = both.own.labels("wellkept_system_network_received_bytes_total", "interface");
    let common: Vec<_> = own.iter().filter(|name| theirs.contains(name)).collect();
    assert!(theirs.is_empty() || !common.is_empty(), "{own:?} and {theirs:?}");
    for interface in common {
        for (own, theirs) in [("received", "receive"), ("sent", "transmit")] {
            for unit in ["bytes", "packets"] {
                let own = format!("wellkept_system_network_{own}_{unit}_total{{interface=\"{interface}\"}}");
                both.same(&own, &format!("node_network_{theirs}_{unit}_total{{device=\"{interface}\"}}"), 0.0);
            }
        }
    }
}

fn disks(both: &Beside) {
    let theirs = both.before.labels("node_disk_read_bytes_total", "device");
    let own = both.own.labels("wellkept_system_disk_read_bytes_total", "device");
    for disk in theirs.iter().filter(|disk| own.contains(disk)) {
        for (own, theirs) in [
            ("read_bytes", "read_bytes"),
            ("written_bytes", "written_bytes"),
            ("reads", "reads_completed"),
            ("writes", "writes_completed"),
            ("busy_seconds", "io_time_seconds"),
        ] {
            let scope = if own == "busy_seconds" { "" } else { "scope=\"host\"," };
            let own = format!("wellkept_system_disk_{own}_total{{{scope}device=\"{disk}\"}}");
            both.same(&own, &format!("node_disk_{theirs}_total{{device=\"{disk}\"}}"), 0.0);
        }
    }
}

fn filesystems(both: &Beside) {
    const ROOM: f64 = 1024.0 * 1024.0 * 1024.0;
    let theirs = both.before.labels("node_filesystem_size_bytes", "mountpoint");
    let own = both.own.labels("wellkept_system_filesystem_size_bytes", "mountpoint");
    let common: Vec<_> = own.iter().filter(|mountpoint| theirs.contains(mountpoint)).collect();
    assert!(theirs.is_empty() || !common.is_empty(), "{own:?} and {theirs:?}");
    for mountpoint in common {
        let label = format!("mountpoint=\"{mountpoint}\"");
        for (own, theirs, slack) in [
            ("size_bytes", "size_bytes", 0.0),
            ("files", "files", 0.0),
            ("read_only", "readonly", 0.0),
            ("free_bytes", "free_bytes", ROOM),
            ("available_bytes", "avail_bytes", ROOM),
        ] {
            let own = both.own.sum(&format!("wellkept_system_filesystem_{own}{{"), &label);
            both.fits(own, |page| page.sum(&format!("node_filesystem_{theirs}{{"), &label), slack, &label);
        }
    }
}

/// Serves what the folder holds, as this command.
fn served_by(command: &mut Command, folder: tempfile::TempDir) -> Served {
    fs::write(folder.path().join("wellkept.yaml"), "metrics: { system: true }").unwrap();
    command.arg(wellkept(folder.path()).get_program()).args(["serve", "--listen", "127.0.0.1:0"]);
    command.current_dir(folder.path()).env_remove("WELLKEPT_CONFIG").env_remove("NOTIFY_SOCKET");
    command.env("XDG_STATE_HOME", folder.path().join("state"));
    let program = Program::spawn(command);
    let http = listening(&program, "probes and metrics");
    Served { program, http, folder }
}

#[test]
fn the_page_has_the_limit_and_the_use_of_a_real_control_group_beside_the_machines() {
    let limit = 256 * 1024 * 1024_u64;
    // In version 2 the controllers stand side by side in one tree.
    let (tree, file) = match fs::exists("/sys/fs/cgroup/memory") {
        Ok(true) => ("memory", "memory.limit_in_bytes"),
        _ => ("", "memory.max"),
    };
    let Some(group) = ControlGroup::new(&[tree], "metrics", &[(file, &limit.to_string())]) else { return };
    let served = served_by(&mut group.after("exec \"$@\""), tempfile::tempdir().unwrap());
    let page = Page::of(served.http);
    let of = |figure: &str, scope: &str| format!("wellkept_system_memory_{figure}_bytes{{scope=\"{scope}\"}}");
    let limit = limit as f64;
    page.is(&of("limit", "cgroup"), limit);
    let used = page.value(&of("used", "cgroup"));
    assert!(used > 1e6 && used < limit, "{used}");
    page.is(&of("available", "cgroup"), limit - used);
    assert!(page.value(&of("limit", "host")) > limit && page.value(&of("used", "host")) > used);
}

#[test]
fn a_scrape_beside_a_hung_mount_shows_which_it_is_and_all_other_figures_soon() {
    let mount = tempfile::tempdir().unwrap();
    let Some(mut command) = beside_a_hung_mount(mount.path()) else { return };
    let mut served = served_by(&mut command, tempfile::tempdir().unwrap());
    for _ in 0..3 {
        let begun = Instant::now();
        let page = Page::of(served.http);
        // A deadline of 100 ms, once; the rest is for a machine with other work.
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let hung = mount.path().to_str().unwrap();
        let labels = format!("{{mountpoint=\"{hung}\",device=\"hung\",type=\"fuse\"}}");
        page.is(&format!("wellkept_system_filesystem_answers{labels}"), 0.0);
        assert!(!page.labels("wellkept_system_filesystem_size_bytes", "mountpoint").iter().any(|one| one == hung));
        assert!(page.sum("wellkept_system_filesystem_answers{", "mountpoint=\"/\"") > 0.0);
        assert!(page.value("wellkept_system_memory_available_bytes{scope=\"host\"}") > 0.0);
        assert!(page.value("wellkept_system_reading_errors_total{reading=\"filesystems\"}") >= 1.0);
        page.is("wellkept_system_reading_errors_total{reading=\"memory\"}", 0.0);
    }
    assert!(threads_of_readings(served.program.pid()) <= 2, "one that hangs, and one that reads");
    assert_eq!(http::get(served.http, "/livez").status, 200);
    served.program.kill();
}

fn threads_of_readings(pid: u32) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim() == "wellkept-system").count()
}
