//! The thread that reads, and the books of what there is to read.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::system::figures::Filesystem;
use crate::system::kept::Buffer;
use crate::system::readers::{Figures, Mounted, Reader, room};

use super::{ReadingState, Readings, Shared};

/// The name of the reading of all file systems.
const FILESYSTEMS: &str = "filesystems";

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) units: Vec<Unit>,
    /// One that is not held up.
    pub(super) has_helper: bool,
    pub(super) is_closing: bool,
}

/// One thing to read.
pub(super) struct Unit {
    name: &'static str,
    /// Set for a file system.
    mounted: Option<Mounted>,
    phase: Phase,
    /// With whoever reads.
    reader: Option<Box<dyn Reader>>,
    latest: Figures,
    /// What was the latest before, for its room.
    spare: Figures,
    read: Option<Instant>,
    errors: u64,
    has_failed: bool,
    /// Not mounted any more, and still held up.
    is_gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Wanted,
    /// Since then.
    Running(Instant),
    /// Past its deadline, with a helper that does nothing else.
    HeldUp,
}

impl fmt::Debug for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Unit").field("name", &self.name).field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Unit {
    pub(super) fn new(name: &'static str, reader: Box<dyn Reader>) -> Self {
        Self {
            name,
            mounted: None,
            phase: Phase::Idle,
            reader: Some(reader),
            latest: Figures::None,
            spare: Figures::None,
            read: None,
            errors: 0,
            has_failed: false,
            is_gone: false,
        }
    }

    /// The capacity of both lists of disks, in either order.
    #[cfg(test)]
    pub(super) fn room_of_list(&self) -> Option<usize> {
        match (&self.latest, &self.spare) {
            (Figures::Disks(latest), Figures::Disks(spare)) => Some(latest.capacity() + spare.capacity()),
            _ => None,
        }
    }

    fn fail(&mut self) {
        self.errors = self.errors.saturating_add(1);
        self.has_failed = true;
    }
}

impl State {
    /// Asks for what is wanted. What is held up has failed once more.
    pub(super) fn want(&mut self, is_wanted: fn(&str) -> bool) {
        for unit in self.units.iter_mut().filter(|unit| is_wanted(unit.name)) {
            match unit.phase {
                Phase::Idle => unit.phase = Phase::Wanted,
                Phase::HeldUp => unit.fail(),
                Phase::Wanted | Phase::Running(_) => {}
            }
        }
    }

    /// Whether there is nothing to wait for.
    pub(super) fn is_idle(&self) -> bool {
        self.units.iter().all(|unit| matches!(unit.phase, Phase::Idle | Phase::HeldUp))
    }

    /// What the helper reads now, and since when.
    pub(super) fn current(&self) -> Option<(usize, Instant)> {
        self.units.iter().enumerate().find_map(|(index, unit)| match unit.phase {
            Phase::Running(since) => Some((index, since)),
            _ => None,
        })
    }

    /// The helper is taken to be lost to this reading.
    pub(super) fn hold_up(&mut self, index: usize) {
        if let Some(unit) = self.units.get_mut(index) {
            unit.phase = Phase::HeldUp;
            unit.fail();
            self.has_helper = false;
        }
    }

    pub(super) fn held_up(&self) -> usize {
        self.units.iter().filter(|unit| unit.phase == Phase::HeldUp).count()
    }

    /// Nobody reads what is left.
    pub(super) fn abandon_wanted(&mut self) {
        for unit in self.units.iter_mut().filter(|unit| unit.phase == Phase::Wanted) {
            unit.phase = Phase::Idle;
            unit.fail();
        }
    }

    /// Has the file systems be those that are mounted now, and reads those that are new.
    fn set_mounts(&mut self, mounts: Vec<Mounted>) {
        for unit in &mut self.units {
            unit.is_gone = unit.mounted.as_ref().is_some_and(|mounted| !mounts.contains(mounted));
        }
        self.units.retain(|unit| !unit.is_gone || unit.phase == Phase::HeldUp);
        for mounted in mounts {
            if !self.units.iter().any(|unit| unit.mounted.as_ref() == Some(&mounted)) {
                let unit = Unit::new(FILESYSTEMS, room(&mounted.mountpoint));
                self.units.push(Unit { mounted: Some(mounted), phase: Phase::Wanted, ..unit });
            }
        }
    }

    pub(super) fn readings(&self, stale_after: Duration, is_wanted: fn(&str) -> bool) -> Readings {
        let mut readings = Readings::default();
        for unit in self.units.iter().filter(|unit| !unit.is_gone && is_wanted(unit.name)) {
            let age = unit.read.map(|read| read.elapsed());
            count(&mut readings.states, ReadingState { reading: unit.name, age, errors: unit.errors });
            let is_fresh = age.is_some_and(|age| age <= stale_after);
            let latest = if is_fresh { unit.latest.clone() } else { Figures::None };
            if let Some(Mounted { mountpoint, device, kind, .. }) = unit.mounted.clone() {
                let room = if let Figures::Room(room) = latest { Some(room) } else { None };
                readings.filesystems.push(Filesystem { mountpoint, device, kind, room, answers: !unit.has_failed });
                continue;
            }
            match latest {
                Figures::Cpu(cpu) => readings.cpu = Some(cpu),
                Figures::Memory(memory) => readings.memory = Some(memory),
                Figures::Disks(disks) => readings.disks = disks,
                Figures::Interfaces(interfaces) => readings.interfaces = interfaces,
                Figures::Processes(processes) => readings.processes = Some(processes),
                Figures::Pressure(pressure) => readings.pressure = pressure.into_iter().flatten().collect(),
                Figures::Descriptors(descriptors) => readings.descriptors = Some(descriptors),
                Figures::Process(process) => readings.process = Some(process),
                Figures::None | Figures::Mounts(_) | Figures::Room(_) => {}
            }
        }
        readings
    }
}

/// All file systems are one reading, as old as the oldest of them.
fn count(states: &mut Vec<ReadingState>, one: ReadingState) {
    match states.iter_mut().find(|state| state.reading == one.reading) {
        Some(state) => {
            state.errors = state.errors.saturating_add(one.errors);
            state.age = state.age.zip(one.age).map(|(left, right)| left.max(right));
        }
        None => states.push(one),
    }
}

/// Reads what is wanted, until it is held up for too long or nobody is left to want anything.
pub(super) fn work(shared: &Arc<Shared>) {
    let mut buffer = Buffer::default();
    let mut state = shared.lock();
    loop {
        if state.is_closing {
            return;
        }
        let next = state.units.iter_mut().find_map(|unit| {
            let reader = (unit.phase == Phase::Wanted).then(|| unit.reader.take())??;
            Some((unit, reader))
        });
        let Some((unit, mut reader)) = next else {
            shared.done.notify_all();
            state = shared.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let (name, mounted) = (unit.name, unit.mounted.clone());
        let mut figures = std::mem::take(&mut unit.spare);
        unit.phase = Phase::Running(Instant::now());
        drop(state);

        let outcome = reader.read(&mut buffer, &mut figures);
        // A reading is as old as its end is long ago, also where nobody waited for it any more.
        let read = Instant::now();
        // Before the lock: whoever takes the line may take long.
        if let Err(error) = &outcome {
            tracing::debug!(target: "wellkept::system", code = error.code(), "{error}");
        }

        state = shared.lock();
        let Some(index) = state.units.iter().position(|unit| unit.name == name && unit.mounted == mounted) else {
            continue;
        };
        let Some(unit) = state.units.get_mut(index) else { continue };
        let was_held_up = unit.phase == Phase::HeldUp;
        unit.reader = Some(reader);
        unit.phase = Phase::Idle;
        let mut mounts = None;
        match outcome {
            Ok(()) => {
                unit.has_failed = false;
                unit.read = Some(read);
                if let Figures::Mounts(list) = &mut figures {
                    mounts = list.take();
                }
                unit.spare = std::mem::replace(&mut unit.latest, figures);
            }
            Err(_) => unit.fail(),
        }
        if unit.is_gone {
            state.units.swap_remove(index);
        }
        if let Some(mounts) = mounts {
            state.set_mounts(mounts);
        }
        if was_held_up {
            if state.has_helper {
                return;
            }
            state.has_helper = true;
        }
    }
}
