//! How much room a file system has, in bytes and in files, and whether it can be written to.
//!
//! Free is what everyone may still use, without the reserve that many file systems keep for root; ratios are those
//! that `df` shows. The check runs on a thread of its own: a network mount whose server is gone can hang for good. One
//! thread may then hang for each path and no more, however many checks look at it and however often the configuration is
//! read again.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | less than `degraded_below` is free, of bytes or of files | degraded | `threshold` |
//! | less than `unhealthy_below` is free, of bytes or of files | unhealthy | `threshold` |
//! | it is mounted read-only, which the kernel does by itself after an error | degraded; unhealthy with `access: write` | `not_ready` |
//! | the permissions do not allow what `access` asks for | unhealthy | `auth` |
//! | the path is not there, or may not be looked at | unhealthy | `error` |
//! | the file system does not answer | unhealthy | `timeout` |
//!
//! # Rights
//!
//! To reach the path: search permission on the folders above it.
//!
//! # Cost
//!
//! One `statvfs` per run, and one `access` where that is asked for. Nothing is written.

pub(crate) mod asked;

use std::path::{Path, PathBuf};

use serde_json::json;
use wellkept_config::{Amount, FromNode, Ratio, Schema, Section, one_of};
use wellkept_health::{AnyCheck, Context, Outcome, Reason, Scope};
use wellkept_telemetry::system::{self, Permissions};

use self::asked::Asked;
use crate::kind::built;
use crate::reach::give_up_at;
use crate::{InvalidOption, Kind, Opens};

/// The settings of a [`Disk`] check.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Any path on the file system. Required.
    pub path: PathBuf,
    /// Degraded when less than this is free: a ratio, or bytes. A ratio is held against files (inodes) as well; with
    /// bytes, the default ratio is. Default 15%.
    pub degraded_below: Amount,
    /// Unhealthy when less than this is free, likewise. Default 5%.
    pub unhealthy_below: Amount,
    /// What this process must be permitted to do with the path. Default: nothing but to reach it.
    pub access: Option<Access>,
}

impl Options {
    /// For the file system that holds `path`, with the default limits.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), degraded_below: percent(15), unhealthy_below: percent(5), access: None }
    }
}

/// What must be permitted. Asked of the kernel (access(2)), which knows permissions and read-only mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read a file, or to list a folder.
    Read,
    /// To write as well, in a folder to make files.
    Write,
}

const WORDS: [(&str, Access); 2] = [("read", Access::Read), ("write", Access::Write)];

impl FromNode for Access {
    const EXPECTED: &'static str = "read or write";

    fn schema() -> Schema {
        Schema::words(&WORDS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &WORDS)
    }
}

/// How much room a file system has.
///
/// The metadata holds `total_bytes`, `free_bytes`, `free_ratio`, `disk_usage`, and `inodes` where there is a fixed number
/// of them. When `free_bytes` will be used up is in the component's trend.
#[derive(Debug, Clone)]
pub struct Disk {
    options: Options,
}

impl Disk {
    /// Refuses limits of which the worse would be passed before the better. Reads nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let out_of_order = match (options.degraded_below, options.unhealthy_below) {
            (Amount::Ratio(degraded), Amount::Ratio(unhealthy)) => unhealthy > degraded,
            (Amount::Bytes(degraded), Amount::Bytes(unhealthy)) => unhealthy > degraded,
            _ => false,
        };
        if out_of_order {
            return Err(InvalidOption::new("unhealthy_below", "must not be above degraded_below"));
        }
        Ok(Self { options })
    }

    /// Runs once. Blocks for as long as the file system takes.
    pub fn run(&self, context: &Context) -> Outcome {
        match room(&self.options.path, context) {
            Ok(room) => self.judge(&room),
            Err(error) => error.outcome(),
        }
    }

    fn judge(&self, Room { disk, permissions }: &Room) -> Outcome {
        let free = disk.free_ratio();
        let files = disk.inodes_free_ratio();
        let bytes_below = |limit: Amount| match limit {
            Amount::Ratio(ratio) => free < ratio.as_f64(),
            Amount::Bytes(bytes) => disk.available < bytes.as_u64(),
        };
        let files_below = |limit: Amount, default: Amount| match (limit, default) {
            (Amount::Ratio(ratio), _) | (Amount::Bytes(_), Amount::Ratio(ratio)) => {
                files.is_some_and(|files| files < ratio.as_f64())
            }
            _ => false,
        };
        let Options { degraded_below, unhealthy_below, access, .. } = self.options;
        let room = format!("{:.1}% free", free * 100.0);
        let files_left = format!("{:.1}% of files free", files.unwrap_or(1.0) * 100.0);
        let to_write = access == Some(Access::Write);
        let outcome = if to_write && disk.read_only {
            Outcome::fail(Reason::NotReady, "file system is read-only")
        } else if to_write && !permissions.write {
            Outcome::fail(Reason::Auth, "not permitted to write")
        } else if access.is_some() && !permissions.read {
            Outcome::fail(Reason::Auth, "not permitted to read")
        } else if bytes_below(unhealthy_below) {
            Outcome::fail(Reason::Threshold, room)
        } else if files_below(unhealthy_below, percent(5)) {
            Outcome::fail(Reason::Threshold, files_left)
        } else if disk.read_only {
            Outcome::warn(Reason::NotReady, "file system is read-only")
        } else if bytes_below(degraded_below) {
            Outcome::warn(Reason::Threshold, room)
        } else if files_below(degraded_below, percent(15)) {
            Outcome::warn(Reason::Threshold, files_left)
        } else {
            Outcome::pass()
        };
        let outcome = outcome
            .with("total_bytes", disk.total)
            .with_remaining("free_bytes", disk.available)
            .with("free_ratio", rounded(free))
            .with("disk_usage", rounded(disk.usage()));
        match files {
            Some(free) => outcome.with(
                "inodes",
                json!({ "total": disk.inodes, "free": disk.inodes_available, "free_ratio": rounded(free) }),
            ),
            None => outcome,
        }
    }
}

impl From<Disk> for AnyCheck {
    fn from(disk: Disk) -> Self {
        Self::blocking_with(move |context| disk.run(context))
    }
}

/// `disk: { path: /var/lib/orders, degraded_below: 15%, unhealthy_below: 5% }`
pub const KIND: Kind = Kind { name: "disk", summary: "Room on a file system", scope: Scope::Machine, opens: Opens::Paths, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let path = section.required("path");
    let degraded_below = section.or("degraded_below", percent(15));
    let unhealthy_below = section.or("unhealthy_below", percent(5));
    let access = section.optional("access");
    built(section, Disk::new(Options { path: path?, degraded_below, unhealthy_below, access }))
}

/// What a path is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) disk: system::Disk,
    permissions: Permissions,
}

/// Why there is nothing to tell of a path. Holds the path: for details.
#[derive(Debug)]
pub(crate) enum NoRoom {
    Unread(String),
    Hangs(String),
}

impl NoRoom {
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Unread(error) => Outcome::fail(Reason::Error, "file system can't be read").with_detail(error),
            Self::Hangs(detail) => Outcome::fail(Reason::Timeout, "file system does not answer").with_detail(detail),
        }
    }
}

/// The room at a path. Blocks for as long as it takes, or until the run's deadline when another one has hung on the path
/// before.
pub(crate) fn room(path: &Path, context: &Context) -> Result<Room, NoRoom> {
    static ASKED: Asked<Result<Room, String>> = Asked::nothing();
    let told = ASKED.ask(path, give_up_at(context).into_std(), |path| {
        let disk = system::Disk::read(path).map_err(|error| error.to_string())?;
        Ok(Room { disk, permissions: Permissions::of(path) })
    });
    match told {
        Some(told) => told.map_err(NoRoom::Unread),
        None => Err(NoRoom::Hangs(format!("{}: an earlier question has had no answer yet", path.display()))),
    }
}

fn percent(percent: u8) -> Amount {
    Amount::Ratio(Ratio::new(f64::from(percent) / 100.0).expect("the defaults are from 0 to 100"))
}

/// Four digits are what a reader can use.
fn rounded(ratio: f64) -> f64 {
    (ratio * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PATIENCE, configured, reason};
    use wellkept_config::ByteSize;
    use wellkept_health::Verdict;

    /// 1,000 bytes and 100 files, of which these are left.
    fn judge(free: u64, inodes_free: u64, options: Options) -> Outcome {
        let disk = system::Disk {
            total: 1_000,
            free,
            available: free,
            inodes: 100,
            inodes_available: inodes_free,
            read_only: false,
        };
        Disk::new(options).unwrap().judge(&room(disk))
    }

    fn room(disk: system::Disk) -> Room {
        Room { disk, permissions: Permissions { read: true, write: true } }
    }

    fn verdict(free: u64, inodes_free: u64) -> (Verdict, String) {
        let outcome = judge(free, inodes_free, Options::new("/"));
        (outcome.verdict(), outcome.message().to_owned())
    }

    #[test]
    fn limits_are_passed_below_and_not_at_them() {
        assert_eq!(verdict(150, 15), (Verdict::Pass, String::new()));
        assert_eq!(verdict(149, 15), (Verdict::Warn, "14.9% free".to_owned()));
        assert_eq!(verdict(50, 15), (Verdict::Warn, "5.0% free".to_owned()));
        assert_eq!(verdict(49, 15), (Verdict::Fail, "4.9% free".to_owned()));
    }

    #[test]
    fn files_run_out_as_well() {
        assert_eq!(verdict(900, 14), (Verdict::Warn, "14.0% of files free".to_owned()));
        assert_eq!(verdict(900, 4), (Verdict::Fail, "4.0% of files free".to_owned()));
    }

    #[test]
    fn limits_may_be_bytes_and_files_then_keep_the_defaults() {
        let bytes = |bytes| Amount::Bytes(ByteSize(bytes));
        let options = Options { degraded_below: bytes(40), unhealthy_below: bytes(20), ..Options::new("/") };
        assert_eq!(judge(40, 100, options.clone()).verdict(), Verdict::Pass);
        assert_eq!(judge(39, 100, options.clone()).verdict(), Verdict::Warn);
        assert_eq!(judge(19, 100, options.clone()).verdict(), Verdict::Fail);
        assert_eq!(judge(900, 14, options).verdict(), Verdict::Warn);
    }

    #[test]
    fn a_read_only_file_system_is_degraded_and_a_full_one_stays_unhealthy() {
        let disk = system::Disk {
            total: 1_000,
            free: 900,
            available: 900,
            inodes: 0,
            inodes_available: 0,
            read_only: true,
        };
        let check = Disk::new(Options::new("/")).unwrap();
        let outcome = check.judge(&room(disk));
        assert_eq!((outcome.verdict(), outcome.message()), (Verdict::Warn, "file system is read-only"));
        assert!(!outcome.metadata().contains_key("inodes"));
        let full = check.judge(&room(system::Disk { free: 0, available: 0, ..disk }));
        assert_eq!(full.verdict(), Verdict::Fail);
    }

    #[test]
    fn what_is_asked_for_must_be_permitted() {
        let disk = system::Disk {
            total: 1_000,
            free: 900,
            available: 900,
            inodes: 0,
            inodes_available: 0,
            read_only: false,
        };
        let judge = |access, read, write, read_only| {
            let room = Room { disk: system::Disk { read_only, ..disk }, permissions: Permissions { read, write } };
            let outcome = Disk::new(Options { access, ..Options::new("/") }).unwrap().judge(&room);
            (outcome.verdict(), outcome.message().to_owned())
        };
        assert_eq!(judge(None, false, false, false).0, Verdict::Pass);
        assert_eq!(judge(Some(Access::Read), true, false, false).0, Verdict::Pass);
        let forbidden = (Verdict::Fail, "not permitted to read".to_owned());
        assert_eq!(judge(Some(Access::Read), false, false, false), forbidden);
        assert_eq!(judge(Some(Access::Write), false, true, false), forbidden);
        assert_eq!(judge(Some(Access::Write), true, true, false).0, Verdict::Pass);
        let forbidden = (Verdict::Fail, "not permitted to write".to_owned());
        assert_eq!(judge(Some(Access::Write), true, false, false), forbidden);
        let read_only = (Verdict::Fail, "file system is read-only".to_owned());
        assert_eq!(judge(Some(Access::Write), true, false, true), read_only);
        configured("disk: { path: /, access: write }").unwrap();
    }

    #[test]
    fn a_real_file_system_has_all_readings_and_the_public_hears_no_path() {
        let folder = tempfile::tempdir().unwrap();
        let outcome = Disk::new(Options::new(folder.path())).unwrap().run(&Context::within(PATIENCE));
        for reading in ["total_bytes", "free_bytes", "free_ratio", "disk_usage"] {
            assert!(outcome.metadata()[reading].is_number(), "{outcome:?}");
        }
        assert_eq!(outcome.remaining().map(|(reading, _)| reading), Some("free_bytes"));
        let gone = Disk::new(Options::new(folder.path().join("gone"))).unwrap().run(&Context::within(PATIENCE));
        assert_eq!((reason(&gone), gone.message()), ("error", "file system can't be read"));
        assert!(gone.detail().contains("gone"), "{gone:?}");
    }

    #[test]
    fn limits_in_the_wrong_order_are_reported() {
        configured("disk: { path: /var/lib/orders, degraded_below: 20%, unhealthy_below: 10GiB }").unwrap();
        let reported = configured("disk: { path: /, unhealthy_below: 20% }").unwrap_err();
        assert_eq!(reported, "test.yaml:1:35: must not be above degraded_below");
    }
}
