//! How much room a file system has, in bytes and in files, and whether it can be written to.
//!
//! Free is what everyone may still use, without the reserve that many file systems keep for root; ratios are those
//! that `df` shows. The check runs on a thread of its own: a network mount whose server is gone can hang for good.

use std::path::PathBuf;

use serde_json::json;
use wellkept_config::{Amount, Ratio, Section};
use wellkept_health::{AnyCheck, Outcome, Reason, Scope};
use wellkept_telemetry::system;

use crate::kind::built;
use crate::{InvalidOption, Kind};

/// The settings of a [`Disk`] check.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Any path on the file system. Required.
    pub path: PathBuf,
    /// Degraded when less than this is free: a ratio, or bytes. Default 15%.
    ///
    /// A ratio is held against files (inodes) as well; with bytes, the default ratio is.
    pub degraded_below: Amount,
    /// Unhealthy when less than this is free, likewise. Default 5%.
    pub unhealthy_below: Amount,
}

impl Options {
    /// For the file system that holds `path`, with the default limits.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), degraded_below: percent(15), unhealthy_below: percent(5) }
    }
}

/// How much room a file system has.
///
/// Degraded also when it is mounted read-only, which the kernel does by itself after an error. The metadata holds
/// `total_bytes`, `free_bytes`, `free_ratio`, `disk_usage`, and `inodes` where there is a fixed number of them.
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
    pub fn run(&self) -> Outcome {
        match system::Disk::read(&self.options.path) {
            Ok(disk) => self.judge(&disk),
            Err(error) => {
                Outcome::fail(Reason::Error, "file system can't be read").with_detail(error.to_string())
            }
        }
    }

    fn judge(&self, disk: &system::Disk) -> Outcome {
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
        let Options { degraded_below, unhealthy_below, .. } = self.options;
        let room = format!("{:.1}% free", free * 100.0);
        let files_left = format!("{:.1}% of files free", files.unwrap_or(1.0) * 100.0);
        let outcome = if bytes_below(unhealthy_below) {
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
            .with("free_bytes", disk.available)
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
        Self::blocking(move || disk.run())
    }
}

/// `disk: { path: /var/lib/orders, degraded_below: 15%, unhealthy_below: 5% }`
pub const KIND: Kind = Kind { name: "disk", summary: "Room on a file system", scope: Scope::Machine, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let path = section.required("path");
    let degraded_below = section.or("degraded_below", percent(15));
    let unhealthy_below = section.or("unhealthy_below", percent(5));
    built(section, Disk::new(Options { path: path?, degraded_below, unhealthy_below }))
}

fn percent(percent: u8) -> Amount {
    Amount::Ratio(Ratio::new(f64::from(percent) / 100.0).expect("the defaults are from 0 to 100"))
}

/// Four digits are what a reader can use.
fn rounded(ratio: f64) -> f64 {
    (ratio * 1e4).round() / 1e4
}
