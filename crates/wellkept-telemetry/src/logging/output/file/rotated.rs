//! The files that were put aside: their names, compressing them one after the other, and removing the oldest.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};

use super::{Keep, Rotated};

/// `20260115T103000.123Z`: when the file was put aside, in UTC. Sorts as the times do.
const STAMP: &str = "%Y%m%dT%H%M%S%.3fZ";
const STAMP_LENGTH: usize = 20;
const COMPRESSED: &str = ".gz";
/// A compressed file that is not whole.
const PART: &str = ".gz.part";
/// Most names that are tried for a file that is put aside.
const MAX_NAMES: usize = 1000;

/// Whether all is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tidied {
    All,
    /// Another process still writes to one of them.
    Later,
}

/// Gives the file at `path` a name with the time, never that of another file. Returns that name.
pub(super) fn put_aside(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let mut stamp = now;
    let mut from = path.to_owned();
    for _ in 0..MAX_NAMES {
        let aside = with_suffix(path, &format!(".{}", stamp.strftime(STAMP)));
        stamp = stamp.saturating_add(SignedDuration::from_millis(1)).unwrap_or(stamp);
        // One that was compressed has left its name: what comes to it would be compressed over that.
        let is_taken = || with_suffix(&aside, COMPRESSED).symlink_metadata().is_ok();
        if is_taken() {
            continue;
        }
        match rename(&from, &aside) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) if is_taken() => from = aside,
            Ok(()) => return Ok(aside),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Renames without replacing anything.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems can't promise that.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            if to.symlink_metadata().is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        result => Ok(result?),
    }
}

/// Removes what is kept no longer, then compresses what is left, the oldest first. Blocks for as long as the disk takes.
pub(super) fn tidy(path: &Path, keep: Keep, how: Rotated, now: Timestamp) -> io::Result<Tidied> {
    let mut tidied = Tidied::All;
    let files = list(path)?;
    for file in files.values() {
        tidied = tidied.and(file.clean()?);
    }
    let (kept, surplus) = divide(files, keep, now);
    for file in surplus {
        tidied = tidied.and(file.remove()?);
    }
    if how == Rotated::Gzip {
        for file in kept {
            if let Some(plain) = &file.plain {
                tidied = tidied.and(compress(&plain.path)?);
            }
        }
    }
    Ok(tidied)
}

impl Tidied {
    fn and(self, other: Self) -> Self {
        if other == Self::Later { other } else { self }
    }
}

/// One file put aside, in the forms that there are of it.
#[derive(Debug, Default)]
struct Aside {
    plain: Option<Form>,
    compressed: Option<Form>,
    part: Option<Form>,
}

#[derive(Debug)]
struct Form {
    path: PathBuf,
    bytes: u64,
}

impl Aside {
    fn bytes(&self) -> u64 {
        [&self.plain, &self.compressed].into_iter().flatten().map(|form| form.bytes).sum()
    }

    /// Removes what a process that was killed left half-finished.
    fn clean(&self) -> io::Result<Tidied> {
        let Some(part) = &self.part else { return Ok(Tidied::All) };
        // Whoever compresses holds the source, and that one is gone only when the compressed file is whole.
        let _held = match &self.plain {
            Some(plain) => match hold(&plain.path)? {
                Held::Alone(file) => Some(file),
                Held::Gone => None,
                Held::ByOthers => return Ok(Tidied::Later),
            },
            None => None,
        };
        remove(&part.path).map(|()| Tidied::All)
    }

    fn remove(&self) -> io::Result<Tidied> {
        if let Some(compressed) = &self.compressed {
            remove(&compressed.path)?;
        }
        let Some(plain) = &self.plain else { return Ok(Tidied::All) };
        let _held = match hold(&plain.path)? {
            Held::Alone(file) => file,
            Held::Gone => return Ok(Tidied::All),
            Held::ByOthers => return Ok(Tidied::Later),
        };
        remove(&plain.path).map(|()| Tidied::All)
    }
}

/// The files put aside, by the time in their names.
fn list(path: &Path) -> io::Result<BTreeMap<Timestamp, Aside>> {
    let mut files = BTreeMap::<Timestamp, Aside>::new();
    let Some(name) = path.file_name().and_then(OsStr::to_str) else { return Ok(files) };
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        let entry_name = entry.file_name();
        let Some((stamp, suffix)) = entry_name.to_str().and_then(|entry| parse(entry, name)) else { continue };
        // A link or a folder of such a name is nothing of ours.
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_file() {
            continue;
        }
        let aside = files.entry(stamp).or_default();
        let form = Some(Form { path: entry.path(), bytes: metadata.len() });
        match suffix {
            "" => aside.plain = form,
            COMPRESSED => aside.compressed = form,
            PART => aside.part = form,
            _ => {}
        }
    }
    Ok(files)
}

/// The time and what follows it, of a name that is one of ours.
fn parse<'n>(entry: &'n str, name: &str) -> Option<(Timestamp, &'n str)> {
    let rest = entry.strip_prefix(name)?.strip_prefix('.')?;
    let (stamp, suffix) = rest.split_at_checked(STAMP_LENGTH)?;
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S%.3fZ", stamp).ok()?;
    let time = jiff::tz::Offset::UTC.to_timestamp(time).ok()?;
    matches!(suffix, "" | COMPRESSED | PART).then_some((time, suffix))
}

/// What is kept, the oldest first, and what is not.
fn divide(files: BTreeMap<Timestamp, Aside>, keep: Keep, now: Timestamp) -> (Vec<Aside>, Vec<Aside>) {
    let (mut count, mut bytes) = (0, 0_u64);
    let (mut kept, mut surplus) = (Vec::new(), Vec::new());
    for (stamp, file) in files.into_iter().rev() {
        let age = Duration::try_from(now.duration_since(stamp)).unwrap_or_default();
        count += 1;
        bytes = bytes.saturating_add(file.bytes());
        let fits = count <= keep.files
            && keep.size.is_none_or(|size| bytes <= size)
            && keep.age.is_none_or(|longest| age <= longest);
        if fits { kept.push(file) } else { surplus.push(file) }
    }
    kept.reverse();
    (kept, surplus)
}

/// Compresses one file, and removes it when the compressed one is whole and on the disk.
fn compress(path: &Path) -> io::Result<Tidied> {
    // Held until the end, so that two processes don't compress one file, and none that is still written to.
    let mut source = match hold(path)? {
        Held::Alone(file) => file,
        Held::Gone => return Ok(Tidied::All),
        Held::ByOthers => return Ok(Tidied::Later),
    };
    let mode = source.metadata()?.mode() & 0o777;
    let part = with_suffix(path, PART);
    remove(&part)?;
    let target = File::options().write(true).create_new(true).mode(mode).open(&part)?;
    let written = (|| {
        let mut encoder =
            GzEncoder::new(io::BufWriter::with_capacity(64 << 10, target), flate2::Compression::default());
        io::copy(&mut source, &mut encoder)?;
        let target = encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        target.sync_all()?;
        fs::rename(&part, with_suffix(path, COMPRESSED))?;
        File::open(folder_of(path))?.sync_all()
    })();
    if let Err(error) = written {
        remove(&part).ok();
        return Err(error);
    }
    remove(path).map(|()| Tidied::All)
}

enum Held {
    /// Nobody else writes to it or compresses it.
    Alone(File),
    ByOthers,
    Gone,
}

/// Takes hold of a file that nobody else holds.
fn hold(path: &Path) -> io::Result<Held> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Held::Gone),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(Held::ByOthers),
        // Removed by the other one that held it.
        Ok(()) if file.metadata()?.nlink() == 0 => Ok(Held::Gone),
        // A file system without locks has one process that writes there, as far as can be known.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Held::Alone(file)),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The folder that a file is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
