//! Which processes there are: names, and whether they still run.

use std::fs::{self, ReadDir};

use super::{ReadingError, SystemRoot, read};

/// Most processes that are looked at.
const MOST_PROCESSES: usize = 1 << 16;
/// The kernel keeps so many bytes of a name (prctl(2), `PR_SET_NAME`).
const LONGEST_NAME: usize = 15;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its id.
    pub pid: u32,
    /// Its name, of which the kernel keeps 15 bytes.
    pub name: String,
    /// It has ended, and its parent has not asked how.
    pub zombie: bool,
}

impl Running {
    /// Whether it is called so. A name of more than 15 bytes is compared with the program that the command line names.
    pub fn is_called(&self, root: &SystemRoot, name: &str) -> bool {
        if name.len() <= LONGEST_NAME {
            return self.name == name;
        }
        let kept = (0..=LONGEST_NAME).rev().find_map(|end| name.get(..end)).unwrap_or_default();
        self.name == kept
            && self.command_line(root).split(' ').next().is_some_and(|program| program.rsplit('/').next() == Some(name))
    }

    /// Its arguments, with a space between them. Empty for zombies, threads of the kernel, and what has just ended. A
    /// process whose memory is locked can make its reader wait.
    pub fn command_line(&self, root: &SystemRoot) -> String {
        let text = read(&root.proc(&format!("{}/cmdline", self.pid))).unwrap_or_default();
        text.trim_end_matches('\0').replace('\0', " ")
    }
}

/// All processes that can be seen from here, at most 65,536. What ends while they are listed is left out.
#[derive(Debug)]
pub struct Processes {
    root: SystemRoot,
    folders: std::iter::Take<ReadDir>,
}

impl Processes {
    /// Begins to list them.
    pub fn list(root: &SystemRoot) -> Result<Self, ReadingError> {
        let path = root.proc("");
        let folders = fs::read_dir(&path).map_err(|source| ReadingError::Io { path, source })?;
        Ok(Self { root: root.clone(), folders: folders.take(MOST_PROCESSES) })
    }
}

impl Iterator for Processes {
    type Item = Running;

    fn next(&mut self) -> Option<Running> {
        loop {
            let folder = self.folders.next()?;
            let pid = folder.ok().and_then(|folder| folder.file_name().to_str()?.parse().ok());
            let Some(pid) = pid else { continue };
            let statistics = read(&self.root.proc(&format!("{pid}/stat")));
            if let Some(running) = statistics.ok().and_then(|text| running(pid, &text)) {
                return Some(running);
            }
        }
    }
}

/// `1234 (name) S …`, where the name may hold parentheses and spaces.
fn running(pid: u32, statistics: &str) -> Option<Running> {
    let (before, after) = statistics.rsplit_once(") ")?;
    let (_, name) = before.split_once('(')?;
    Some(Running { pid, name: name.to_owned(), zombie: after.starts_with(['Z', 'X']) })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Machine;
    use super::*;

    fn machine() -> Machine {
        Machine::new()
            .with("proc/7/stat", "7 (a (b) c) S 1 7\n")
            .with("proc/7/cmdline", "/bin/a\0--b\0")
            .with("proc/8/stat", "8 (wellkept-worker) Z 1 8\n")
            .with("proc/8/cmdline", "")
            .with("proc/9/stat", "gone")
            .with("proc/10/stat", "10 (wellkept-worker) R 1 10\n")
            .with("proc/10/cmdline", "/usr/bin/wellkept-worker-of-mail\0")
            .with("proc/sys/stat", "11 (no) S 1 1")
    }

    #[test]
    fn processes_are_listed_with_name_and_state() {
        let machine = machine();
        let mut listed: Vec<_> = Processes::list(&machine.root()).unwrap().collect();
        listed.sort_by_key(|process| process.pid);
        let shown: Vec<_> = listed.iter().map(|one| (one.pid, one.name.as_str(), one.zombie)).collect();
        assert_eq!(shown, [(7, "a (b) c", false), (8, "wellkept-worker", true), (10, "wellkept-worker", false)]);
        assert_eq!(listed[0].command_line(&machine.root()), "/bin/a --b");
    }

    #[test]
    fn a_name_that_the_kernel_cuts_is_compared_with_the_program() {
        let machine = machine();
        let root = machine.root();
        let called = |name: &str| {
            let mut pids: Vec<_> =
                Processes::list(&root).unwrap().filter(|one| one.is_called(&root, name)).map(|one| one.pid).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(called("wellkept-worker"), [8, 10]);
        assert_eq!(called("wellkept-worker-of-mail"), [10]);
        assert_eq!(called("wellkept-worker-of-logs"), [0; 0]);
    }
}
