//! Time lost to waiting: of the machine, and of the control group.

use super::{Buffer, Figures, Following, GroupsCell, Kept, Reader, ReadingError, SystemRoot};
use crate::system::cgroup::Cgroups;
use crate::system::figures::Stalled;
use crate::system::pressure::parse;
use crate::system::{Resource, Source};

pub(super) struct PressureReader {
    machine: [Kept; 3],
    group: Following<[Kept; 3]>,
}

impl PressureReader {
    pub(super) fn new(root: &SystemRoot, groups: GroupsCell) -> Self {
        let machine = Resource::ALL.map(|resource| Kept::new(root.proc(&format!("pressure/{}", resource.as_str()))));
        let group = |groups: &Cgroups| {
            let own = groups.own()?;
            Some(Resource::ALL.map(|resource| Kept::new(own.join(format!("{}.pressure", resource.as_str())))))
        };
        Self { machine, group: Following::new(groups, group) }
    }
}

impl Reader for PressureReader {
    /// A kernel that does not keep it (before Linux 4.20, or `psi=0`) shows none, which is no error.
    fn read(&mut self, buffer: &mut Buffer, figures: &mut Figures) -> Result<(), ReadingError> {
        let mut stalled = [None; 6];
        let mut places = stalled.iter_mut();
        let machine = Some((&mut self.machine, Source::Host));
        let group = self.group.current().map(|group| (group, Source::Cgroup));
        for (files, source) in machine.into_iter().chain(group) {
            for (resource, file) in Resource::ALL.into_iter().zip(files) {
                let pressure = file.try_read(buffer).and_then(|text| parse(text, source));
                if let (Some(pressure), Some(place)) = (pressure, places.next()) {
                    let full = pressure.full.map(|full| full.total);
                    *place = Some(Stalled { resource, source, some: pressure.some.total, full });
                }
            }
        }
        *figures = Figures::Pressure(stalled);
        Ok(())
    }
}
