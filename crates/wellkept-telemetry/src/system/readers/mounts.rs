//! Which file systems there are. Their room is read one by one, as each may hang.

use std::sync::Arc;

use super::{Buffer, Figures, Kept, Reader, ReadingError, SystemRoot};
use crate::system::cgroup::unescape;
use crate::system::kept::SUBSTITUTE;

/// Most file systems that are shown.
const MOST_MOUNTS: usize = 32;

/// What holds no files of anybody's: the kernel's own faces, and images that are always full.
const WITHOUT_ROOM: [&str; 25] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
    "ramfs",
];
/// Below these are parts of the kernel, and the layers of others' containers.
const BELOW: [&str; 5] = ["/dev", "/proc", "/sys", "/var/lib/docker", "/var/lib/containers/storage"];

/// One file system, where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) mountpoint: Arc<str>,
    pub(crate) device: Arc<str>,
    pub(crate) kind: Arc<str>,
    /// What is the same file system has the same.
    number: Arc<str>,
}

pub(super) struct MountsReader {
    mounts: Kept,
    seen: Option<String>,
}

impl MountsReader {
    pub(super) fn new(root: &SystemRoot) -> Self {
        Self { mounts: Kept::new(root.proc("self/mountinfo")), seen: None }
    }
}

impl Reader for MountsReader {
    fn read(&mut self, buffer: &mut Buffer, figures: &mut Figures) -> Result<(), ReadingError> {
        let text = self.mounts.read(buffer)?;
        if self.seen.as_deref() == Some(text) {
            *figures = Figures::Mounts(None);
            return Ok(());
        }
        *figures = Figures::Mounts(Some(list(text)));
        self.seen = Some(text.to_owned());
        Ok(())
    }
}

/// Each file system once, where its path is shortest.
fn list(text: &str) -> Vec<Mounted> {
    let mut list: Vec<Mounted> = Vec::new();
    for one in text.lines().filter_map(mounted) {
        // What is mounted later hides what was there.
        if let Some(hidden) = list.iter_mut().find(|other| other.mountpoint == one.mountpoint) {
            *hidden = one;
        } else if let Some(same) = list.iter_mut().find(|other| other.number == one.number) {
            if one.mountpoint.len() < same.mountpoint.len() {
                *same = one;
            }
        } else if list.len() < MOST_MOUNTS {
            list.push(one);
        }
    }
    list
}

/// A line of `mountinfo` (proc(5)), if there is something to show.
fn mounted(line: &str) -> Option<Mounted> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let number = left.next()?;
    let mountpoint = unescape(left.nth(1)?);
    let mut right = right.split(' ');
    let (kind, device) = (right.next()?, unescape(right.next()?));
    let is_below =
        |folder: &&str| mountpoint.strip_prefix(*folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    // The layers of a container's root are what is full when it is; those of others are not for us.
    let is_anothers = kind == "overlay" && mountpoint != "/";
    // A name that is no text could not be asked for.
    let is_strange = mountpoint.bytes().any(|byte| byte == SUBSTITUTE);
    if WITHOUT_ROOM.contains(&kind) || BELOW.iter().any(is_below) || is_anothers || is_strange {
        return None;
    }
    Some(Mounted { mountpoint: mountpoint.into(), device: device.into(), kind: kind.into(), number: number.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_system_is_listed_once_and_the_kernels_are_not() {
        let text = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:21 / /proc rw - proc proc rw\n\
            24 22 8:1 /lib/docker /mnt/deep/er rw - ext4 /dev/sda1 rw\n25 22 0:40 / /mnt/nfs\\040share rw shared:1 - nfs4 host:/x rw\n\
            26 22 0:41 / /var/lib/docker/overlay2/x rw - overlay overlay rw\n27 22 0:42 / /dev/shm rw - tmpfs tmpfs rw\n\
            28 22 0:43 / /mnt/fuse rw - fuse.hung hung rw\n29 22 0:44 / /mnt/fuse rw - xfs /dev/sdb rw\nnothing\n\
            30 22 0:45 / /mnt/\u{1a} rw - xfs /dev/sdc rw\n31 22 0:46 / /run/x rw - overlay overlay rw\n";
        let list = list(text);
        let shown: Vec<_> = list.iter().map(|one| (&*one.mountpoint, &*one.device, &*one.kind)).collect();
        let expected =
            [("/", "/dev/sda1", "ext4"), ("/mnt/nfs share", "host:/x", "nfs4"), ("/mnt/fuse", "/dev/sdb", "xfs")];
        assert_eq!(shown, expected);
    }

    #[test]
    fn of_many_file_systems_the_first_are_listed() {
        let line = |number: u32| format!("{number} 1 0:{number} / /mnt/{number} rw - xfs /dev/x rw");
        let text = (0..500).map(line).collect::<Vec<_>>().join("\n");
        assert_eq!(list(&text).len(), MOST_MOUNTS);
    }
}
