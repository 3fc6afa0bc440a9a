//! The version of the format of a store or a cache: which files lie where in its directory, and what they mean.
//!
//! The file `version` has it as a decimal number. Stores that were written before there was this file have the version 1, so it may be
//! missing. The number grows only when a program that does not know the new format would lose or misread something.

use super::{
    blobs::{is_absent, replace_file},
    lock,
};
use modelpack_transfer::{Error, FileRange, Result};
use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// A kind of directory with a format of its own.
pub(crate) struct Format {
    /// What it is called.
    name: &'static str,
    /// What cannot be done if the format is not known.
    open: &'static str,
    /// The version that is written, and the newest that can be read.
    version: u64,
}

/// The format of the local store.
pub(super) const STORE: Format = Format { name: "store", open: "open the store", version: 1 };
/// The format of the cache of a node.
pub(crate) const CACHE: Format = Format { name: "cache", open: "open the cache", version: 1 };

fn path(root: &Path) -> PathBuf {
    root.join("version")
}

/// Fails if the store or cache in `root` has a format that this program does not know; changes nothing. A directory that is not there, or
/// without the file, is fine.
pub(crate) fn check(format: &Format, root: &Path) -> Result<()> {
    let Format { name, open, version: known } = *format;
    let path = path(root);
    let file = match FileRange::open(&path) {
        Ok(file) => file,
        Err(e) if is_absent(&e) => return Ok(()),
        Err(e) => return Err(Error::io("open", path)(e)),
    };
    let text = FileRange { len: file.len.min(64), ..file }.read()?;
    let version = str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok());
    let refused = match version {
        Some(version) if (1..=known).contains(&version) => return Ok(()),
        Some(newer) if newer > known => io::Error::new(
            ErrorKind::Unsupported,
            format!(
                "it has the format version {newer}, and this program knows no version above {known}. Use a newer version of modelpack, or \
                 another {name}"
            ),
        ),
        _ => io::Error::new(
            ErrorKind::InvalidData,
            format!(
                "{} does not hold the number of a format version. If no newer version of modelpack wrote it, remove this file",
                path.display()
            ),
        ),
    };
    Err(Error::io(open, root)(refused))
}

/// Writes the version into the store or cache in `root`, which has been checked, unless it is there.
///
/// Where that fails, as on a full disk, it is as one of an older program, and nothing is lost.
pub(crate) fn write(format: &Format, root: &Path) {
    let path = path(root);
    if path.exists() {
        return;
    }
    let written = lock::exclusive(root).and_then(|_one_at_a_time| match path.exists() {
        true => Ok(()),
        false => replace_file(&path, format!("{}\n", format.version).as_bytes()),
    });
    let _ = written;
}
