//! Processes, descriptors, and what this process uses.

use std::fs::File;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::fs::{RawDir, SeekFrom, seek};

use super::{Buffer, Figures, Following, GroupsCell, Kept, Reader, ReadingError, SystemRoot};
use crate::system::cgroup::{Cgroups, Groups};
use crate::system::figures::ProcessFigures;
use crate::system::process::{LIMIT, Statistics, WHAT, open_fds, parse_max_fds, start_time, ticks};
use crate::system::{Descriptors, Process};

/// Most processes that are counted.
const MOST_PROCESSES: u64 = 1 << 20;

pub(super) struct ProcessesReader {
    path: PathBuf,
    folder: Option<File>,
    load: Kept,
    group: Following<[Kept; 2]>,
}

impl ProcessesReader {
    pub(super) fn new(root: &SystemRoot, groups: GroupsCell) -> Self {
        let files = |groups: &Cgroups| {
            let (Groups::V1(folders) | Groups::V2(folders)) = groups.narrower("pids")?;
            let own = folders.first()?;
            Some([Kept::new(own.join("pids.current")), Kept::new(own.join("pids.max"))])
        };
        let (path, load) = (root.proc(""), Kept::new(root.proc("loadavg")));
        Self { path, folder: None, load, group: Following::new(groups, files) }
    }

    fn count(&mut self) -> std::io::Result<u64> {
        let folder = match &mut self.folder {
            Some(folder) => folder,
            none => none.insert(File::open(&self.path)?),
        };
        seek(&*folder, SeekFrom::Start(0))?;
        let mut space = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(&*folder, &mut space);
        let mut count = 0;
        while let Some(entry) = entries.next() {
            let is_process = entry?.file_name().to_bytes().first().is_some_and(u8::is_ascii_digit);
            count += u64::from(is_process);
            if count >= MOST_PROCESSES {
                break;
            }
        }
        Ok(count)
    }
}

impl Reader for ProcessesReader {
    fn read(&mut self, buffer: &mut Buffer, figures: &mut Figures) -> Result<(), ReadingError> {
        let processes = self.count().map_err(|source| ReadingError::Io { path: self.path.clone(), source })?;
        // The fourth word: threads that run, and all of them.
        let load = self.load.try_read(buffer);
        let threads = load.and_then(|text| text.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok());
        let (group_threads, group_threads_limit) = match self.group.current() {
            Some([current, most]) => (current.number(buffer), most.number(buffer)),
            None => (None, None),
        };
        *figures = Figures::Processes(ProcessFigures { processes, threads, group_threads, group_threads_limit });
        Ok(())
    }
}

/// Files that the whole machine has open.
pub(super) struct DescriptorsReader(Kept);

impl DescriptorsReader {
    pub(super) fn new(root: &SystemRoot) -> Self {
        Self(Kept::new(root.proc("sys/fs/file-nr")))
    }
}

impl Reader for DescriptorsReader {
    fn read(&mut self, buffer: &mut Buffer, figures: &mut Figures) -> Result<(), ReadingError> {
        let parsed = Descriptors::parse(self.0.read(buffer)?);
        *figures = Figures::Descriptors(parsed.ok_or_else(|| self.0.malformed(Descriptors::WHAT))?);
        Ok(())
    }
}

/// What this process uses.
#[derive(Debug)]
pub(crate) struct ProcessReader {
    root: SystemRoot,
    statistics: Kept,
    limits: Kept,
    folder: PathBuf,
    /// It does not change.
    started: Option<SystemTime>,
}

impl ProcessReader {
    pub(crate) fn new(root: &SystemRoot) -> Self {
        Self {
            root: root.clone(),
            statistics: Kept::new(root.proc("self/stat")),
            limits: Kept::new(root.proc("self/limits")),
            folder: root.proc("self/fd"),
            started: None,
        }
    }

    pub(crate) fn read_process(&mut self, buffer: &mut Buffer) -> Result<Process, ReadingError> {
        let parsed = Statistics::parse(self.statistics.read(buffer)?);
        let statistics = parsed.ok_or_else(|| self.statistics.malformed(WHAT))?;
        let parsed = parse_max_fds(self.limits.read(buffer)?);
        let most = parsed.ok_or_else(|| self.limits.malformed(LIMIT))?;
        let started = match self.started {
            Some(started) => started,
            None => *self.started.insert(start_time(&self.root, ticks(statistics.started))?),
        };
        Ok(statistics.with(open_fds(&self.folder)?, most, started))
    }
}

impl Reader for ProcessReader {
    fn read(&mut self, buffer: &mut Buffer, figures: &mut Figures) -> Result<(), ReadingError> {
        *figures = Figures::Process(self.read_process(buffer)?);
        Ok(())
    }
}
