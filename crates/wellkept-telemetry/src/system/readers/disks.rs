//! What the disks have read and written: of the machine, and of the control group.

use std::time::Duration;

use super::{Buffer, Figures, Following, GroupsCell, Kept, Reader, ReadingError, SystemRoot, has_room};
use crate::system::cgroup::Cgroups;
use crate::system::figures::{DeviceName, DiskIo, DiskTimes};

/// The kernel counts in these, whatever a disk's own are.
const SECTOR: u64 = 512;

pub(super) struct DisksReader {
    statistics: Kept,
    group: Following<Kept>,
}

impl DisksReader {
    pub(super) fn new(root: &SystemRoot, groups: GroupsCell) -> Self {
        // Version 1 counts in the order of writes to the page cache, which says little: it is left out.
        let group = |groups: &Cgroups| groups.own().map(|folder| Kept::new(folder.join("io.stat")));
        Self { statistics: Kept::new(root.proc("diskstats")), group: Following::new(groups, group) }
    }
}

impl Reader for DisksReader {
    fn read(&mut self, buffer: &mut Buffer, figures: &mut Figures) -> Result<(), ReadingError> {
        let mut disks = match std::mem::take(figures) {
            Figures::Disks(disks) => disks,
            _ => Vec::new(),
        };
        disks.clear();
        for disk in self.statistics.read(buffer)?.lines().filter_map(disk) {
            if has_room(&disks) {
                disks.push(disk);
            }
        }
        let machine = disks.len();
        let group = self.group.current().and_then(|group| group.try_read(buffer));
        for line in group.unwrap_or_default().lines() {
            if let Some(of_group) = group_disk(line, disks.get(..machine).unwrap_or_default()) {
                disks.push(of_group);
            }
        }
        *figures = Figures::Disks(disks);
        Ok(())
    }
}

/// ` 8 0 sda 1 2 3 4 …`: numbers, name, then four figures of reads, four of writes, and what is under way.
fn disk(line: &str) -> Option<DiskIo> {
    let mut words = line.split_whitespace();
    let number = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let name = words.next().filter(|name| is_whole_disk(name))?;
    let mut counts = words.map_while(|word| word.parse::<u64>().ok());
    let (reads, _merged, read, reading) = (counts.next()?, counts.next()?, counts.next()?, counts.next()?);
    let (writes, _merged, written, writing) = (counts.next()?, counts.next()?, counts.next()?, counts.next()?);
    let (in_progress, busy) = (counts.next()?, counts.next()?);
    Some(DiskIo {
        device: DeviceName::new(name),
        of_group: false,
        read_bytes: read.saturating_mul(SECTOR),
        written_bytes: written.saturating_mul(SECTOR),
        reads,
        writes,
        number,
        times: Some(DiskTimes {
            reading: Duration::from_millis(reading),
            writing: Duration::from_millis(writing),
            busy: Duration::from_millis(busy),
            in_progress,
        }),
    })
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`
fn group_disk(line: &str, disks: &[DiskIo]) -> Option<DiskIo> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let number = (major.parse().ok()?, minor.parse().ok()?);
    let device = disks.iter().find(|disk| disk.number == number)?.device;
    let mut disk = DiskIo { device, number, of_group: true, ..DiskIo::default() };
    for (key, count) in words.filter_map(|word| word.split_once('=')) {
        let place = match key {
            "rbytes" => &mut disk.read_bytes,
            "wbytes" => &mut disk.written_bytes,
            "rios" => &mut disk.reads,
            "wios" => &mut disk.writes,
            _ => continue,
        };
        *place = count.parse().ok()?;
    }
    Some(disk)
}

/// Whether it is neither a part of another (`sda1`, `nvme0n1p2`) nor memory that looks like a disk.
fn is_whole_disk(name: &str) -> bool {
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    if stem.len() == name.len() {
        return true;
    }
    match stem {
        "loop" | "ram" | "zram" | "fd" => false,
        stem if ["sd", "hd", "vd", "xvd"].iter().any(|kind| stem.starts_with(kind)) => false,
        stem => match stem.strip_suffix('p') {
            Some(whole) => !(["nvme", "mmcblk"].iter().any(|kind| whole.starts_with(kind))),
            None => true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_disks_and_memory_that_looks_like_one_are_left_out() {
        for whole in ["sda", "vdb", "xvda", "nvme0n1", "mmcblk0", "dm-0", "md127", "sr0", "nbd0", "drbd1"] {
            assert!(is_whole_disk(whole), "{whole}");
        }
        for part in ["sda1", "vdb12", "xvda3", "nvme0n1p1", "mmcblk0p2", "loop0", "ram15", "zram0", "fd0"] {
            assert!(!is_whole_disk(part), "{part}");
        }
    }
}
