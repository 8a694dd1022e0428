//! What the readings hold when the kernel answers, and when it does not.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::system::tests::{Machine, V2_MOUNT};
use crate::system::{CpuTimes, Resource, Source, SystemRoot};

const GROUP: &str = "sys/fs/cgroup/pod/app";

fn machine() -> Machine {
    Machine::new()
        .with("proc/self/cgroup", "0::/pod/app\n")
        .with("proc/self/mountinfo", format!("{V2_MOUNT}22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"))
        .with("proc/loadavg", "0.50 0.25 0.10 2/345 999\n")
        .with("proc/diskstats", "   8 0 sda 10 0 16 5 20 0 32 6 1 7 11 0 0 0 0\n   8 1 sda1 1 0 1 1 1 0 1 1 0 1 1\n")
        .with(
            "proc/self/net/dev",
            "Inter-| Receive\n face |bytes\n  eth0: 100 2 3 4 0 0 0 0 200 5 6 7 0 0 0 0\nveth1: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n",
        )
        .with("proc/sys/fs/file-nr", "1335\t0\t4000\n")
        .with("proc/pressure/io", "some avg10=0.00 avg60=0.00 avg300=0.00 total=3000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=2000000\n")
        .with(&format!("{GROUP}/cgroup.type"), "domain\n")
        .with(&format!("{GROUP}/cpu.stat"), "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 8\nnr_throttled 2\nthrottled_usec 500000\n")
        .with(&format!("{GROUP}/cpu.max"), "150000 100000\n")
        .with(&format!("{GROUP}/memory.max"), "1073741824\n")
        .with(&format!("{GROUP}/memory.current"), "805306368\n")
        .with(&format!("{GROUP}/memory.stat"), "anon 1\ninactive_file 268435456\n")
        .with(&format!("{GROUP}/memory.swap.current"), "4096\n")
        .with(&format!("{GROUP}/memory.events"), "low 0\noom 2\noom_kill 1\n")
        .with(&format!("{GROUP}/io.stat"), "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n9:9 rbytes=1\n")
        .with(&format!("{GROUP}/pids.current"), "12\n")
        .with(&format!("{GROUP}/pids.max"), "max\n")
        .with(&format!("{GROUP}/io.pressure"), "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n")
}

fn system(root: SystemRoot) -> System {
    System::new(&SystemOptions { root, ..SystemOptions::default() })
}

/// A file at which every reader waits until somebody writes.
fn hang(root: &Path, file: &str) -> PathBuf {
    let path = root.join(file);
    if path.exists() {
        fs::remove_file(&path).unwrap();
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    path
}

/// Lets who waits there go on.
fn release(path: &Path) {
    drop(OpenOptions::new().write(true).open(path).unwrap());
}

#[test]
fn the_machine_and_the_group_are_read_side_by_side() {
    let machine = machine();
    let readings = system(machine.root()).read();

    let cpu = readings.cpu.unwrap();
    let tick = Duration::from_secs(1) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap();
    assert_eq!(
        CpuTimes::MODES.into_iter().zip(cpu.times.by_mode).find(|(mode, _)| *mode == "idle").unwrap().1,
        tick * 800
    );
    assert_eq!((cpu.cores, cpu.context_switches, cpu.load.unwrap().five), (2, 5, 0.25));
    let group = cpu.group.unwrap();
    assert_eq!((group.user, group.system), (Duration::from_micros(20), Duration::from_micros(10)));
    assert_eq!((group.cores, group.periods, group.throttled_periods), (Some(1.5), 8, 2));
    assert_eq!(group.throttled, Duration::from_millis(500));

    let memory = readings.memory.unwrap();
    assert_eq!((memory.total, memory.available), (8 << 30, 6 << 30));
    let group = memory.group.unwrap();
    assert_eq!(
        (group.used, group.limit, group.swap_used, group.oom_kills),
        (512 << 20, Some(1 << 30), Some(4096), Some(1))
    );

    let disks: Vec<_> =
        readings.disks.iter().map(|disk| (disk.device.as_str(), disk.of_group, disk.read_bytes, disk.writes)).collect();
    assert_eq!(disks, [("sda", false, 8192, 20), ("sda", true, 4096, 2)]);
    assert_eq!(readings.disks[0].times.unwrap().busy, Duration::from_millis(7));
    let [eth0] = readings.interfaces.as_slice() else { panic!("{:?}", readings.interfaces) };
    assert_eq!((eth0.name.as_str(), eth0.received.bytes, eth0.sent.dropped), ("eth0", 100, 7));
    let processes = readings.processes.unwrap();
    assert_eq!(
        (processes.threads, processes.group_threads, processes.group_threads_limit),
        (Some(345), Some(12), None)
    );
    assert_eq!(readings.descriptors.unwrap().open, 1335);
    let pressure: Vec<_> = readings
        .pressure
        .iter()
        .map(|one| (one.resource, one.source, one.some.as_micros(), one.full.is_some()))
        .collect();
    assert_eq!(pressure, [(Resource::Io, Source::Host, 3_000_000, true), (Resource::Io, Source::Cgroup, 7, false)]);
    assert_eq!(&*readings.filesystems[0].mountpoint, "/");
    assert!(readings.filesystems[0].room.is_some_and(|room| room.total > 0));
}

#[test]
fn a_process_that_is_moved_is_read_in_its_new_group_and_one_that_is_gone_leaves_the_machine() {
    let machine = machine();
    let system = system(machine.root());
    assert_eq!(system.read().memory.unwrap().group.unwrap().limit, Some(1 << 30));
    let machine = machine
        .with("sys/fs/cgroup/other/cgroup.type", "domain\n")
        .with("sys/fs/cgroup/other/memory.max", "2147483648\n")
        .with("sys/fs/cgroup/other/memory.current", "1\n")
        .with("proc/self/cgroup", "0::/other\n");
    assert_eq!(system.read().memory.unwrap().group.unwrap().limit, Some(2 << 30));
    let machine = machine.with("proc/self/cgroup", "0::/gone\n");
    let memory = system.read().memory.unwrap();
    assert_eq!((memory.group, memory.total), (None, 8 << 30));
    drop(machine);
}

#[test]
fn a_reading_that_hangs_holds_up_no_other_and_no_more_than_one_thread() {
    let machine = machine();
    let root = machine.root();
    let path = hang(&root.proc(""), "diskstats");
    // Long enough for all that does not hang, also on a machine that has other things to do.
    let deadline = Duration::from_millis(250);
    let own = System::new(&SystemOptions { root: root.clone(), deadline, ..SystemOptions::default() });
    let began = Instant::now();
    for round in 1..=100 {
        let readings = own.read();
        assert!(readings.disks.is_empty() && readings.memory.is_some() && readings.process.is_none());
        let disks = readings.states.iter().find(|state| state.reading == "disks").unwrap();
        assert_eq!((disks.age, disks.errors), (None, round));
    }
    assert!(began.elapsed() < 40 * deadline, "one deadline in all, and not one for each: {:?}", began.elapsed());
    let state = own.0.0.lock();
    assert_eq!((state.held_up(), state.has_helper), (1, true));
    drop(state);

    release(&path);
    let until = Instant::now() + Duration::from_secs(20);
    while own.0.0.lock().held_up() > 0 && Instant::now() < until {
        std::thread::yield_now();
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, "   8 0 sda 10 0 16 5 20 0 32 6 1 7 11 0 0 0 0\n").unwrap();
    assert_eq!(own.read().disks.len(), 2, "it is asked again once it has come back");
}

#[test]
fn of_readings_that_all_hang_only_so_many_hold_a_thread_and_the_rest_goes_without() {
    let machine = machine();
    let names = [
        "self/cgroup",
        "stat",
        "meminfo",
        "diskstats",
        "self/net/dev",
        "loadavg",
        "pressure/cpu",
        "sys/fs/file-nr",
        "self/stat",
        "self/mountinfo",
    ];
    let folder = machine.root().proc("");
    for name in names {
        hang(&folder, name);
    }
    let deadline = Duration::from_millis(5);
    let own = System::new(&SystemOptions { root: machine.root(), deadline, ..SystemOptions::default() });
    for round in 1..=3 {
        let readings = own.read();
        assert!(readings.cpu.is_none() && readings.process.is_none() && readings.filesystems.is_empty());
        assert!(readings.states.iter().all(|state| state.errors == round), "{:?}", readings.states);
        assert_eq!(own.0.0.lock().held_up(), MOST_HELD_UP);
    }
    for name in names {
        // Those that nobody waits at can't be opened so.
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
        drop(OpenOptions::new().write(true).custom_flags(flags).open(folder.join(name)));
    }
}

#[test]
fn figures_of_an_earlier_reading_are_shown_until_they_are_stale() {
    let machine = machine();
    let root = machine.root();
    let of = |stale_after| System::new(&SystemOptions { root: root.clone(), stale_after, ..SystemOptions::default() });
    let (patient, impatient) = (of(Duration::from_secs(60)), of(Duration::ZERO));
    assert!(patient.read().memory.is_some());
    impatient.read();
    let machine = machine.with("proc/meminfo", "nothing of use");
    let (kept, gone) = (patient.read(), impatient.read());
    assert_eq!(kept.memory.map(|memory| memory.total), Some(8 << 30));
    assert_eq!(gone.memory, None);
    let state = kept.states.iter().find(|state| state.reading == "memory").unwrap();
    assert_eq!(state.errors, 1);
    assert!(state.age.is_some());
    drop(machine);
}

#[test]
fn the_helper_ends_with_the_last_clone() {
    let machine = machine();
    let system = system(machine.root());
    system.read();
    let shared = Arc::downgrade(&system.0.0);
    drop(system.clone());
    assert!(shared.upgrade().is_some());
    drop(system);
    let until = Instant::now() + Duration::from_secs(20);
    while shared.upgrade().is_some() && Instant::now() < until {
        std::thread::yield_now();
    }
    assert!(shared.upgrade().is_none());
}

#[test]
fn lists_keep_their_room_from_one_reading_to_the_next() {
    let machine = machine();
    let system = system(machine.root());
    let room = |system: &System| {
        let state = system.0.0.lock();
        state.units.iter().find_map(Unit::room_of_list).unwrap()
    };
    system.read();
    system.read();
    let (first, _) = (room(&system), system.read());
    system.read();
    assert_eq!(room(&system), first);
}

#[test]
fn this_machine_is_read() {
    // A busy machine may be slow to answer.
    let system = System::new(&SystemOptions { deadline: Duration::from_secs(2), ..SystemOptions::default() });
    let held: Vec<fs::File> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
    let readings = system.read();
    let memory = readings.memory.unwrap();
    assert!(memory.total > memory.available && memory.available > 0, "{memory:?}");
    let cpu = readings.cpu.unwrap();
    assert!(cpu.cores > 0 && cpu.times.by_mode.iter().sum::<Duration>() > Duration::from_secs(1), "{cpu:?}");
    assert!(readings.processes.unwrap().processes >= 1);
    assert!(readings.process.unwrap().open_fds >= held.len() as u64);
    let root = readings.filesystems.iter().find(|one| &*one.mountpoint == "/").unwrap();
    assert!(root.answers && root.room.is_some_and(|room| room.total > 0), "{root:?}");
    let failed: Vec<_> = readings.states.iter().filter(|state| state.errors > 0).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
