//! Which control groups this process is in, and where their files are: version 1, version 2, or both at once.

use std::path::{Path, PathBuf};

use super::{MOST_OF_A_LONG_FILE, SystemRoot, read, read_at_most};

/// Most levels that are climbed. Kubernetes uses five or six.
const MOST_LEVELS: usize = 32;

/// The folders of one controller for this process: its own group first, then the groups around it, as far as they
/// can be seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Groups {
    /// Each controller has a tree of its own.
    V1(Vec<PathBuf>),
    /// All controllers share one tree.
    V2(Vec<PathBuf>),
}

/// The control groups of this process.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    /// Lines of `/proc/self/cgroup`: controllers (none for version 2) and the group's path.
    memberships: Vec<(Vec<String>, PathBuf)>,
    mounts: Vec<Mount>,
}

#[derive(Debug)]
struct Mount {
    /// The group that is visible at the mount point.
    root: PathBuf,
    point: PathBuf,
    /// Controllers; none for version 2.
    controllers: Vec<String>,
}

impl Cgroups {
    /// Where nothing can be read there are no groups, which is also true of systems without them.
    pub(super) fn read(root: &SystemRoot) -> Self {
        let memberships = read(&root.proc("self/cgroup")).unwrap_or_default();
        let mounts = read_at_most(&root.proc("self/mountinfo"), MOST_OF_A_LONG_FILE).unwrap_or_default();
        Self {
            memberships: memberships.lines().filter_map(membership).collect(),
            mounts: mounts.lines().filter_map(|line| mount(root, line)).collect(),
        }
    }

    /// The groups of a controller. On a hybrid machine the controller is in version 1 where it is mounted there: a
    /// controller is attached to one version only (kernel documentation, cgroup-v2, "Mounting").
    pub(super) fn of(&self, controller: &str) -> Option<Groups> {
        let has = |controllers: &[String]| controllers.iter().any(|name| name == controller);
        if let Some(folders) = self.folders(has) {
            return Some(Groups::V1(folders));
        }
        self.folders(<[String]>::is_empty).map(Groups::V2)
    }

    /// This process's own group in the tree of version 2, whatever controllers are in it. `None` for the root of that
    /// tree, which is the whole machine.
    pub(super) fn own(&self) -> Option<PathBuf> {
        let own = self.folders(<[String]>::is_empty)?.into_iter().next()?;
        // Every group but the root has this file, also where a namespace makes a group look like the root.
        own.join("cgroup.type").exists().then_some(own)
    }

    /// The groups of a controller that this process is in, without the root of its tree, which is the whole machine. `None`
    /// where it is in no other.
    pub(super) fn narrower(&self, controller: &str) -> Option<Groups> {
        let mut groups = self.of(controller)?;
        match &mut groups {
            // Only the root has this file (cgroup-v1, "Usage Examples and Syntax").
            Groups::V1(folders) => folders.retain(|folder| !folder.join("release_agent").exists()),
            Groups::V2(folders) => folders.retain(|folder| folder.join("cgroup.type").exists()),
        }
        let (Groups::V1(folders) | Groups::V2(folders)) = &groups;
        (!folders.is_empty()).then_some(groups)
    }

    fn folders(&self, wanted: impl Fn(&[String]) -> bool) -> Option<Vec<PathBuf>> {
        let (_, path) = self.memberships.iter().find(|(controllers, _)| wanted(controllers))?;
        let mut mounts = self.mounts.iter().filter(|mount| wanted(&mount.controllers));
        // The same tree may be mounted more than once, and not each time the part that we are in.
        let mount = mounts.clone().find(|mount| path.starts_with(&mount.root)).or_else(|| mounts.next())?;
        // A path outside of what is mounted is one outside of our namespace; the nearest we can see is the mount.
        let below = path.strip_prefix(&mount.root).unwrap_or(Path::new(""));
        let below = if below.starts_with("..") { Path::new("") } else { below };
        Some(below.ancestors().take(MOST_LEVELS).map(|level| mount.point.join(level)).collect())
    }
}

/// `4:memory:/docker/1234`, or `0::/user.slice` for version 2.
fn membership(line: &str) -> Option<(Vec<String>, PathBuf)> {
    let mut fields = line.splitn(3, ':').skip(1);
    let controllers = fields.next()?.split(',').filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect();
    Some((controllers, PathBuf::from(fields.next()?)))
}

/// One line of `mountinfo`, if it is a control group's (proc(5)): id, parent, device, root, point, options, any
/// number of optional fields, `-`, type, source, options of the file system.
fn mount(system: &SystemRoot, line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let root = PathBuf::from(unescape(left.next()?));
    let point = system.reported(Path::new(&unescape(left.next()?)));
    let mut right = right.split(' ');
    match right.next()? {
        "cgroup2" => Some(Mount { root, point, controllers: Vec::new() }),
        "cgroup" => {
            let options = right.nth(1)?;
            Some(Mount { root, point, controllers: options.split(',').map(ToOwned::to_owned).collect() })
        }
        _ => None,
    }
}

/// Spaces, tabs, newlines and backslashes are written as a backslash and three octal digits.
pub(super) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(code) = code.filter(u8::is_ascii) {
            plain.push(char::from(code));
            rest = after.get(3..).unwrap_or_default();
        } else {
            plain.push('\\');
            rest = after;
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mount_point_with_a_space_is_read_back() {
        let line = r"31 23 0:28 /a\040b /mnt/c\134d\040e rw shared:1 master:2 - cgroup2 cgroup2 rw";
        let mount = mount(&SystemRoot::default(), line).unwrap();
        assert_eq!((mount.root, mount.point), (PathBuf::from("/a b"), PathBuf::from(r"/mnt/c\d e")));
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parsers_panic(line in r"[ -~é\\]{0,80}") {
            let _ = unescape(&line);
            let _ = membership(&line);
            let _ = mount(&SystemRoot::default(), &line);
        }
    }
}
