//! The readings, taken from copied trees of each kind of machine, and once from the one the tests run on.

use std::fs;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

const MEMINFO: &str = "MemTotal:        8388608 kB\nMemFree:          524288 kB\nMemAvailable:    6291456 kB\n";
const STAT: &str = "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 50 0 25 400 25 0 0 0 0 0\ncpu1 50 0 25 400 25 0 0 0 0 0\n\
                    intr 1 2 3\nctxt 5\nbtime 1700000000\n";

pub(super) const V2_MOUNT: &str = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
const V1_MOUNTS: &str = "22 20 8:1 / / rw - ext4 /dev/sda1 rw\n\
    31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
    32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
    33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n\
    35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
    41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
const V1_MEMBERSHIP: &str = "4:memory:/pod/app\n2:cpuacct:/pod/app\n1:cpu:/pod/app\n0::/\n";

/// A machine in a temporary folder: two cores and 8 GiB, of which 6 are available.
pub(super) struct Machine {
    folder: TempDir,
}

impl Machine {
    pub(super) fn new() -> Self {
        let machine = Self { folder: TempDir::new().unwrap() };
        machine.with("proc/meminfo", MEMINFO).with("proc/stat", STAT)
    }

    pub(super) fn with(self, file: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub(super) fn root(&self) -> SystemRoot {
        SystemRoot::new(self.folder.path().join("proc"), self.folder.path().join("sys"))
    }

    fn memory(&self) -> Memory {
        Memory::read(&self.root()).unwrap()
    }
}

fn v2() -> Machine {
    Machine::new().with("proc/self/cgroup", "0::/pod/app\n").with("proc/self/mountinfo", V2_MOUNT)
}

fn v1() -> Machine {
    Machine::new().with("proc/self/cgroup", V1_MEMBERSHIP).with("proc/self/mountinfo", V1_MOUNTS)
}

#[test]
fn without_groups_memory_is_the_machines() {
    let memory = Machine::new().memory();
    assert_eq!(memory, Memory { used: 2 * GIB, limit: 8 * GIB, source: Source::Host, swap: None });
    assert!((memory.usage() - 0.25).abs() < 1e-9);
}

#[test]
fn version_2_counts_without_the_inactive_cache() {
    let machine = v2()
        .with("sys/fs/cgroup/pod/app/memory.max", "1073741824\n")
        .with("sys/fs/cgroup/pod/app/memory.current", "805306368\n")
        .with("sys/fs/cgroup/pod/app/memory.stat", "anon 1\nfile 2\ninactive_anon 5\ninactive_file 268435456\n");
    assert_eq!(machine.memory(), Memory { used: 512 * MIB, limit: GIB, source: Source::Cgroup, swap: None });
}

#[test]
fn the_tightest_of_the_groups_around_counts() {
    let machine = v2()
        .with("sys/fs/cgroup/pod/app/memory.max", "max\n")
        .with("sys/fs/cgroup/pod/app/memory.current", "100\n")
        .with("sys/fs/cgroup/pod/memory.max", "2147483648\n")
        .with("sys/fs/cgroup/pod/memory.current", "2000000000\n")
        .with("sys/fs/cgroup/memory.max", "4294967296\n")
        .with("sys/fs/cgroup/memory.current", "2100000000\n");
    assert_eq!(machine.memory(), Memory { used: 2_000_000_000, limit: 2 * GIB, source: Source::Cgroup, swap: None });
}

#[test]
fn a_limit_above_the_machines_memory_limits_nothing() {
    let machine = v2()
        .with("sys/fs/cgroup/pod/app/memory.max", (9 * GIB).to_string())
        .with("sys/fs/cgroup/pod/app/memory.current", "805306368\n");
    assert_eq!(machine.memory().source, Source::Host);
}

#[test]
fn a_group_outside_of_the_namespace_is_read_at_the_mount() {
    let machine = v2()
        .with("proc/self/cgroup", "0::/../other\n")
        .with("sys/fs/cgroup/memory.max", "1073741824\n")
        .with("sys/fs/cgroup/memory.current", "536870912\n");
    assert_eq!(machine.memory(), Memory { used: 512 * MIB, limit: GIB, source: Source::Cgroup, swap: None });
}

#[test]
fn version_1_counts_without_the_inactive_cache_of_the_whole_tree() {
    let machine = v1()
        .with("sys/fs/cgroup/memory/pod/app/memory.limit_in_bytes", "1073741824\n")
        .with("sys/fs/cgroup/memory/pod/app/memory.usage_in_bytes", "805306368\n")
        .with("sys/fs/cgroup/memory/pod/app/memory.stat", "inactive_file 1\ntotal_inactive_file 268435456\n");
    assert_eq!(machine.memory(), Memory { used: 512 * MIB, limit: GIB, source: Source::Cgroup, swap: None });
}

#[test]
fn version_1s_huge_number_is_no_limit() {
    let machine = v1()
        .with("sys/fs/cgroup/memory/pod/app/memory.limit_in_bytes", "9223372036854771712\n")
        .with("sys/fs/cgroup/memory/pod/app/memory.usage_in_bytes", "805306368\n");
    assert_eq!(machine.memory().source, Source::Host);
}

#[test]
fn in_a_container_of_version_1_the_mount_is_the_own_group() {
    let mount = "35 31 0:32 /docker/1234 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    let machine = Machine::new()
        .with("proc/self/cgroup", "4:memory:/docker/1234\n")
        .with("proc/self/mountinfo", mount)
        .with("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n")
        .with("sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n");
    assert!((machine.memory().usage() - 1.0).abs() < 1e-9);
}

#[test]
fn on_a_hybrid_machine_a_controller_that_moved_to_version_2_is_found_there() {
    let machine = v1()
        .with("proc/self/cgroup", "1:cpu:/pod/app\n0::/pod/app\n")
        .with("sys/fs/cgroup/unified/pod/app/memory.max", "1073741824\n")
        .with("sys/fs/cgroup/unified/pod/app/memory.current", "536870912\n");
    assert_eq!(machine.memory().source, Source::Cgroup);
}

/// The usage between two samples of a machine that changes in between, `elapsed` apart.
#[test]
fn swap_is_that_of_the_group_within_what_the_machine_has() {
    let swap = |machine: Machine| machine.memory().swap.map(|swap| (swap.used, swap.limit));
    assert_eq!(swap(Machine::new()), None);
    let meminfo = format!("{MEMINFO}SwapTotal:       2097152 kB\nSwapFree:        1572864 kB\n");
    assert_eq!(swap(Machine::new().with("proc/meminfo", &meminfo)), Some((512 * MIB, 2 * GIB)));

    let group = |machine: Machine, files: &[(&str, u64)]| {
        files.iter().fold(machine.with("proc/meminfo", &meminfo), |machine, (file, bytes)| {
            machine.with(&format!("sys/fs/cgroup/{file}"), bytes.to_string())
        })
    };
    let limited =
        [("pod/app/memory.max", GIB), ("pod/app/memory.current", MIB), ("pod/app/memory.swap.current", 5 * MIB)];
    let without_limit = group(v2(), &limited).with("sys/fs/cgroup/pod/app/memory.swap.max", "max\n");
    assert_eq!(swap(without_limit), Some((5 * MIB, 2 * GIB)));
    let with_limit = group(v2(), &limited).with("sys/fs/cgroup/pod/app/memory.swap.max", (64 * MIB).to_string());
    assert_eq!(swap(with_limit), Some((5 * MIB, 64 * MIB)));
    let forbidden = group(v2(), &limited).with("sys/fs/cgroup/pod/app/memory.swap.max", "0\n");
    assert_eq!(swap(forbidden), None);

    let of_both = |memory: u64, both: u64| {
        let folder = "memory/pod/app";
        let files = [("memory.limit_in_bytes", GIB), ("memory.usage_in_bytes", memory)];
        let both = [("memory.memsw.limit_in_bytes", GIB + 32 * MIB), ("memory.memsw.usage_in_bytes", both)];
        let files: Vec<_> =
            files.iter().chain(&both).map(|(file, bytes)| (format!("{folder}/{file}"), *bytes)).collect();
        let files: Vec<_> = files.iter().map(|(file, bytes)| (file.as_str(), *bytes)).collect();
        swap(group(v1(), &files))
    };
    assert_eq!(of_both(10 * MIB, 14 * MIB), Some((4 * MIB, 32 * MIB)));
    assert_eq!(of_both(10 * MIB, 9 * MIB), Some((0, 32 * MIB)), "two files are not read at one instant");
}

#[test]
fn descriptors_are_those_of_a_process_or_of_the_machine() {
    let limits = "Limit  Soft  Hard  Units\nMax open files            unlimited   unlimited   files\n";
    let machine = Machine::new()
        .with("proc/42/fd/0", "")
        .with("proc/42/limits", limits)
        .with("proc/sys/fs/file-nr", "1335\t0\t4000\n");
    let of_42 = Descriptors::of_process(&machine.root(), 42).unwrap();
    assert!(of_42.open > 0 && of_42.limit.is_none() && of_42.usage() < f64::EPSILON, "{of_42:?}");
    assert_eq!(Descriptors::of_process(&machine.root(), 43).unwrap_err().code(), "system.io");
    let all = Descriptors::of_machine(&machine.root()).unwrap();
    assert_eq!((all.open, all.limit), (1335, Some(4000)));
    assert!((all.usage() - 0.33375).abs() < 1e-9);
    let strange = machine.with("proc/sys/fs/file-nr", "1335 0");
    assert_eq!(Descriptors::of_machine(&strange.root()).unwrap_err().code(), "system.malformed");

    // Tests run beside each other and may open as many as they please, so only a lower bound holds.
    let held: Vec<fs::File> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
    let own = Descriptors::of_self(&SystemRoot::default()).unwrap();
    assert!(own.open >= held.len() as u64 && own.limit.is_none_or(|limit| limit >= own.open), "{own:?}");
}

fn cpu_usage(machine: Machine, change: impl FnOnce(Machine) -> Machine, elapsed: Duration) -> Option<CpuUsage> {
    let earlier = CpuSample::read(&machine.root()).unwrap();
    let machine = change(machine);
    let later = CpuSample::read(&machine.root()).unwrap().taken_after(&earlier, elapsed);
    later.since(&earlier)
}

#[test]
fn without_a_quota_the_processors_are_the_machines() {
    let usage = cpu_usage(
        Machine::new(),
        // 100 more ticks: 60 of them busy, 30 idle, 10 waiting for a disk.
        |machine| machine.with("proc/stat", "cpu  140 5 55 830 60 2 3 5 9 9\ncpu0 1\ncpu1 1\n"),
        Duration::from_secs(1),
    );
    let usage = usage.unwrap();
    assert!((usage.usage - 0.6).abs() < 1e-9, "{usage:?}");
    assert_eq!((usage.cores, usage.throttled, usage.source), (2.0, None, Source::Host));
}

#[test]
fn a_quota_of_version_2_is_what_usage_is_measured_against() {
    let machine = v2()
        .with("sys/fs/cgroup/pod/app/cpu.max", "50000 100000\n")
        .with("sys/fs/cgroup/pod/app/cpu.stat", "usage_usec 1000\nnr_periods 10\nnr_throttled 1\n");
    let usage = cpu_usage(
        machine,
        |machine| {
            let statistics = "usage_usec 401000\nnr_periods 20\nnr_throttled 6\nthrottled_usec 9\n";
            machine.with("sys/fs/cgroup/pod/app/cpu.stat", statistics)
        },
        Duration::from_secs(1),
    );
    let usage = usage.unwrap();
    assert!((usage.usage - 0.8).abs() < 1e-6, "{usage:?}");
    assert_eq!((usage.cores, usage.throttled, usage.source), (0.5, Some(0.5), Source::Cgroup));
}

#[test]
fn a_quota_of_version_1_is_accounted_in_another_tree() {
    let machine = v1()
        .with("sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us", "150000\n")
        .with("sys/fs/cgroup/cpu/pod/cpu.cfs_period_us", "100000\n")
        .with("sys/fs/cgroup/cpu/pod/app/cpu.cfs_quota_us", "-1\n")
        .with("sys/fs/cgroup/cpu/pod/app/cpu.cfs_period_us", "100000\n")
        .with("sys/fs/cgroup/cpuacct/pod/cpuacct.usage", "0\n");
    let usage = cpu_usage(
        machine,
        |machine| machine.with("sys/fs/cgroup/cpuacct/pod/cpuacct.usage", "1500000000\n"),
        Duration::from_secs(2),
    );
    let usage = usage.unwrap();
    assert!((usage.usage - 0.5).abs() < 1e-6, "{usage:?}");
    assert_eq!((usage.cores, usage.source), (1.5, Source::Cgroup));
}

#[test]
fn counters_that_stand_still_make_no_reading() {
    assert_eq!(cpu_usage(Machine::new(), |machine| machine, Duration::from_secs(1)), None);
}

#[test]
fn a_process_whose_name_holds_parentheses_is_read() {
    let statistics = "7 (a) b) (c) S 1 7 7 0 -1 4194304 103 0 0 0 250 50 0 0 20 0 9 0 1200 2998272 420 0\n";
    let machine = Machine::new()
        .with("proc/self/stat", statistics)
        .with("proc/self/fd/0", "")
        .with("proc/self/limits", "Limit  Soft  Hard  Units\nMax open files            1024   4096   files\n");
    let process = Process::read(&machine.root()).unwrap();
    let tick = 1.0 / rustix::param::clock_ticks_per_second() as f64;
    assert_eq!(process.threads, 9);
    assert_eq!(process.virtual_bytes, 2_998_272);
    assert_eq!(process.resident_bytes, 420 * rustix::param::page_size() as u64);
    assert_eq!(process.max_fds, Some(1024));
    assert_eq!(process.cpu, Duration::from_secs_f64(300.0 * tick));
    let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    assert_eq!(process.start_time, started + Duration::from_secs_f64(1_200.0 * tick));
}

#[test]
fn a_missing_or_strange_file_is_named() {
    let machine = Machine::new().with("proc/meminfo", "nothing of use").with("proc/loadavg", "0.5 0.4\n");
    let error = Memory::read(&machine.root()).unwrap_err();
    assert_eq!(error.code(), "system.malformed");
    assert!(error.to_string().ends_with("proc/meminfo: no MemTotal and MemAvailable"), "{error}");
    assert_eq!(LoadAverage::read(&machine.root()).unwrap_err().code(), "system.malformed");
    assert_eq!(Process::read(&machine.root()).unwrap_err().code(), "system.io");
}

#[test]
fn an_endless_file_is_read_to_a_limit() {
    assert_eq!(read(Path::new("/dev/zero")).unwrap().len() as u64, MOST_OF_A_FILE);
}

#[test]
fn this_machine_can_be_read() {
    let root = SystemRoot::default();
    let memory = Memory::read(&root).unwrap();
    assert!(memory.used > 0 && memory.used < memory.limit, "{memory:?}");
    let load = LoadAverage::read(&root).unwrap();
    assert!(load.one >= 0.0 && load.fifteen >= 0.0);

    let process = Process::read(&root).unwrap();
    let held: Vec<fs::File> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
    let later = Process::read(&root).unwrap();
    // Tests run beside each other and may close as many as they please, so only a lower bound holds.
    assert!(later.open_fds >= held.len() as u64, "{later:?}");
    assert!(process.resident_bytes > MIB && process.threads >= 1, "{process:?}");
    let age = SystemTime::now().duration_since(process.start_time).unwrap_or_default();
    assert!(age < Duration::from_secs(3_600), "started {age:?} ago");

    let earlier = CpuSample::read(&root).unwrap();
    // Time spent waiting for a disk can be counted backwards, and then all of it may not have grown yet.
    let usage = std::iter::repeat_with(|| CpuSample::read(&root).unwrap())
        .take_while(|later| later.taken().duration_since(earlier.taken()) < Duration::from_secs(20))
        .filter(|later| later.taken().duration_since(earlier.taken()) > Duration::from_millis(50))
        .find_map(|later| later.since(&earlier))
        .unwrap();
    assert!((0.0..=1.0).contains(&usage.usage) && usage.cores > 0.0, "{usage:?}");

    let disk = Disk::read(Path::new("/")).unwrap();
    assert!(disk.total >= disk.free && disk.free >= disk.available, "{disk:?}");
    assert!((0.0..=1.0).contains(&disk.free_ratio()));
    assert_eq!(Disk::read(Path::new("/no/such/path")).unwrap_err().code(), "system.io");
}

#[test]
fn a_file_system_without_size_is_never_full() {
    let disk = Disk::read(Path::new("/proc")).unwrap();
    assert_eq!(disk.total, 0);
    assert!((disk.free_ratio() - 1.0).abs() < 1e-9);
    assert_eq!(disk.inodes_free_ratio(), None);
}

#[test]
fn permissions_are_what_opening_would_show() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for mode in [0o000, 0o400, 0o200, 0o600] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let permissions = Permissions::of(&file);
        assert_eq!(permissions.read, fs::File::open(&file).is_ok(), "{mode:o}");
        assert_eq!(permissions.write, fs::OpenOptions::new().write(true).open(&file).is_ok(), "{mode:o}");
    }
    assert_eq!(Permissions::of(folder.path()), Permissions { read: true, write: true });
    assert_eq!(Permissions::of(Path::new("/no/such/path")), Permissions { read: false, write: false });
}

proptest! {
    #[test]
    fn no_content_makes_a_reading_panic(content in r"[0-9a-z:/,(). \n-]{0,200}") {
        let files = ["proc/meminfo", "proc/stat", "proc/loadavg", "proc/self/stat", "proc/self/limits",
            "proc/self/cgroup", "proc/self/mountinfo", "proc/self/fd/0", "proc/sys/fs/file-nr", "proc/pressure/cpu", "proc/7/stat"];
        let machine = files.iter().fold(Machine::new(), |machine, file| machine.with(file, &content));
        let _ = Memory::read(&machine.root());
        let _ = Process::read(&machine.root());
        let _ = LoadAverage::read(&machine.root());
        let _ = Descriptors::of_machine(&machine.root());
        let _ = Pressure::read(&machine.root(), Resource::Cpu);
        let _ = Processes::list(&machine.root()).unwrap().count();
        if let Ok(sample) = CpuSample::read(&machine.root()) {
            let _ = sample.since(&sample);
        }
    }
}
