//! The readings as metrics: what each family is called, and whose figure it is.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use super::figures::{
    CpuFigures, CpuTimes, DiskIo, Filesystem, GroupCpu, Interface, MemoryFigures, ProcessFigures, Stalled,
};
use super::kept::Buffer;
use super::readers::ProcessReader;
use super::{Descriptors, Disk, DiskTimes, ReadingState, Source, System, SystemRoot, Traffic};
use crate::metrics::{Collector, Declaration, Readings};

const HOST: &str = Source::Host.as_str();
const GROUP: &str = Source::Cgroup.as_str();

/// The machine and the control group as metrics, of the families `wellkept_system_…`. The label `scope` says whose a figure
/// is: `host` for the machine, `cgroup` for the control group of this process.
///
/// They name disks, interfaces and mount points, so that they are for those who may see what things are called:
///
/// ```
/// use wellkept_telemetry::metrics::{Audience, Metrics};
/// use wellkept_telemetry::system::{System, SystemCollector, SystemOptions};
///
/// let metrics = Metrics::new();
/// let system = System::new(&SystemOptions::default());
/// metrics.collector("system", SystemCollector::new(&system), Audience::Operators)?;
/// # Ok::<(), wellkept_telemetry::metrics::MetricError>(())
/// ```
#[derive(Debug)]
pub struct SystemCollector(System);

impl SystemCollector {
    /// Reads this system at each scrape.
    pub fn new(system: &System) -> Self {
        Self(system.clone())
    }
}

/// This process as metrics, under the names that Prometheus' client libraries share.
#[derive(Debug)]
pub struct ProcessCollector(Mutex<Process>);

#[derive(Debug)]
struct Process {
    reader: ProcessReader,
    buffer: Buffer,
}

impl ProcessCollector {
    /// Reads this process at each scrape, from files that it keeps open.
    pub fn new(root: &SystemRoot) -> Self {
        Self(Mutex::new(Process { reader: ProcessReader::new(root), buffer: Buffer::default() }))
    }
}

/// The families, each a constant, and the list of all.
macro_rules! families {
    ($list:ident: $($name:ident = $kind:ident $family:literal $([$($label:literal),+])?, $help:literal;)+) => {
        $(const $name: Declaration<'static> = Declaration::$kind($family, $help)$(.by(&[$($label),+]))?;)+
        const $list: &[Declaration<'static>] = &[$($name),+];
    };
}

families! { SYSTEM:
    CPU_SECONDS = counter "wellkept_system_cpu_seconds" ["scope", "mode"],
        "Processor time used, by whom and for what; of the machine `idle` and `iowait` too.";
    CPU_CORES = gauge "wellkept_system_cpu_cores" ["scope"],
        "Cores there are: of the machine, and the tightest quota of the control groups around this process.";
    CPU_PERIODS = counter "wellkept_system_cpu_periods" ["scope"],
        "Scheduling periods in which the control group had something to do and had a quota.";
    CPU_THROTTLED_PERIODS = counter "wellkept_system_cpu_throttled_periods" ["scope"],
        "Scheduling periods in which the quota stopped the control group.";
    CPU_THROTTLED = counter "wellkept_system_cpu_throttled_seconds" ["scope"],
        "Time for which the quota stopped the control group.";
    LOAD = gauge "wellkept_system_load" ["minutes"],
        "Threads that run, could run or wait for a disk, on average over so many minutes.";
    CONTEXT_SWITCHES = counter "wellkept_system_context_switches", "Switches from one task to another.";
    FORKS = counter "wellkept_system_forks", "Processes and threads begun since the machine was started.";
    RUNNING = gauge "wellkept_system_threads_running", "Threads that run or could.";
    BLOCKED = gauge "wellkept_system_threads_blocked", "Threads that wait for a disk.";
    BOOT = gauge "wellkept_system_boot_timestamp_seconds", "When the machine was started.";
    MEMORY_LIMIT = gauge "wellkept_system_memory_limit_bytes" ["scope"],
        "Memory there may be: the machine's, and the tightest limit of the control groups around this process.";
    MEMORY_USED = gauge "wellkept_system_memory_used_bytes" ["scope"],
        "Memory in use that can't be given back at once.";
    MEMORY_AVAILABLE = gauge "wellkept_system_memory_available_bytes" ["scope"],
        "Memory that could still be had without swapping.";
    MEMORY_FREE = gauge "wellkept_system_memory_free_bytes" ["scope"], "Memory of the machine that nobody uses for anything.";
    MEMORY_CACHED = gauge "wellkept_system_memory_cached_bytes" ["scope"], "Memory of the machine that holds contents of files.";
    SWAP_LIMIT = gauge "wellkept_system_swap_limit_bytes" ["scope"], "Swap space of the machine.";
    SWAP_USED = gauge "wellkept_system_swap_used_bytes" ["scope"], "Swap space in use.";
    OOM_KILLS = counter "wellkept_system_oom_kills" ["scope"],
        "Processes of the control group that the kernel killed for lack of memory.";
    DISK_READ = counter "wellkept_system_disk_read_bytes" ["scope", "device"], "Bytes read from disks.";
    DISK_WRITTEN = counter "wellkept_system_disk_written_bytes" ["scope", "device"], "Bytes written to disks.";
    DISK_READS = counter "wellkept_system_disk_reads" ["scope", "device"], "Reads completed by disks.";
    DISK_WRITES = counter "wellkept_system_disk_writes" ["scope", "device"], "Writes completed by disks.";
    DISK_READING = counter "wellkept_system_disk_read_time_seconds" ["device"], "Time that reads from disks took, all added up.";
    DISK_WRITING = counter "wellkept_system_disk_write_time_seconds" ["device"], "Time that writes to disks took, all added up.";
    DISK_BUSY = counter "wellkept_system_disk_busy_seconds" ["device"], "Time in which a disk had something to do.";
    DISK_IN_PROGRESS = gauge "wellkept_system_disk_in_progress" ["device"], "Reads and writes that are under way.";
    RECEIVED = counter "wellkept_system_network_received_bytes" ["interface"], "Bytes received.";
    SENT = counter "wellkept_system_network_sent_bytes" ["interface"], "Bytes sent.";
    PACKETS_RECEIVED = counter "wellkept_system_network_received_packets" ["interface"], "Packets received.";
    PACKETS_SENT = counter "wellkept_system_network_sent_packets" ["interface"], "Packets sent.";
    NETWORK_ERRORS = counter "wellkept_system_network_errors" ["interface", "direction"],
        "Packets that came broken or could not be sent.";
    NETWORK_DROPPED = counter "wellkept_system_network_dropped" ["interface", "direction"],
        "Packets that there was no room for.";
    PROCESSES = gauge "wellkept_system_processes", "Processes that can be seen from here.";
    THREADS = gauge "wellkept_system_threads" ["scope"], "Threads, of the machine those of the kernel too.";
    THREADS_LIMIT = gauge "wellkept_system_threads_limit" ["scope"], "Threads that the control group may have.";
    STALLED = counter "wellkept_system_pressure_seconds" ["scope", "resource", "share"],
        "Time lost to waiting for a resource: in which some waited, or all that had something to do.";
    OPEN_FILES = gauge "wellkept_system_open_files", "Files that the machine has open.";
    OPEN_FILES_LIMIT = gauge "wellkept_system_open_files_limit", "Files that the machine may have open.";
    FILESYSTEM_SIZE = gauge "wellkept_system_filesystem_size_bytes" ["mountpoint", "device", "type"], "Size of a file system.";
    FILESYSTEM_FREE = gauge "wellkept_system_filesystem_free_bytes" ["mountpoint", "device", "type"],
        "Free space of a file system, what is reserved for root too.";
    FILESYSTEM_AVAILABLE = gauge "wellkept_system_filesystem_available_bytes" ["mountpoint", "device", "type"],
        "Free space of a file system for everyone.";
    FILESYSTEM_FILES = gauge "wellkept_system_filesystem_files" ["mountpoint", "device", "type"],
        "Files that a file system can hold; 0 without a fixed number.";
    FILESYSTEM_FILES_AVAILABLE = gauge "wellkept_system_filesystem_files_available" ["mountpoint", "device", "type"],
        "Files that everyone can still make.";
    FILESYSTEM_READ_ONLY = gauge "wellkept_system_filesystem_read_only" ["mountpoint", "device", "type"],
        "1 where a file system is mounted read-only.";
    FILESYSTEM_ANSWERS = gauge "wellkept_system_filesystem_answers" ["mountpoint", "device", "type"],
        "1 where a file system answered in time, 0 where it hangs or fails.";
    AGE = gauge "wellkept_system_reading_age_seconds" ["reading"],
        "How old the figures of a reading are: of one that is late or fails, until they are shown no more.";
    ERRORS = counter "wellkept_system_reading_errors" ["reading"], "How often a reading was late or failed.";
}

families! { PROCESS:
    PROCESS_CPU = counter "process_cpu_seconds", "CPU time used.";
    PROCESS_RESIDENT = gauge "process_resident_memory_bytes", "Memory resident.";
    PROCESS_VIRTUAL = gauge "process_virtual_memory_bytes", "Memory mapped.";
    PROCESS_OPEN_FDS = gauge "process_open_fds", "Open file descriptors.";
    PROCESS_MAX_FDS = gauge "process_max_fds", "Limit of file descriptors.";
    PROCESS_THREADS = gauge "process_threads", "Threads.";
    PROCESS_START = gauge "process_start_time_seconds", "Start of the process since the epoch.";
}

impl Collector for SystemCollector {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        SYSTEM.to_vec()
    }

    fn collect(&self, out: &mut Readings) {
        let read = self.0.read_machine();
        if let Some(cpu) = &read.cpu {
            processors(out, cpu);
        }
        if let Some(of_memory) = &read.memory {
            memory(out, of_memory);
        }
        disks(out, &read.disks);
        network(out, &read.interfaces);
        if let Some(of_processes) = &read.processes {
            processes(out, of_processes);
        }
        pressure(out, &read.pressure);
        if let Some(Descriptors { open, limit }) = read.descriptors {
            out.value(&OPEN_FILES, open);
            if let Some(limit) = limit {
                out.value(&OPEN_FILES_LIMIT, limit);
            }
        }
        filesystems(out, &read.filesystems);
        states(out, &read.states);
    }
}

impl Collector for ProcessCollector {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        PROCESS.to_vec()
    }

    fn collect(&self, out: &mut Readings) {
        // What can't be read is left out: a scrape is worth having without it.
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Process { reader, buffer } = &mut *own;
        let Ok(process) = reader.read_process(buffer) else { return };
        out.value(&PROCESS_CPU, process.cpu.as_secs_f64());
        out.value(&PROCESS_RESIDENT, process.resident_bytes);
        out.value(&PROCESS_VIRTUAL, process.virtual_bytes);
        out.value(&PROCESS_OPEN_FDS, process.open_fds);
        if let Some(limit) = process.max_fds {
            out.value(&PROCESS_MAX_FDS, limit);
        }
        out.value(&PROCESS_THREADS, process.threads);
        let start = process.start_time.duration_since(UNIX_EPOCH).unwrap_or_default();
        out.value(&PROCESS_START, start.as_secs_f64());
    }
}

/// A family, and what it shows of each of several things.
type Figure<T, V> = (&'static Declaration<'static>, fn(&T) -> V);

/// The family by scope: the machine's value, and the group's where there is one.
fn by_scope(out: &mut Readings, family: &Declaration<'_>, host: Option<f64>, group: Option<f64>) {
    let values = [(HOST, host), (GROUP, group)];
    out.family(family).samples(values.into_iter().filter_map(|(scope, value)| Some(([scope], value?))));
}

fn processors(out: &mut Readings, cpu: &CpuFigures) {
    let group = cpu.group;
    let of_host = CpuTimes::MODES.into_iter().zip(cpu.times.by_mode).map(|(mode, time)| ([HOST, mode], time));
    let of_group = group.into_iter().flat_map(|group| [("user", group.user), ("system", group.system)]);
    let times = of_host.chain(of_group.map(|(mode, time)| ([GROUP, mode], time)));
    out.family(&CPU_SECONDS).samples(times.map(|(labels, time)| (labels, time.as_secs_f64())));
    by_scope(out, &CPU_CORES, Some(cpu.cores as f64), group.and_then(|group| group.cores));
    // Without a quota there is nothing to tell.
    if let Some(GroupCpu { periods, throttled_periods, throttled, .. }) = group.filter(|group| group.cores.is_some()) {
        out.family(&CPU_PERIODS).sample([GROUP], periods);
        out.family(&CPU_THROTTLED_PERIODS).sample([GROUP], throttled_periods);
        out.family(&CPU_THROTTLED).sample([GROUP], throttled.as_secs_f64());
    }
    if let Some(load) = cpu.load {
        out.family(&LOAD).samples([(["1"], load.one), (["5"], load.five), (["15"], load.fifteen)]);
    }
    out.value(&CONTEXT_SWITCHES, cpu.context_switches);
    out.value(&FORKS, cpu.forks);
    out.value(&RUNNING, cpu.running);
    out.value(&BLOCKED, cpu.blocked);
    if let Some(booted) = cpu.booted.and_then(|booted| booted.duration_since(UNIX_EPOCH).ok()) {
        out.value(&BOOT, booted.as_secs_f64());
    }
}

fn memory(out: &mut Readings, memory: &MemoryFigures) {
    let group = memory.group;
    let of_group = |value: u64| value as f64;
    let limit = group.and_then(|group| group.limit);
    by_scope(out, &MEMORY_LIMIT, Some(memory.total as f64), limit.map(of_group));
    let used = memory.total.saturating_sub(memory.available);
    by_scope(out, &MEMORY_USED, Some(used as f64), group.map(|group| group.used as f64));
    let left = group.and_then(|group| Some(group.limit?.saturating_sub(group.used)));
    by_scope(out, &MEMORY_AVAILABLE, Some(memory.available as f64), left.map(of_group));
    by_scope(out, &MEMORY_FREE, Some(memory.free as f64), None);
    by_scope(out, &MEMORY_CACHED, Some(memory.cached as f64), None);
    by_scope(out, &SWAP_LIMIT, Some(memory.swap_total as f64), None);
    let swapped = memory.swap_total.saturating_sub(memory.swap_free);
    by_scope(out, &SWAP_USED, Some(swapped as f64), group.and_then(|group| group.swap_used).map(of_group));
    if let Some(kills) = group.and_then(|group| group.oom_kills) {
        out.family(&OOM_KILLS).sample([GROUP], kills);
    }
}

fn disks(out: &mut Readings, disks: &[DiskIo]) {
    let counts: [Figure<DiskIo, u64>; 4] = [
        (&DISK_READ, |disk| disk.read_bytes),
        (&DISK_WRITTEN, |disk| disk.written_bytes),
        (&DISK_READS, |disk| disk.reads),
        (&DISK_WRITES, |disk| disk.writes),
    ];
    for (family, count) in counts {
        let scope = |disk: &DiskIo| if disk.of_group { GROUP } else { HOST };
        out.family(family).samples(disks.iter().map(|disk| ([scope(disk), disk.device.as_str()], count(disk))));
    }
    let measured = || disks.iter().filter_map(|disk| Some((disk, disk.times?)));
    let times: [Figure<DiskTimes, Duration>; 3] = [
        (&DISK_READING, |times| times.reading),
        (&DISK_WRITING, |times| times.writing),
        (&DISK_BUSY, |times| times.busy),
    ];
    for (family, time) in times {
        out.family(family)
            .samples(measured().map(|(disk, times)| ([disk.device.as_str()], time(&times).as_secs_f64())));
    }
    out.family(&DISK_IN_PROGRESS).samples(measured().map(|(disk, times)| ([disk.device.as_str()], times.in_progress)));
}

fn network(out: &mut Readings, interfaces: &[Interface]) {
    let counts: [Figure<Interface, u64>; 4] = [
        (&RECEIVED, |one| one.received.bytes),
        (&SENT, |one| one.sent.bytes),
        (&PACKETS_RECEIVED, |one| one.received.packets),
        (&PACKETS_SENT, |one| one.sent.packets),
    ];
    for (family, count) in counts {
        out.family(family).samples(interfaces.iter().map(|one| ([one.name.as_str()], count(one))));
    }
    let failed: [Figure<Traffic, u64>; 2] =
        [(&NETWORK_ERRORS, |traffic| traffic.errors), (&NETWORK_DROPPED, |traffic| traffic.dropped)];
    for (family, count) in failed {
        let both = interfaces.iter().flat_map(|one| {
            [("received", &one.received), ("sent", &one.sent)]
                .map(|(direction, traffic)| ([one.name.as_str(), direction], count(traffic)))
        });
        out.family(family).samples(both);
    }
}

fn processes(out: &mut Readings, processes: &ProcessFigures) {
    out.value(&PROCESSES, processes.processes);
    let number = |number: u64| number as f64;
    by_scope(out, &THREADS, processes.threads.map(number), processes.group_threads.map(number));
    by_scope(out, &THREADS_LIMIT, None, processes.group_threads_limit.map(number));
}

fn pressure(out: &mut Readings, stalled: &[Stalled]) {
    let shares = stalled.iter().flat_map(|one| {
        [("some", Some(one.some)), ("full", one.full)].into_iter().filter_map(|(share, time)| {
            Some(([one.source.as_str(), one.resource.as_str(), share], time?.as_secs_f64()))
        })
    });
    out.family(&STALLED).samples(shares);
}

fn filesystems(out: &mut Readings, filesystems: &[Filesystem]) {
    fn labels(one: &Filesystem) -> [&str; 3] {
        [&one.mountpoint, &one.device, &one.kind]
    }
    let figures: [Figure<Disk, u64>; 6] = [
        (&FILESYSTEM_SIZE, |room| room.total),
        (&FILESYSTEM_FREE, |room| room.free),
        (&FILESYSTEM_AVAILABLE, |room| room.available),
        (&FILESYSTEM_FILES, |room| room.inodes),
        (&FILESYSTEM_FILES_AVAILABLE, |room| room.inodes_available),
        (&FILESYSTEM_READ_ONLY, |room| u64::from(room.read_only)),
    ];
    for (family, figure) in figures {
        let known = filesystems.iter().filter_map(|one| Some((labels(one), figure(one.room.as_ref()?))));
        out.family(family).samples(known);
    }
    out.family(&FILESYSTEM_ANSWERS).samples(filesystems.iter().map(|one| (labels(one), u64::from(one.answers))));
}

fn states(out: &mut Readings, states: &[ReadingState]) {
    let ages = states.iter().filter_map(|state| Some(([state.reading], state.age?.as_secs_f64())));
    out.family(&AGE).samples(ages);
    out.family(&ERRORS).samples(states.iter().map(|state| ([state.reading], state.errors)));
}

#[cfg(test)]
mod tests {
    use super::super::SystemOptions;
    use super::super::tests::Machine;
    use super::*;

    fn of(root: SystemRoot) -> Vec<crate::metrics::Family> {
        let system = System::new(&SystemOptions { root, ..SystemOptions::default() });
        Readings::of(&SystemCollector::new(&system)).unwrap()
    }

    #[test]
    fn every_family_of_a_reading_is_declared_and_every_declaration_is_one() {
        let collector = SystemCollector::new(&System::new(&SystemOptions::default()));
        let metrics = crate::metrics::Metrics::new();
        metrics.collector("system", collector, crate::metrics::Audience::Everyone).unwrap();
        let declared = metrics.declared();
        let ours = declared.iter().filter(|one| !one.name.starts_with("wellkept_metrics_")).count();
        assert_eq!(ours, SYSTEM.len(), "each is valid");
        let given = of(SystemRoot::default());
        for family in &given {
            assert!(SYSTEM.iter().any(|one| one.name == family.name()), "{}", family.name());
        }
        let page = metrics.page(None, crate::metrics::Audience::Everyone).body;
        assert!(page.contains("\nwellkept_system_memory_limit_bytes{scope=\"host\"} "), "{page}");
        assert!(page.contains("\nwellkept_system_reading_errors_total{reading=\"memory\"} 0\n"), "{page}");
        assert!(!page.contains("collector_failures_total{"), "{page}");
    }

    #[test]
    fn a_machine_without_groups_disks_and_pressure_shows_what_it_has() {
        let machine = Machine::new();
        let families = of(machine.root());
        let value = |name: &str, labels: &[(&str, &str)]| {
            let family = families.iter().find(|family| family.name() == name)?;
            family.sample(labels)?.value.number()
        };
        assert_eq!(
            value("wellkept_system_memory_limit_bytes", &[("scope", "host")]),
            Some(8.0 * 1024.0 * 1024.0 * 1024.0)
        );
        assert_eq!(value("wellkept_system_memory_limit_bytes", &[("scope", "cgroup")]), None);
        assert_eq!(value("wellkept_system_cpu_cores", &[("scope", "host")]), Some(2.0));
        assert_eq!(value("wellkept_system_boot_timestamp_seconds", &[]), Some(1_700_000_000.0));
        assert_eq!(value("wellkept_system_reading_errors", &[("reading", "disks")]), Some(1.0));
    }

    #[test]
    fn what_interfaces_and_mounts_are_called_breaks_no_page() {
        let mounts = "22 1 8:1 / /mnt/\"a\\134b\\012c\u{2028}\\040d rw - xfs /dev/sda1 rw\n23 1 8:2 / /mnt/\u{e9} rw - xfs x rw\n";
        let network = "  e\"th: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n".to_owned();
        let mut bytes = network.into_bytes();
        for odd in [b"\xff", b"\xfe"] {
            bytes.extend_from_slice(b"  ");
            bytes.extend_from_slice(odd);
            bytes.extend_from_slice(b"0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n");
        }
        let machine = Machine::new().with("proc/self/mountinfo", mounts).with("proc/self/net/dev", bytes);
        let families = of(machine.root());
        let received =
            families.iter().find(|family| family.name() == "wellkept_system_network_received_bytes").unwrap();
        assert_eq!(received.samples.len(), 1, "two that are no text would be one");
        let answers = families.iter().find(|family| family.name() == "wellkept_system_filesystem_answers").unwrap();
        assert_eq!(answers.samples.len(), 2);
    }
}
