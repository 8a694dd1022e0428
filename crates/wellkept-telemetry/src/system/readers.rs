//! What reads each group of figures from files that are kept open. Each of these belongs to one thread at a time.

mod cpu;
mod disks;
mod memory;
mod mounts;
mod network;
mod pressure;
mod process;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cgroup::Cgroups;
use super::figures::{CpuFigures, DiskIo, Interface, MemoryFigures, ProcessFigures, Stalled};
use super::kept::{Buffer, Kept};
use super::{Descriptors, Disk, Process, ReadingError, SystemRoot};

pub(super) use mounts::Mounted;
pub(super) use process::ProcessReader;

/// The name of the reading of this process.
pub(super) const PROCESS: &str = "process";
/// Most disks or interfaces that are shown.
const MOST_DEVICES: usize = 64;

/// One group of figures.
pub(super) trait Reader: Send {
    /// Reads them into what an earlier reading may have left. Blocks as long as the kernel does.
    fn read(&mut self, buffer: &mut Buffer, figures: &mut Figures) -> Result<(), ReadingError>;
}

/// What has been read.
#[derive(Debug, Clone, Default)]
pub(super) enum Figures {
    /// Nothing, or nothing to show.
    #[default]
    None,
    Cpu(CpuFigures),
    Memory(MemoryFigures),
    Disks(Vec<DiskIo>),
    Interfaces(Vec<Interface>),
    Processes(ProcessFigures),
    Pressure([Option<Stalled>; 6]),
    Descriptors(Descriptors),
    Process(Process),
    /// `None` while they are the same.
    Mounts(Option<Vec<Mounted>>),
    Room(Disk),
}

/// All readers but those of file systems, by the names of their readings, in the order in which they are asked.
pub(super) fn all(root: &SystemRoot) -> Vec<(&'static str, Box<dyn Reader>)> {
    let groups = GroupsCell::default();
    vec![
        ("groups", Box::new(groups.reader(root))),
        ("cpu", Box::new(cpu::CpuReader::new(root, groups.clone()))),
        ("memory", Box::new(memory::MemoryReader::new(root, groups.clone()))),
        ("disks", Box::new(disks::DisksReader::new(root, groups.clone()))),
        ("network", Box::new(network::NetworkReader::new(root))),
        ("processes", Box::new(process::ProcessesReader::new(root, groups.clone()))),
        ("pressure", Box::new(pressure::PressureReader::new(root, groups))),
        ("descriptors", Box::new(process::DescriptorsReader::new(root))),
        (PROCESS, Box::new(ProcessReader::new(root))),
        ("filesystems", Box::new(mounts::MountsReader::new(root))),
    ]
}

/// Reads the room of one file system.
pub(super) fn room(mountpoint: &Arc<str>) -> Box<dyn Reader> {
    Box::new(Room(Arc::clone(mountpoint)))
}

struct Room(Arc<str>);

impl Reader for Room {
    fn read(&mut self, _: &mut Buffer, figures: &mut Figures) -> Result<(), ReadingError> {
        *figures = Figures::Room(Disk::read(Path::new(&*self.0))?);
        Ok(())
    }
}

/// The control groups of this process, which change when it is moved.
#[derive(Debug, Clone, Default)]
struct GroupsCell(Arc<Mutex<Arc<Cgroups>>>);

impl GroupsCell {
    fn reader(&self, root: &SystemRoot) -> GroupsReader {
        let membership = Kept::new(root.proc("self/cgroup"));
        GroupsReader { root: root.clone(), membership, seen: None, cell: self.clone() }
    }

    fn load(&self) -> Arc<Cgroups> {
        Arc::clone(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Cgroups>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reader keeps of the groups as it last knew them.
#[derive(Debug)]
struct Following<T> {
    cell: GroupsCell,
    seen: Arc<Cgroups>,
    kept: Option<T>,
    make: fn(&Cgroups) -> Option<T>,
}

impl<T> Following<T> {
    fn new(cell: GroupsCell, make: fn(&Cgroups) -> Option<T>) -> Self {
        let seen = cell.load();
        let kept = make(&seen);
        Self { cell, seen, kept, make }
    }

    /// `None` where this process is in no group but the root.
    fn current(&mut self) -> Option<&mut T> {
        let groups = self.cell.load();
        if !Arc::ptr_eq(&groups, &self.seen) {
            self.kept = (self.make)(&groups);
            self.seen = groups;
        }
        self.kept.as_mut()
    }
}

/// Sees when this process is moved to another group.
struct GroupsReader {
    root: SystemRoot,
    membership: Kept,
    seen: Option<String>,
    cell: GroupsCell,
}

impl Reader for GroupsReader {
    fn read(&mut self, buffer: &mut Buffer, _: &mut Figures) -> Result<(), ReadingError> {
        // Not every kernel has groups.
        let text = self.membership.try_read(buffer).unwrap_or_default();
        if self.seen.as_deref() != Some(text) {
            self.seen = Some(text.to_owned());
            *self.cell.lock() = Arc::new(Cgroups::read(&self.root));
        }
        Ok(())
    }
}

/// Whether one more may be.
fn has_room<T>(list: &[T]) -> bool {
    list.len() < MOST_DEVICES
}
